"""The copy loop's step: works on each open copy for a while, and says what came of it."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from controlplane.domain.data_copies import Copy, CopyState
from controlplane.domain.errors import Ambiguous, PluginError, Throttled, Transient, UserError
from controlplane.domain.ids import CopyId
from controlplane.operations.context import Context
from controlplane.operations.object_stores import Located, located
from controlplane.runtime.copying import Way, bring, call_off
from controlplane.storage.pace import Pace
from controlplane.storage.uris import parse
from controlplane.store import Tx, WorkItem

STINT_SECONDS: Final = 15.0
"""After so long the next copy has its turn, and what was asked meanwhile is heard. Parts under way are awaited."""

UNDER_WAY_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyTurn:
    item: WorkItem
    copy: Copy | None
    """What is to be worked on; None: it was, or there is nothing to do."""

    at: datetime
    saved: Copy | None = None
    look_again_seconds: float | None = None

    @property
    def lane(self) -> str | None:
        return None if self.copy is None else self.copy.id


class CopyStep:
    """Its loop has one thread, so that all copies of a process together keep to the memory of one."""

    def __init__(self, context: Context, *, stint_seconds: float = STINT_SECONDS) -> None:
        self._context = context
        self._stint_seconds = stint_seconds

    def begin(self, items: Sequence[WorkItem], under_way: Sequence[CopyTurn]) -> Sequence[CopyTurn]:
        busy = {turn.item.id for turn in under_way}
        with self._context.store.read() as tx:
            return [self._begun(tx, item, is_busy=item.id in busy) for item in items]

    def act(self, turns: Sequence[CopyTurn]) -> Sequence[CopyTurn]:
        return [self._acted(turn, turn.copy) for turn in turns if turn.copy is not None]

    def record(self, tx: Tx, turns: Sequence[CopyTurn]) -> None:
        for turn in turns:
            if turn.saved is not None:
                tx.copies.save(turn.saved)
                if turn.saved.is_over:
                    tx.work.poke_many("input", tx.inputs.of_copy(turn.saved.id))
        tx.work.settle_many([(turn.item, _due(tx, turn)) for turn in turns])

    def _begun(self, tx: Tx, item: WorkItem, *, is_busy: bool) -> CopyTurn:
        copy = tx.copies.get(CopyId(item.id))
        if copy is None or copy.is_over:
            return CopyTurn(item=item, copy=None, at=tx.now)
        if is_busy:
            return CopyTurn(item=item, copy=None, at=tx.now, look_again_seconds=UNDER_WAY_SECONDS)
        if copy.state is CopyState.PENDING and copy.cancel_requested_at is None:
            moved = copy.move(CopyState.COPYING, at=tx.now)
            return CopyTurn(item=item, copy=None, at=tx.now, saved=moved, look_again_seconds=0)
        return CopyTurn(item=item, copy=copy, at=tx.now)

    def _acted(self, turn: CopyTurn, copy: Copy) -> CopyTurn:
        try:
            return self._advanced(turn, copy)
        except (Transient, Ambiguous) as problem:
            log.info("copy.paused", extra={"copy": copy.id, "problem": problem.message})
            return _paused(turn, copy, problem)
        except (PluginError, UserError) as problem:
            log.warning("copy.failed", extra={"copy": copy.id, "problem": problem.message})
            self._tidy(copy)
            failed = replace(copy.move(CopyState.FAILED, at=turn.at), problem=problem.message)
            return replace(turn, copy=None, saved=failed)

    def _advanced(self, turn: CopyTurn, copy: Copy) -> CopyTurn:
        way = self._way(copy)
        if copy.cancel_requested_at is not None:
            call_off(way)
            return replace(turn, copy=None, saved=copy.move(CopyState.CANCELLED, at=turn.at))
        if bring(way):
            done = replace(copy.move(CopyState.DONE, at=turn.at), problem=None)
            return replace(turn, copy=None, saved=done)
        healed = copy.changed(failures=0, problem=None) if copy.failures else None
        return replace(turn, copy=None, saved=healed, look_again_seconds=0)

    def _way(self, copy: Copy) -> Way:
        until = time.monotonic() + self._stint_seconds
        source, target = self._located(copy)
        return Way(
            store=self._context.store,
            copy=copy,
            source=source,
            target=target,
            part_bytes=self._context.settings.copy_part_bytes,
            pace=Pace(copy.bytes_per_second, clock=time.monotonic, sleep=time.sleep),
            goes_on=lambda: time.monotonic() < until,
        )

    def _located(self, copy: Copy) -> tuple[Located, Located]:
        with self._context.store.read() as tx:
            source = located(self._context, tx, parse(copy.source))
            return source, located(self._context, tx, parse(copy.target))

    def _tidy(self, copy: Copy) -> None:
        """An upload that cannot be aborted now is left to the bucket's own rule for incomplete ones."""
        try:
            call_off(self._way(copy))
        except (PluginError, UserError) as problem:
            log.info("copy.untidied", extra={"copy": copy.id, "problem": problem.message})


def _paused(turn: CopyTurn, copy: Copy, problem: PluginError) -> CopyTurn:
    pause = min(LONGEST_PAUSE_SECONDS, 2.0 ** min(copy.failures, 10))
    if isinstance(problem, Throttled):
        pause = max(pause, problem.retry_after_seconds)
    saved = copy.changed(failures=copy.failures + 1, problem=problem.message)
    return replace(turn, copy=None, saved=saved, look_again_seconds=pause)


def _due(tx: Tx, turn: CopyTurn) -> datetime | None:
    seconds = turn.look_again_seconds
    return None if seconds is None else tx.now + timedelta(seconds=seconds)
