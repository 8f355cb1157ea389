"""Budgets' table."""

from typing import Final

from sqlalchemy import bindparam, delete, select

from controlplane.domain.budgets import Budget, Window
from controlplane.domain.events import Event
from controlplane.domain.ids import QueueId
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.rows import Row
from controlplane.store.schema_costs import BUDGETS
from controlplane.store.statements import Statement, inserted

_B: Final = BUDGETS.c
_KEY: Final = ("queue_id", "currency", "window")
_ALL: Final = Statement(
    select(_B.queue_id, _B.currency, _B.window, _B.limit_millionths).order_by(*(_B[name] for name in _KEY))
)
_ADD: Final = inserted(BUDGETS)
_REMOVE: Final = Statement(
    delete(BUDGETS).where(*(_B[name] == bindparam(name) for name in _KEY)), table=BUDGETS
)


class Budgets:
    """There are few: read whole."""

    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def all(self) -> list[Budget]:
        """By queue, currency and window."""
        return [_budget(row) for row in self._link.rows(_ALL)]

    def put(self, budget: Budget, *, by: str) -> None:
        """Inserts or replaces."""
        self._link.change(_REMOVE, _params(budget))
        self._link.change(_ADD, _params(budget))
        self._tell("budget.changed", budget, by)

    def remove(self, budget: Budget, *, by: str) -> None:
        self._link.change(_REMOVE, _params(budget))
        self._tell("budget.removed", budget, by)

    def _tell(self, kind: str, budget: Budget, by: str) -> None:
        data = {"currency": budget.currency, "window": str(budget.window), "by": by}
        self._events.add(Event(kind=kind, subject=budget.queue_id, at=self._link.now, data=data))


def _params(budget: Budget) -> dict[str, object]:
    return {
        "queue_id": budget.queue_id,
        "currency": budget.currency,
        "window": budget.window.value,
        "limit_millionths": budget.limit_millionths,
    }


def _budget(row: Row) -> Budget:
    queue_id, currency, window, limit_millionths = row
    return Budget(
        queue_id=QueueId(queue_id),
        currency=currency,
        window=Window(window),
        limit_millionths=limit_millionths,
    )
