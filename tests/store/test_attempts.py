"""Attempts and seats: a seat is held exactly as long as its attempt lives."""

from dataclasses import replace

import pytest

from controlplane.domain.amounts import Amounts, total
from controlplane.domain.attempts import Attempt, AttemptState, Outcome
from controlplane.domain.errors import StaleWrite
from controlplane.domain.ids import AskId, AttemptId, ClusterId, JobId, NodeId
from controlplane.store import Store, Tx
from tests import factories
from tests.store.planting import plant

CUSTOM = Amounts(cpu_milli=500, gpu_milli=250, custom_milli=(("fpga", 1000), ("nic", 5)))


@pytest.fixture
def planted(store: Store) -> Store:
    plant(store, jobs=3, nodes=2)
    return store


def test_an_attempt_comes_back_whole_at_every_step(planted: Store) -> None:
    placed = factories.attempt(lease_until=factories.after(5))
    starting = placed.start(session="session-1", at=factories.after(1))
    running = starting.run(at=factories.after(2))
    stopping = running.stop(Outcome.TIMED_OUT, at=factories.after(3), reason="ran longer than 1 s")
    ended = stopping.end(Outcome.TIMED_OUT, at=factories.after(4), exit_code=-15)
    planted.write(lambda tx: tx.attempts.add(placed, []))

    for step in (starting, running, stopping, ended):
        planted.write(lambda tx, step=step: tx.attempts.save(step))  # type: ignore[misc]
        with planted.read() as tx:
            assert tx.attempts.get(placed.id) == step
    with planted.read() as tx:
        assert tx.attempts.get(AttemptId("nobody")) is None


def test_seats_come_back_by_rank(planted: Store) -> None:
    seats = [
        factories.seat(1, 0),
        factories.seat(1, 1, node_id=NodeId("node-2"), amounts=CUSTOM, heir=AskId("ask-2")),
    ]
    planted.write(lambda tx: tx.attempts.add(factories.attempt(), seats[::-1]))

    with planted.read() as tx:
        assert tx.attempts.seats(AttemptId("attempt-1")) == seats


def test_seats_are_booked_until_the_end_and_not_longer(planted: Store) -> None:
    attempt = factories.attempt()
    other = factories.attempt(2)
    one = factories.ONE_CPU
    planted.write(
        lambda tx: tx.attempts.add(attempt, [factories.seat(1, 0), factories.seat(1, 1, amounts=CUSTOM)])
    )
    planted.write(
        lambda tx: tx.attempts.add(other, [factories.seat(2, 0), factories.seat(2, 1, amounts=CUSTOM)])
    )

    def booked() -> Amounts:
        with planted.read() as tx:
            assert tx.nodes.booked() == tx.nodes.booked(ClusterId("cluster-1"))
            assert tx.nodes.booked(ClusterId("elsewhere")) == {}
            return tx.nodes.booked().get(NodeId("node-1"), Amounts())

    assert booked() == total([one, CUSTOM, one, CUSTOM])
    for step in (
        attempt := attempt.start(session=None, at=factories.after(1)),
        attempt := attempt.run(at=factories.after(2)),
        attempt := attempt.stop(Outcome.CANCELLED, at=factories.after(3), reason="asked"),
    ):
        planted.write(lambda tx, step=step: tx.attempts.save(step))  # type: ignore[misc]
        assert booked() == total([one, CUSTOM, one, CUSTOM])
    planted.write(lambda tx: tx.attempts.save(attempt.end(Outcome.CANCELLED, at=factories.after(4))))

    assert booked() == total([one, CUSTOM])


def test_an_end_that_is_not_kept_releases_nothing(planted: Store) -> None:
    planted.write(lambda tx: tx.attempts.add(factories.attempt(), [factories.seat()]))

    def unit(tx: Tx) -> None:
        tx.attempts.save(factories.attempt().end(Outcome.LOST, at=factories.after(1)))
        raise KeyError

    with pytest.raises(KeyError):
        planted.write(unit)

    with planted.read() as tx:
        assert tx.nodes.booked() == {"node-1": factories.ONE_CPU}


