"""The one reconcile loop: claims what is due of one noun, many at a time, and takes each item through its step.

What a batch does to the database is one write: it records what is ready and claims what is due. Each item is recorded
whole or not at all, and one that cannot be recorded takes nothing of the others along.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Generic, Protocol, TypeVar

from controlplane.domain.errors import StaleWrite, Unavailable
from controlplane.runtime.alarms import Alarm
from controlplane.runtime.bell import Bell
from controlplane.runtime.lanes import Lanes, Pool
from controlplane.store import Store, Tx, WorkItem

IDLE_SECONDS: Final = 1.0
"""Longest wait without looking: the net below the alarm."""

CLAIM_SECONDS: Final = 120.0
"""Longer than any step: another replica takes over an item only when its claimer is gone."""

RETRY_SECONDS: Final = 2.0
BATCH: Final = 50
"""Items per transaction: more would cost hardly less for each, and keep other writers of SQLite waiting."""

log = logging.getLogger(__name__)


class Turn(Protocol):
    """One claimed item on its way through a step."""

    @property
    def item(self) -> WorkItem: ...

    @property
    def lane(self) -> str | None:
        """Whom it has a call for; None: it can be recorded."""


T = TypeVar("T", bound=Turn)


class Step(Protocol[T]):
    """What is done for the items of one noun; `act` runs in threads of a pool, the rest in the loop's own."""

    def begin(self, items: Sequence[WorkItem], under_way: Sequence[T]) -> Sequence[T]:
        """Loads them in one read and decides. `under_way`: turns of this loop that are not recorded yet."""

    def act(self, turns: Sequence[T]) -> Sequence[T]:
        """Makes the calls that turns of one lane ask for, and decides again with the answers, until none is left."""

    def record(self, tx: Tx, turns: Sequence[T]) -> None:
        """Saves what was decided and settles every item, or raises. It may run more than once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noun(Generic[T]):
    """What a loop looks after, and the step that looks after it."""

    name: str
    step: Step[T]
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Returned:
    """An item that goes back to the list as it is."""

    item: WorkItem
    seconds: float
    """From now until it is due again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome(Generic[T]):
    turns: tuple[T, ...] = ()
    returned: tuple[_Returned, ...] = ()


