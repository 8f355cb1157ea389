"""Batches and savepoints: many rows in one statement, and a part of a unit that is taken back alone."""

from collections.abc import Callable

import pytest

from controlplane.domain.amounts import Amounts
from controlplane.domain.attempts import AttemptState, Outcome
from controlplane.domain.errors import Bug, Conflict, Invalid, StaleWrite
from controlplane.domain.ids import AttemptId, ClassId, JobId
from controlplane.domain.jobs import JobState
from controlplane.store import RankRow, ReasonRow, Store, Tx
from tests import factories
from tests.store.planting import plant

JOBS = 5
Deed = Callable[[Tx], object]


@pytest.fixture
def planted(store: Store) -> Store:
    plant(store, jobs=JOBS)
    return store


def states(store: Store) -> list[JobState]:
    with store.read() as tx:
        return [job.state for job in tx.jobs.many([factories.job(n).id for n in range(1, JOBS + 1)])]


def activate(tx: Tx, *numbers: int) -> None:
    tx.jobs.save_many(
        [factories.job(n).move(JobState.ACTIVE, at=factories.after(9), reason=f"no. {n}") for n in numbers]
    )


def part(tx: Tx, *deeds: Deed) -> None:
    with tx.savepoint():
        for deed in deeds:
            deed(tx)


def activates(*numbers: int) -> Deed:
    return lambda tx: activate(tx, *numbers)


def violates(tx: Tx) -> None:
    tx.projects.add(factories.project())


def breaks_off(_tx: Tx) -> None:
    raise KeyError


def test_many_moves_are_saved_with_an_event_each_in_their_order(planted: Store) -> None:
    with planted.read() as tx:
        head = tx.events.head()

    planted.write(lambda tx: activate(tx, 3, 1, 2))

    with planted.read() as tx:
        told = [(event.kind, event.subject, event.data) for _, event in tx.events.after(head, 10)[0]]
        assert tx.jobs.get(JobId("job-3")) == factories.job(3).move(
            JobState.ACTIVE, at=factories.after(9), reason="no. 3"
        )
    assert told == [("job.active", f"job-{n}", {"from": "queued", "reason": f"no. {n}"}) for n in (3, 1, 2)]


def test_one_stale_row_makes_the_whole_batch_stale(planted: Store) -> None:
    planted.write(lambda tx: activate(tx, 2))

    with pytest.raises(StaleWrite, match="job job-1 or one of 2 more: changed by another writer"):
        planted.write(lambda tx: activate(tx, 1, 2, 3))

    assert states(planted) == [JobState.QUEUED, JobState.ACTIVE, *[JobState.QUEUED] * 3]


def test_a_batch_that_names_a_row_twice_is_stale(planted: Store) -> None:
    with pytest.raises(StaleWrite):
        planted.write(lambda tx: activate(tx, 1, 1))


def test_what_fails_in_a_savepoint_takes_nothing_else_along(planted: Store) -> None:
    def unit(tx: Tx) -> None:
        activate(tx, 1)
        with pytest.raises(StaleWrite):
            part(tx, activates(2), activates(1))
        with pytest.raises(Conflict):
            part(tx, activates(3), violates)
        part(tx, activates(4))

    planted.write(unit)

    queued, active = JobState.QUEUED, JobState.ACTIVE
    assert states(planted) == [active, queued, queued, active, queued]


def test_savepoints_nest(planted: Store) -> None:
    def keeps_the_outer(tx: Tx) -> None:
        activate(tx, 1)
        with pytest.raises(KeyError):
            part(tx, activates(2), breaks_off)

    def unit(tx: Tx) -> None:
        part(tx, keeps_the_outer)
        with pytest.raises(KeyError):
            part(tx, lambda tx: part(tx, activates(3)), breaks_off)

    planted.write(unit)

    assert states(planted) == [JobState.ACTIVE, *[JobState.QUEUED] * 4]


def swallows_a_failure(tx: Tx) -> None:
    with pytest.raises(Conflict):
        violates(tx)


def test_a_failure_that_was_swallowed_inside_a_savepoint_is_raised_at_its_end(planted: Store) -> None:
    with pytest.raises(Conflict):
        planted.write(lambda tx: part(tx, swallows_a_failure))


def test_after_a_failure_nothing_runs_until_the_savepoint_is_left(planted: Store) -> None:
    def goes_on(tx: Tx) -> None:
        with pytest.raises(Bug, match="nothing more runs"):
            activate(tx, 1)

    def unit(tx: Tx) -> None:
        with pytest.raises(Conflict):
            part(tx, swallows_a_failure, goes_on)
        activate(tx, 1)

    planted.write(unit)

    assert states(planted)[0] is JobState.ACTIVE