def test_attempts_of_a_job_and_the_live_ones(planted: Store) -> None:
    first = factories.attempt(1, state=AttemptState.ENDED)
    second = factories.attempt(2, job_id=JobId("job-1"), ask_id=AskId("ask-1"), number=2)
    other = factories.attempt(3, state=AttemptState.STARTING, job_id=JobId("job-2"), ask_id=AskId("ask-2"))

    def unit(tx: Tx) -> None:
        for attempt in (second, first, other):
            tx.attempts.add(attempt, [])

    planted.write(unit)

    with planted.read() as tx:
        assert tx.attempts.of_job(JobId("job-1")) == [first, second]
        assert tx.attempts.live_of_job(JobId("job-1")) == second
        assert tx.attempts.live_of_job(JobId("job-3")) is None
        assert tx.attempts.live() == [second, other] == tx.attempts.live(ClusterId("cluster-1"))
        assert tx.attempts.live(ClusterId("elsewhere")) == []
        assert tx.attempts.count_starting(ClusterId("cluster-1")) == 1
        assert tx.attempts.count_starting(ClusterId("elsewhere")) == 0


def test_what_counts_against_the_retry_budget(planted: Store) -> None:
    outcomes = [
        Outcome.FAILED,
        Outcome.NEVER_STARTED,
        Outcome.FAILED,
        Outcome.LOST,
        *[Outcome.NEVER_STARTED] * 2,
    ]

    def unit(tx: Tx) -> None:
        for number, outcome in enumerate(outcomes, start=1):
            tx.attempts.add(_ended(number, outcome), [])

    planted.write(unit)

    with planted.read() as tx:
        assert tx.attempts.failures(JobId("job-1")) == 2
        assert tx.attempts.never_started_in_a_row(JobId("job-1")) == 2
        assert tx.attempts.failures(JobId("job-2")) == tx.attempts.never_started_in_a_row(JobId("job-2")) == 0


def _ended(number: int, outcome: Outcome) -> Attempt:
    attempt = factories.attempt(number, state=AttemptState.ENDED, outcome=outcome)
    return replace(attempt, job_id=JobId("job-1"), ask_id=AskId("ask-1"), number=number)


def test_a_lease_is_extended_and_never_shortened(planted: Store) -> None:
    planted.write(lambda tx: tx.attempts.add(factories.attempt(), []))
    attempt_id = factories.attempt().id

    def extend(seconds: float) -> Attempt | None:
        assert planted.write(lambda tx: tx.attempts.extend_lease(attempt_id, factories.after(seconds)))
        with planted.read() as tx:
            return tx.attempts.get(attempt_id)

    assert extend(10) == factories.attempt(lease_until=factories.after(10))
    assert extend(5) == factories.attempt(lease_until=factories.after(10))
    assert extend(20) == factories.attempt(lease_until=factories.after(20))


def test_a_save_does_not_shorten_a_lease_that_was_extended_meanwhile(planted: Store) -> None:
    planted.write(lambda tx: tx.attempts.add(factories.attempt(lease_until=factories.after(1)), []))
    loaded = factories.attempt(lease_until=factories.after(1))
    planted.write(lambda tx: tx.attempts.extend_lease(loaded.id, factories.after(30)))

    planted.write(lambda tx: tx.attempts.save(loaded.start(session=None, at=factories.after(1))))

    with planted.read() as tx:
        saved = tx.attempts.get(loaded.id)
    assert saved is not None
    assert saved.lease_until == factories.after(30)


def test_the_lease_of_an_ended_attempt_is_not_extended(planted: Store) -> None:
    ended = factories.attempt(state=AttemptState.ENDED)
    planted.write(lambda tx: tx.attempts.add(ended, []))

    assert not planted.write(lambda tx: tx.attempts.extend_lease(ended.id, factories.after(30)))
    with planted.read() as tx:
        assert tx.attempts.get(ended.id) == ended


def test_an_end_by_silence_is_stale_when_somebody_spoke_meanwhile(planted: Store) -> None:
    loaded = factories.attempt(lease_until=factories.after(1))
    planted.write(lambda tx: tx.attempts.add(loaded, []))
    planted.write(lambda tx: tx.attempts.extend_lease(loaded.id, factories.after(30)))

    with pytest.raises(StaleWrite):
        planted.write(lambda tx: tx.attempts.save(loaded.end(Outcome.LOST, at=factories.after(9))))

    evidence = loaded.end(Outcome.SUCCEEDED, at=factories.after(9), exit_code=0)
    planted.write(lambda tx: tx.attempts.save(evidence))
    with planted.read() as tx:
        assert tx.attempts.live() == []
