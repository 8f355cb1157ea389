"""The reconcile loop by itself: batches, losers that drop out singly, and what is never swallowed."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from controlplane.domain.errors import StaleWrite, Unavailable
from controlplane.runtime.bell import Bell
from controlplane.runtime.lanes import MOST_WAITING, WIDTH, Lanes
from controlplane.runtime.reconcile import BATCH, CLAIM_SECONDS, RETRY_SECONDS, Noun, ReconcileLoop
from controlplane.store import Store, Tx, WorkItem
from tests.databases import Opener
from tests.inline_pool import InlinePool

START = datetime(2026, 1, 1, tzinfo=UTC)


class Crash(BaseException):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTurn:
    item: WorkItem
    lane: str | None


@dataclass(slots=True)
class Probe:
    """A step that notes what it is given; what the id of an item contains says what goes wrong with it."""

    begun: list[list[str]] = field(default_factory=list)
    acted: list[list[str]] = field(default_factory=list)
    recorded: list[list[str]] = field(default_factory=list)
    problems: dict[str, BaseException] = field(default_factory=dict)
    """By place and id, `record b`; each is raised once."""

    def begin(self, items: Sequence[WorkItem], under_way: Sequence[CallTurn]) -> list[CallTurn]:
        del under_way
        self._note("begin", self.begun, items)
        return [CallTurn(item=item, lane="x" if item.id.startswith("call") else None) for item in items]

    def act(self, turns: Sequence[CallTurn]) -> list[CallTurn]:
        self._note("act", self.acted, [turn.item for turn in turns])
        return [replace(turn, lane=None) for turn in turns]

    def record(self, tx: Tx, turns: Sequence[CallTurn]) -> None:
        tx.work.poke_many("done", [turn.item.id for turn in turns])
        self._note("record", self.recorded, [turn.item for turn in turns])
        tx.work.settle_many([(turn.item, None) for turn in turns])

    def _note(self, place: str, notes: list[list[str]], items: Sequence[WorkItem]) -> None:
        notes.append([item.id for item in items])
        for item in items:
            if len(items) == 1 and (problem := self.problems.pop(f"{place} {item.id}", None)):
                raise problem
            if f"{place} {item.id}" in self.problems:
                raise next(problem for key, problem in self.problems.items() if key.startswith(place))


@dataclass(slots=True)
class Desk:
    store: Store
    probe: Probe
    loop: ReconcileLoop[CallTurn]
    seconds: float = 0.0

    def poke(self, *ids: str) -> None:
        self.store.write(lambda tx: tx.work.poke_many("thing", ids))

    def drain(self) -> None:
        self.loop.drain(InlinePool())

    def done(self) -> list[str]:
        items = self.store.write(lambda tx: tx.work.claim("done", "me", 1000, 0))
        return sorted(item.id for item in items)

    def due_in(self) -> float | None:
        with self.store.read() as tx:
            due_at = tx.work.next_due("thing")
        return None if due_at is None else (due_at - START).total_seconds() - self.seconds


@pytest.fixture
def desk(sqlite_url: str, open_store: Opener) -> Desk:
    desks: list[Desk] = []
    store = open_store(sqlite_url, now=lambda: START + timedelta(seconds=desks[0].seconds if desks else 0))
    probe = Probe()
    noun = Noun(name="thing", step=probe, threads=1)
    loop = ReconcileLoop(noun, store=store, bell=Bell(store.change_marker), holder="me")
    desks.append(Desk(store, probe, loop))
    return desks[0]


def test_what_is_due_goes_through_together(desk: Desk) -> None:
    desk.poke("a", "b", "call-1", "call-2")

    desk.drain()

    assert desk.probe.begun == [["a", "b", "call-1", "call-2"]]
    assert sorted(id_ for ids in desk.probe.acted for id_ in ids) == ["call-1", "call-2"]
    assert desk.probe.recorded == [["a", "b", "call-1", "call-2"]]
    assert (desk.done(), desk.due_in()) == (["a", "b", "call-1", "call-2"], None)


def test_more_than_a_batch_goes_in_batches(desk: Desk) -> None:
    names = [f"{number:03}" for number in range(BATCH + 1)]
    desk.poke(*names)

    desk.drain()

    assert [len(ids) for ids in desk.probe.begun] == [BATCH, 1]
    assert desk.done() == names


@pytest.mark.parametrize(
    ("problem", "due_in"), [(ValueError("odd"), RETRY_SECONDS), (StaleWrite("somebody was faster"), None)]
)
def test_one_that_cannot_be_recorded_drops_out_alone(
    desk: Desk, problem: Exception, due_in: float | None
) -> None:
    desk.probe.problems["record b"] = problem
    desk.poke("a", "b", "c")

    desk.drain()

    assert desk.due_in() == due_in  # None: it was taken up again at once, and recorded
    assert desk.done() == (["a", "c"] if due_in else ["a", "b", "c"])


@pytest.mark.parametrize("place", ["begin", "act"])
def test_one_that_fails_before_comes_back_alone(desk: Desk, place: str) -> None:
    desk.probe.problems[f"{place} call-2"] = ValueError("odd")
    desk.poke("call-1", "call-2", "call-3")

    desk.drain()

    assert desk.due_in() == RETRY_SECONDS
    desk.seconds = RETRY_SECONDS
    desk.drain()
    assert (desk.done(), desk.due_in()) == (["call-1", "call-2", "call-3"], None)


@pytest.mark.parametrize("place", ["begin", "act", "record"])
def test_a_crash_is_never_caught(desk: Desk, place: str) -> None:
    desk.probe.problems[f"{place} call-1"] = Crash()
    desk.poke("call-1")

    with pytest.raises(Crash):
        desk.drain()

    assert desk.done() == []
    assert desk.due_in() == CLAIM_SECONDS  # then somebody takes it over


def test_what_could_not_be_recorded_is_recorded_when_the_database_is_back(desk: Desk) -> None:
    desk.probe.problems["record a"] = Unavailable("away")
    desk.poke("a")

    desk.drain()
    assert desk.done() == []
    desk.drain()
    assert (desk.done(), desk.probe.begun) == (["a"], [["a"]])


def test_a_claim_that_was_taken_over_is_dropped(desk: Desk) -> None:
    desk.probe.problems["record a"] = Unavailable("away")
    desk.poke("a")
    desk.drain()
    desk.seconds = CLAIM_SECONDS
    (taken,) = desk.store.write(lambda tx: tx.work.claim("thing", "other", 10, 60))

    desk.drain()

    assert desk.done() == []
    desk.store.write(lambda tx: tx.work.check(taken))


class SlowPool:
    """Calls end when a test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Future[list[str]], Callable[[], list[str]]]] = []

    def submit(self, fn: Callable[..., list[str]], /, *args: object) -> "Future[list[str]]":
        future: Future[list[str]] = Future()
        self.calls.append((future, lambda: fn(*args)))
        return future

    def end(self, number: int) -> None:
        future, call = self.calls[number]
        future.set_result(call())


