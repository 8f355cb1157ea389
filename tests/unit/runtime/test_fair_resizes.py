"""Elastic work under the fair policy, on both databases: grows, shrinks and moves, and starts again as its own heir."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.domain.attempts import AttemptState, Outcome
from controlplane.domain.ids import JobId
from controlplane.domain.jobs import JobState
from controlplane.operations.resizes import ResizeRefusal, apply_resizes, resize
from controlplane.store import Tx
from tests.unit.runtime.fair_world import World, opened, share


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    with opened(tmp_path, database_url) as made:
        yield made


@pytest.fixture
def shared(world: World) -> World:
    share(world)
    return world


def test_work_that_started_small_keeps_its_size_and_holds_nobody_up(shared: World) -> None:
    first = shared.submit("blue", tasks=3)
    small = shared.submit("blue", tasks=3, min_tasks=1)
    assert len(shared.nodes(shared.attempts(small)[0])) == 1
    for job in (first, small):
        shared.run(job)
    shared.finish(shared.attempts(first)[0])
    other = shared.submit("green", tasks=3)
    assert len(shared.nodes(shared.attempts(other)[0])) == 3
    assert len(shared.attempts(small)) == 1


def test_who_started_small_starts_again_larger_in_a_later_epoch_and_nobody_takes_its_seats(
    shared: World,
) -> None:
    first = shared.submit("blue", tasks=3)
    small = shared.submit("blue", tasks=3, min_tasks=1)
    for job in (first, small):
        shared.run(job)
    shared.finish(shared.attempts(first)[0])
    assert shared.attempts(small)[0].state is AttemptState.RUNNING

    shared.go_on(330, shared.attempts(small)[0])
    stopping = shared.attempts(small)[0]
    assert (stopping.stop_outcome, stopping.reason) == (Outcome.RESIZED, "resized: 1 to 3 tasks")
    intruder = shared.submit("green", tasks=2)
    assert shared.attempts(intruder) == []
    shared.stop(stopping)
    larger = shared.attempts(small)[1]
    assert len(shared.nodes(larger)) == 3
    assert set(shared.nodes(stopping)) < set(shared.nodes(larger))
    assert shared.job(small).state is JobState.ACTIVE


def test_nobody_is_stopped_for_seats_on_a_node_that_takes_nobody_any_more(shared: World) -> None:
    small = shared.submit("blue", tasks=2, min_tasks=1)
    shared.run(small)
    running = shared.attempts(small)[0]

    def refused(tx: Tx) -> str | None:
        free = next(node for node in tx.nodes.present() if node.id not in shared.nodes(running))
        tx.nodes.put(replace(free, cordoned_at=tx.now))
        return resize(tx, running.ask_id, {0: free.id})

    told = shared.context.store.write(refused)
    assert told is not None
    assert told.endswith("is gone or cordoned")
    assert shared.attempts(small)[0].state is AttemptState.RUNNING


def test_one_seat_is_not_given_to_two_who_are_resized_at_once(shared: World) -> None:
    filler = shared.submit("blue", tasks=3)
    small = shared.submit("blue", tasks=2, min_tasks=1)
    shared.finish(shared.run(filler))
    large = shared.submit("green", tasks=2, min_tasks=1)
    asks = [shared.run(job).ask_id for job in (small, large)]

    def both(tx: Tx) -> tuple[ResizeRefusal, ...]:
        held = {node for job in (small, large) for node in shared.nodes(shared.attempts(job)[-1])}
        (free,) = (node.id for node in tx.nodes.present() if node.id not in held)
        lease = tx.leases.get("scheduler")
        assert lease is not None
        return apply_resizes(tx, lease, {ask_id: {1: free} for ask_id in asks})

    (refused,) = shared.context.store.write(both)
    assert refused.ask_id == asks[1]
    assert refused.why.endswith("has no room any more")
    states = [shared.attempts(job)[-1].state for job in (small, large)]
    assert states == [AttemptState.STOPPING, AttemptState.RUNNING]


def test_a_promise_of_seats_on_a_node_that_takes_no_more_ends_at_once(shared: World) -> None:
    job = shared.submit("blue", tasks=4)
    shared.run(job)
    shared.pass_time(62)
    shared.submit("green", tasks=2)
    shared.lab.cordoned.add(_names(shared, job)[0])
    before = _promised(shared)
    shared.pass_time(30)
    assert before
    assert not before & _promised(shared)


def test_surplus_tasks_go_and_the_others_start_again_where_they_were(shared: World) -> None:
    elastic = shared.submit("blue", tasks=4, min_tasks=1)
    shared.run(elastic)
    shared.pass_time(62)
    owner = shared.submit("green", tasks=2)
    stopping = shared.attempts(elastic)[0]
    assert stopping.stop_outcome is Outcome.PREEMPTED
    shared.stop(stopping)
    smaller, heir = shared.attempts(elastic)[1], shared.attempts(owner)[0]
    assert len(shared.nodes(smaller)) == len(shared.nodes(heir)) == 2
    assert sorted(shared.nodes(smaller) + shared.nodes(heir)) == shared.nodes(stopping)
    shared.pass_time(700)
    assert len(shared.attempts(elastic)) == 2  # nothing is free, so it stays as it is


def test_who_can_go_on_leaves_a_node_that_takes_no_more_and_who_cannot_stays(shared: World) -> None:
    elastic, rigid = shared.submit("blue", tasks=2, min_tasks=1), shared.submit("green", gpus=2)
    for job in (elastic, rigid):
        shared.run(job)
    began = {job: shared.attempts(job)[0] for job in (elastic, rigid)}
    shared.lab.cordoned |= {_names(shared, elastic)[0], _names(shared, rigid)[0]}
    shared.go_on(330, *began.values())

    stopping = shared.attempts(elastic)[0]
    gone = _names(shared, elastic)[0]
    assert stopping.stop_outcome is Outcome.RESIZED
    assert shared.explain(elastic).sentence.endswith(f"resized: off node {gone}, which takes no more tasks")
    shared.stop(stopping)
    assert len(shared.nodes(shared.attempts(elastic)[1])) == 2
    assert gone not in _names(shared, elastic)

    assert [each.state for each in shared.attempts(rigid)] == [AttemptState.RUNNING]
    assert shared.explain(rigid).sentence.endswith(
        f"node {_names(shared, rigid)[0]} of it takes no more tasks"
    )


def test_who_waits_is_told_that_the_nodes_that_would_do_are_cordoned(shared: World) -> None:
    shared.lab.cordoned |= {f"n{each}" for each in range(4)}
    shared.pass_time(60)
    assert shared.why(shared.submit("blue")) == "unhealthy"


def _promised(world: World) -> set[tuple[str, ...]]:
    with world.context.store.read() as tx:
        return {tuple(node_id for _, node_id in each.seats) for each in tx.memories.nominations()}


def _names(world: World, job: JobId) -> list[str]:
    """Of the nodes of its newest attempt."""
    with world.context.store.read() as tx:
        seats = tx.attempts.seats(world.attempts(job)[-1].id)
        return sorted(node.name for node in tx.nodes.by_ids([seat.node_id for seat in seats]).values())
