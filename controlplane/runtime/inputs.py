"""The input loop's step: looks at what jobs want to read, has it copied near them, and deletes what is not read."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, assert_never

from controlplane.domain.data_copies import Copy, CopyState
from controlplane.domain.errors import Ambiguous, Bug, PluginError, Throttled, Transient, UserError
from controlplane.domain.ids import CopyId, InputId
from controlplane.domain.inputs import Input, InputState
from controlplane.operations.context import Context
from controlplane.runtime.looking import Sight, forget, is_as_seen, look
from controlplane.store import Tx, WorkItem

STINT_SECONDS: Final = 15.0
"""Deletes for so long; then others have their turn."""

UNDER_WAY_SECONDS: Final = 60.0
COPYING_SECONDS: Final = 30.0
"""The copy tells when it is over: this is the net below that."""

LEAVING_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputTurn:
    item: WorkItem
    row: Input | None
    """What the stores are to be asked about; None: they were, or need not be."""

    at: datetime
    copy: Copy | None = None
    """The one that it waited for, and that is done."""

    saved: Input | None = None
    seen: Sight | None = None
    """Of one that was looked at: what becomes of it is decided when it is recorded, beside the others."""

    look_again_seconds: float | None = None

    @property
    def lane(self) -> str | None:
        return None if self.row is None else self.row.id


class InputStep:
    def __init__(self, context: Context, *, stint_seconds: float = STINT_SECONDS) -> None:
        self._context = context
        self._stint_seconds = stint_seconds

    def begin(self, items: Sequence[WorkItem], under_way: Sequence[InputTurn]) -> Sequence[InputTurn]:
        busy = {turn.item.id for turn in under_way}
        with self._context.store.read() as tx:
            return [self._begun(tx, item, is_busy=item.id in busy) for item in items]

    def act(self, turns: Sequence[InputTurn]) -> Sequence[InputTurn]:
        return [self._acted(turn, turn.row) for turn in turns if turn.row is not None]

    def record(self, tx: Tx, turns: Sequence[InputTurn]) -> None:
        settled = []
        for turn in turns:
            again = turn.look_again_seconds
            if turn.seen is not None:
                again = self._place(tx, turn, turn.seen)
            elif turn.saved is not None:
                tx.inputs.save(turn.saved)
            settled.append((turn.item, None if again is None else tx.now + timedelta(seconds=again)))
        tx.work.settle_many(settled)

    def _begun(self, tx: Tx, item: WorkItem, *, is_busy: bool) -> InputTurn:
        row = tx.inputs.get(InputId(item.id))
        turn = InputTurn(item=item, row=None, at=tx.now)
        if row is None:
            return turn
        match row.state:
            case InputState.READY | InputState.FAILED | InputState.GONE:
                return turn
            case _ if is_busy:
                return replace(turn, look_again_seconds=UNDER_WAY_SECONDS)
            case InputState.LOOKING | InputState.LEAVING:
                return replace(turn, row=row)
            case InputState.COPYING:
                return _copied(turn, row, None if row.copy_id is None else tx.copies.get(row.copy_id))
            case never:
                assert_never(never)

    def _acted(self, turn: InputTurn, row: Input) -> InputTurn:
        try:
            return replace(self._advanced(turn, row), row=None)
        except (Transient, Ambiguous) as problem:
            log.info("input.paused", extra={"input": row.id, "problem": problem.message})
            return _paused(turn, row, problem)
        except (PluginError, UserError) as problem:
            log.warning("input.failed", extra={"input": row.id, "problem": problem.message})
            return _refused(turn, row, problem)

    def _advanced(self, turn: InputTurn, row: Input) -> InputTurn:
        if row.state is InputState.LOOKING:
            return replace(turn, seen=look(self._context, row))
        if row.state is InputState.LEAVING:
            until = time.monotonic() + self._stint_seconds
            if forget(self._context, row, lambda: time.monotonic() < until):
                return replace(turn, saved=row.move(InputState.GONE, at=turn.at))
            return replace(turn, look_again_seconds=0)
        if turn.copy is None:
            raise Bug(f"input {row.id} has nothing to compare")
        if is_as_seen(self._context, row, turn.copy):
            return replace(turn, saved=replace(row.move(InputState.READY, at=turn.at), problem=None))
        left = replace(row.move(InputState.LEAVING, at=turn.at), problem="it changed while it was copied")
        return replace(turn, saved=left, look_again_seconds=0)

    def _place(self, tx: Tx, turn: InputTurn, seen: Sight) -> float | None:
        """Joins those that have found the same before, or has it copied. Returns when it is to be looked at again."""
        row = tx.inputs.get(InputId(turn.item.id))
        if row is None or row.state is not InputState.LOOKING:
            return None
        others = [each for each in tx.inputs.of_target(seen.target) if each.id != row.id]
        if any(each.state is InputState.LEAVING for each in others):
            return LEAVING_SECONDS
        copy_id = _shared_copy(others, seen, turn.at) or self._send(tx, row, seen)
        twins = [
            each for each in others if each.is_usable and (each.source, each.store) == (row.source, row.store)
        ]
        for other in others:
            tx.inputs.save(_renewed(other, row, copy_id, tx.now) if other in twins else other.changed())
        if twins:
            tx.inputs.repoint(row.id, twins[0].id)
            tx.inputs.save(row.move(InputState.GONE, at=tx.now))
            tx.work.poke("input", twins[0].id)
            return None
        found = replace(row, address=seen.address, target=seen.target, size_bytes=seen.size_bytes)
        moved = replace(found, copy_id=copy_id, failures=0, problem=None)
        tx.inputs.save(moved.move(InputState.COPYING, at=tx.now))
        return 0

    def _send(self, tx: Tx, row: Input, seen: Sight) -> CopyId:
        """Asks for the copy, which is read back and compared before anybody reads it."""
        copy = Copy(
            id=CopyId(self._context.ids.new("copy")),
            project_id=row.project_id,
            source=row.source,
            target=seen.target,
            state=CopyState.PENDING,
            since=tx.now,
            created_at=tx.now,
            rereads=True,
        )
        tx.copies.add(copy)
        tx.work.poke("copy", copy.id)
        return copy.id


def _copied(turn: InputTurn, row: Input, copy: Copy | None) -> InputTurn:
    if copy is not None and not copy.is_over:
        saved = row.changed(problem=copy.problem) if copy.problem != row.problem else None
        return replace(turn, saved=saved, look_again_seconds=COPYING_SECONDS)
    if copy is not None and copy.state is CopyState.DONE:
        return replace(turn, row=row, copy=copy)
    problem = "its copy is gone" if copy is None else f"copy {copy.id} is {copy.state}: {copy.problem}"
    return replace(turn, saved=replace(row.move(InputState.FAILED, at=turn.at), problem=problem))


def _shared_copy(others: Sequence[Input], seen: Sight, looked_at: datetime) -> CopyId | None:
    """The one that has brought the same content there, or is about to."""
    for each in others:
        if each.state is InputState.COPYING:
            return each.copy_id
        # It may have become whole after that was looked at.
        if each.state is InputState.READY and (seen.is_kept or each.since >= looked_at):
            return each.copy_id
    return None


def _renewed(twin: Input, row: Input, copy_id: CopyId, now: datetime) -> Input:
    """It speaks for what was found later, too."""
    if copy_id == twin.copy_id:
        return twin.changed(asked_at=row.asked_at, used_at=now)
    again = twin.move(InputState.COPYING, at=now)
    return replace(again, asked_at=row.asked_at, used_at=now, copy_id=copy_id)


def _refused(turn: InputTurn, row: Input, problem: PluginError | UserError) -> InputTurn:
    """What the store does not let go is tried again; in a store that was removed from the list it is not ours."""
    if row.state is InputState.LEAVING and isinstance(problem, PluginError):
        return _paused(turn, row, problem)
    end = InputState.GONE if row.state is InputState.LEAVING else InputState.FAILED
    return replace(turn, row=None, saved=replace(row.move(end, at=turn.at), problem=problem.message))


def _paused(turn: InputTurn, row: Input, problem: PluginError) -> InputTurn:
    pause = min(LONGEST_PAUSE_SECONDS, 2.0 ** min(row.failures, 10))
    if isinstance(problem, Throttled):
        pause = max(pause, problem.retry_after_seconds)
    saved = row.changed(failures=row.failures + 1, problem=problem.message)
    return replace(turn, row=None, saved=saved, look_again_seconds=pause)