class ReconcileLoop(Generic[T]):
    def __init__(self, noun: Noun[T], *, store: Store, bell: Bell, holder: str) -> None:
        self._noun = noun
        self._store = store
        self._bell = bell
        self._holder = holder
        self.alarm = Alarm()
        """Rung when something of the noun is due; an answer from outside rings it as well."""

        self._lanes: Lanes[T, _Outcome[T]] = Lanes(self._act, ring=self.alarm.ring)
        self._ready: list[T] = []
        self._returned: list[_Returned] = []

    def run(self) -> None:
        with ThreadPoolExecutor(self._noun.threads, thread_name_prefix=self._noun.name) as pool:
            while not self._bell.is_stopping:
                self.alarm.wait(IDLE_SECONDS)
                self.drain(pool)
        self._finish()

    def drain(self, pool: Pool) -> None:
        """Works until all that is left waits for an answer, for its time, or for the database.

        With a pool that runs calls inline nothing here waits, sleeps, or depends on another thread. What is no
        `Exception` is never caught.
        """
        while not self._bell.is_stopping:
            self._collect()
            try:
                items = self._turn_over()
            except Unavailable as away:
                log.warning("store.away", extra={"noun": self._noun.name, "problem": away.message})
                return  # what is ready stays so, and is recorded when the database is back
            self._take_up(items)
            self._lanes.send(pool)
            if not items and not self._ready and not self._returned and not self._lanes.has_answers:
                return

    def _collect(self) -> None:
        for outcome in self._lanes.answers():
            self._ready += outcome.turns
            self._returned += outcome.returned

    def _turn_over(self) -> list[WorkItem]:
        """Records what is ready and claims what is due, in one transaction."""
        if not self._ready and not self._returned and not self._is_due():
            return []
        ready, returned = tuple(self._ready[:BATCH]), tuple(self._returned[:BATCH])

        def unit(tx: Tx) -> tuple[list[WorkItem], list[tuple[WorkItem, Exception]]]:
            problems = _record(tx, self._noun.step, ready)
            _give_back(tx, [*returned, *(_after(item, problem) for item, problem in problems)])
            return tx.work.claim(self._noun.name, self._holder, BATCH, CLAIM_SECONDS), problems

        items, problems = self._store.write(unit)
        del self._ready[:BATCH], self._returned[:BATCH]
        for item, problem in problems:
            _tell(item, problem)
        return items

    def _is_due(self) -> bool:
        """Looks before it writes: an idle loop must not cost a transaction on disk."""
        with self._store.read() as tx:
            due_at = tx.work.next_due(self._noun.name)
            return due_at is not None and due_at <= tx.now

    def _take_up(self, items: Sequence[WorkItem]) -> None:
        if not items:
            return
        begun = self._begin(items)
        self._returned += begun.returned
        self._ready += (turn for turn in begun.turns if turn.lane is None)
        crowded = self._lanes.add([turn for turn in begun.turns if turn.lane is not None])
        self._returned += (_Returned(item=turn.item, seconds=RETRY_SECONDS) for turn in crowded)

    def _begin(self, items: Sequence[WorkItem]) -> _Outcome[T]:
        under_way = [*self._lanes.turns, *self._ready]
        try:
            return _Outcome(turns=tuple(self._noun.step.begin(items, under_way)))
        except Unavailable as away:
            log.warning("store.away", extra={"noun": self._noun.name, "problem": away.message})
            return _Outcome(returned=tuple(_Returned(item=item, seconds=RETRY_SECONDS) for item in items))
        except Exception as problem:  # noqa: BLE001 - whatever it is, the item comes back
            if len(items) == 1:
                return _failed(items[0], problem)
        return _joined([self._begin([item]) for item in items])

    def _act(self, turns: Sequence[T]) -> _Outcome[T]:
        try:
            return _Outcome(turns=tuple(self._noun.step.act(turns)))
        except Exception as problem:  # noqa: BLE001 - likewise; every call may be made twice
            if len(turns) == 1:
                return _failed(turns[0].item, problem)
        return _joined([self._act([turn]) for turn in turns])

    def _finish(self) -> None:
        """Records the answers that came in while everything stopped; what had no call goes back."""
        self._collect()
        self._returned += (_Returned(item=turn.item, seconds=0) for turn in self._lanes.give_up())

        def unit(tx: Tx) -> None:
            problems = _record(tx, self._noun.step, self._ready)
            _give_back(tx, [*self._returned, *(_after(item, problem) for item, problem in problems)])

        try:
            self._store.write(unit)
        except Unavailable as away:
            log.warning("store.away", extra={"noun": self._noun.name, "problem": away.message})


def _record(tx: Tx, step: Step[T], turns: Sequence[T]) -> list[tuple[WorkItem, Exception]]:
    """All of them at once or, when that fails, each alone. Returns what failed even so."""
    problem = _problem_with(tx, step, turns) if turns else None
    if problem is None:
        return []
    if len(turns) == 1:
        return [(turns[0].item, problem)]
    return [failure for turn in turns for failure in _record(tx, step, [turn])]


def _problem_with(tx: Tx, step: Step[T], turns: Sequence[T]) -> Exception | None:
    try:
        with tx.savepoint():
            step.record(tx, turns)
    except Unavailable:
        raise  # of the whole transaction
    except Exception as problem:  # noqa: BLE001 - told of, and the item comes back
        return problem
    return None


def _give_back(tx: Tx, returned: Sequence[_Returned]) -> None:
    for each in returned:
        try:
            with tx.savepoint():
                tx.work.settle(each.item, tx.now + timedelta(seconds=each.seconds))
        except StaleWrite as stale:
            extra = {"noun": each.item.noun, "id": each.item.id, "problem": stale.message}
            log.info("settle.dropped", extra=extra)


def _after(item: WorkItem, problem: Exception) -> _Returned:
    """What somebody else changed is looked at again at once."""
    return _Returned(item=item, seconds=0 if isinstance(problem, StaleWrite) else RETRY_SECONDS)


def _failed(item: WorkItem, problem: Exception) -> _Outcome[T]:
    _tell(item, problem)
    return _Outcome(returned=(_after(item, problem),))


def _joined(outcomes: Sequence[_Outcome[T]]) -> _Outcome[T]:
    return _Outcome(
        turns=tuple(turn for each in outcomes for turn in each.turns),
        returned=tuple(item for each in outcomes for item in each.returned),
    )


def _tell(item: WorkItem, problem: Exception) -> None:
    extra: dict[str, object] = {"noun": item.noun, "id": item.id}
    if isinstance(problem, StaleWrite):
        log.info("step.stale", extra=extra | {"problem": problem.message})
    else:
        log.error("step.failed", extra=extra, exc_info=problem)