def test_many_attempts_end_together_and_release_their_seats(planted: Store) -> None:
    new = [(factories.attempt(n), [factories.seat(n, rank) for rank in range(2)]) for n in (1, 2, 3)]
    planted.write(lambda tx: tx.attempts.add_many(new))
    ended = [
        attempt.end(Outcome.SUCCEEDED, at=factories.after(n), exit_code=0)
        for n, (attempt, _) in enumerate(new)
    ]
    planted.write(lambda tx: tx.attempts.save_many(ended[:2]))

    with planted.read() as tx:
        assert tx.attempts.many([each.id for each in ended]) == {
            AttemptId("attempt-1"): ended[0],
            AttemptId("attempt-2"): ended[1],
            AttemptId("attempt-3"): new[2][0],
        }
        assert tx.nodes.booked() == {"node-1": factories.ONE_CPU.plus(factories.ONE_CPU)}
        assert tx.nodes.reserved(factories.cluster().id) == {}
        assert tx.attempts.on_node(factories.node().id) == ["attempt-3"]
        assert tx.attempts.newest_numbers([JobId("job-1"), JobId("job-9")]) == {JobId("job-1"): 1}


def test_one_that_spoke_meanwhile_makes_a_batch_of_silent_ends_stale(planted: Store) -> None:
    placed = [factories.attempt(n, lease_until=factories.after(1)) for n in (1, 2)]
    planted.write(lambda tx: tx.attempts.add_many([(each, []) for each in placed]))
    planted.write(lambda tx: tx.attempts.extend_lease(placed[1].id, factories.after(30)))

    with pytest.raises(StaleWrite, match="attempt-2"):
        planted.write(
            lambda tx: tx.attempts.save_many(
                [each.end(Outcome.LOST, at=factories.after(9)) for each in placed]
            )
        )

    with planted.read() as tx:
        assert [each.state for each in tx.attempts.live()] == [AttemptState.PLACED] * 2


def test_ranks_and_checkpointless_jobs_of_many_attempts(planted: Store) -> None:
    planted.write(lambda tx: tx.attempts.add_many([(factories.attempt(n), []) for n in (1, 2)]))
    row = RankRow(exit_code=0, exit_reason="completed", exited_at=factories.NOON, progress=0.1)
    one, two = AttemptId("attempt-1"), AttemptId("attempt-2")
    planted.write(lambda tx: tx.records.save_ranks([(one, -1, row), (one, 0, RankRow()), (two, 0, row)]))

    with planted.read() as tx:
        assert tx.records.ranks_of([one, two, AttemptId("nobody")]) == {
            one: {-1: row, 0: RankRow()},
            two: {0: row},
        }
        assert tx.records.newest_checkpoints([JobId("job-1")]) == {}


def test_only_reasons_that_changed_are_written(planted: Store) -> None:
    def row(number: int, sentence: str, seconds: float) -> ReasonRow:
        at = factories.after(seconds)
        return ReasonRow(class_id=ClassId(f"c{number}"), code="x", sentence=sentence, remedy="r", at=at)

    first = [row(1, "a", 0), row(2, "a", 0), row(3, "a", 0)]
    assert planted.write(lambda tx: tx.reasons.put_many(first)) == 3
    assert planted.write(lambda tx: tx.reasons.put_many([row(1, "a", 5), row(2, "b", 5)])) == 1
    with planted.read() as tx:
        assert [tx.reasons.get(ClassId(f"c{n}")) for n in (1, 2)] == [row(1, "a", 0), row(2, "b", 5)]


def test_amounts_survive_a_batch(planted: Store) -> None:
    custom = Amounts(cpu_milli=2**40, memory_bytes=2**52, custom_milli=(("fpga", 1000), ("nic", 5)))
    seats = [factories.seat(1, rank, amounts=custom) for rank in range(3)]
    planted.write(lambda tx: tx.attempts.add(factories.attempt(), seats))

    with planted.read() as tx:
        assert tx.attempts.seats_of([AttemptId("attempt-1")]) == {AttemptId("attempt-1"): seats}


def test_text_that_is_no_unicode_is_refused_in_a_batch_too(planted: Store) -> None:
    moved = [factories.job(n).move(JobState.ACTIVE, at=factories.NOON, reason="\ud800") for n in (1, 2)]

    with pytest.raises(Invalid):
        planted.write(lambda tx: tx.jobs.save_many(moved))


def test_many_pokes_and_settlements(planted: Store) -> None:
    planted.write(lambda tx: tx.work.poke_many("job", ["b", "a", "c", "a"]))
    items = planted.write(lambda tx: tx.work.claim("job", "me", 10, 30))
    planted.write(lambda tx: tx.work.poke_many("job", ["b"]))
    later = factories.after(10**9)
    planted.write(
        lambda tx: tx.work.settle_many([(item, later if item.id == "c" else None) for item in items])
    )

    assert [item.id for item in planted.write(lambda tx: tx.work.claim("job", "me", 10, 30))] == ["b"]
    with planted.read() as tx:
        due_at = tx.work.next_due("job")
    assert due_at is not None
    assert due_at < later


def test_a_lost_claim_makes_a_batch_of_settlements_stale(planted: Store) -> None:
    planted.write(lambda tx: tx.work.poke_many("job", ["a", "b"]))
    items = planted.write(lambda tx: tx.work.claim("job", "me", 10, 30))
    planted.write(lambda tx: tx.work.settle(items[1], None))

    with pytest.raises(StaleWrite, match="job b: the claim was taken over"):
        planted.write(lambda tx: tx.work.settle_many([(item, None) for item in items]))

    planted.write(lambda tx: tx.work.settle(items[0], None))
