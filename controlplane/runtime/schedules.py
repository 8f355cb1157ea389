"""The schedule loop's step: looks at each schedule when its next tick has come; nobody is called."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from controlplane.domain.ids import ScheduleId
from controlplane.operations.context import Context
from controlplane.operations.schedules import look
from controlplane.store import Tx, WorkItem


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleTurn:
    item: WorkItem

    @property
    def lane(self) -> None:
        """Nobody is called."""


class ScheduleStep:
    def __init__(self, context: Context) -> None:
        self._context = context

    def begin(self, items: Sequence[WorkItem], under_way: Sequence[ScheduleTurn]) -> Sequence[ScheduleTurn]:
        del under_way
        return [ScheduleTurn(item=item) for item in items]

    def act(self, turns: Sequence[ScheduleTurn]) -> Sequence[ScheduleTurn]:
        return turns

    def record(self, tx: Tx, turns: Sequence[ScheduleTurn]) -> None:
        tx.work.settle_many([(turn.item, self._recorded(tx, turn.item)) for turn in turns])

    def _recorded(self, tx: Tx, item: WorkItem) -> datetime | None:
        """When to look again."""
        schedule = tx.schedules.get(ScheduleId(item.id))
        return None if schedule is None else look(self._context, tx, schedule).look_again_at