def in_lane(lane: str, number: int) -> CallTurn:
    item = WorkItem(noun="thing", id=f"{lane}{number}", token=1, due_at=START)
    return CallTurn(item=item, lane=lane)


def test_a_lane_whose_calls_hang_holds_back_no_other() -> None:
    rings: list[None] = []
    lanes: Lanes[CallTurn, list[str]] = Lanes(
        lambda turns: [turn.item.id for turn in turns], ring=lambda: rings.append(None)
    )
    pool = SlowPool()
    assert lanes.add([in_lane("hangs", number) for number in range(WIDTH)]) == []
    lanes.send(pool)  # type: ignore[arg-type] # one kind of answer is enough here
    lanes.add([in_lane("hangs", WIDTH), in_lane("quick", 0)])
    lanes.send(pool)  # type: ignore[arg-type]

    assert (len(pool.calls), lanes.has_answers) == (WIDTH + 1, False)
    pool.end(WIDTH)
    assert (len(rings), lanes.has_answers, lanes.answers()) == (1, True, [["quick0"]])
    assert len(lanes.turns) == WIDTH + 1
    pool.end(0)
    lanes.send(pool)  # type: ignore[arg-type]
    assert (lanes.answers(), len(pool.calls)) == ([["hangs0"]], WIDTH + 1)
    lanes.send(pool)  # type: ignore[arg-type]
    assert len(pool.calls) == WIDTH + 2


def test_a_crowded_lane_takes_no_more_and_can_be_cleared() -> None:
    lanes: Lanes[CallTurn, list[str]] = Lanes(lambda _: [], ring=lambda: None)
    turns = [in_lane("hangs", number) for number in range(MOST_WAITING + 1)]

    assert lanes.add(turns) == turns[-1:]
    assert lanes.give_up() == turns[:-1]
    assert lanes.turns == []
