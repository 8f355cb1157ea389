"""The scheduling loop with the fair policy, on both databases: quotas, preemption and hand-over, as rows."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from controlplane.domain.attempts import AttemptState, Outcome
from controlplane.domain.jobs import JobState
from controlplane.domain.residency import Residency, Subject
from controlplane.operations import jobs, object_stores, residency
from controlplane.runtime.pictures import Sight, snapshot
from controlplane.wire.data import StoreCreate
from controlplane.wire.jobspec import TopologyRequest
from schedulers.base import Slice, Tier, Topology, TopologyMode
from tests.unit.runtime.fair_world import ADMIN, World, opened, share


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    with opened(tmp_path, database_url) as made:
        yield made


@pytest.fixture
def shared(world: World) -> World:
    share(world)
    return world


def test_a_queue_borrows_what_nobody_uses(shared: World) -> None:
    job = shared.submit("blue", tasks=4)
    assert len(shared.nodes(shared.attempts(job)[0])) == 4


def test_the_owner_takes_its_quota_back_on_exactly_the_promised_seats(shared: World) -> None:
    first, second = shared.submit("blue", tasks=2), shared.submit("blue", tasks=2)
    for job in (first, second):
        shared.run(job)
    shared.pass_time(62)
    owner = shared.submit("green", tasks=2)

    assert shared.why(owner) == "waiting_for_seats"
    states = {job: shared.attempts(job)[0].state for job in (first, second)}
    (victim,) = (job for job, state in states.items() if state is AttemptState.STOPPING)
    stopped = shared.attempts(victim)[0]
    assert (stopped.stop_outcome, shared.attempts(owner)) == (Outcome.PREEMPTED, [])
    assert "takes back its own quota" in (stopped.reason or "")

    shared.stop(stopped)
    heir = shared.attempts(owner)[0]
    assert shared.nodes(heir) == shared.nodes(stopped)
    assert shared.attempts(victim)[0].outcome is Outcome.PREEMPTED
    assert shared.job(victim).state is JobState.QUEUED
    with shared.context.store.read() as tx:
        assert tx.memories.nominations() == []

    shared.run(owner)
    shared.pass_time(62)
    assert shared.attempts(victim)[-1].number == 1  # nobody takes the owner's seats away again
    shared.finish(heir)
    assert shared.attempts(victim)[-1].number == 2


def test_nobody_else_gets_the_promised_seats(shared: World) -> None:
    first, second = shared.submit("blue", tasks=2), shared.submit("blue", tasks=2)
    for job in (first, second):
        shared.run(job)
    shared.pass_time(62)
    owner = shared.submit("green", tasks=2)
    intruder = shared.submit("blue", tasks=1)
    (stopped,) = (
        attempt
        for job in (first, second)
        for attempt in shared.attempts(job)
        if attempt.state is AttemptState.STOPPING
    )
    shared.stop(stopped)
    assert len(shared.attempts(owner)) == 1
    assert shared.attempts(intruder) == []


def test_a_young_attempt_is_left_alone_until_its_time_is_over(shared: World) -> None:
    job = shared.submit("blue", tasks=4)
    shared.run(job)
    owner = shared.submit("green", tasks=2)
    assert shared.attempts(job)[0].state is AttemptState.RUNNING
    shared.pass_time(shared.context.settings.min_runtime_seconds + 1)
    assert shared.attempts(job)[0].state is AttemptState.STOPPING
    assert shared.why(owner) == "waiting_for_seats"


def test_a_promise_lapses_when_its_heir_is_cancelled(shared: World) -> None:
    job = shared.submit("blue", tasks=4)
    shared.run(job)
    shared.pass_time(62)
    owner = shared.submit("green", tasks=2)
    jobs.cancel(shared.context, ADMIN, owner)
    shared.settle()
    shared.stop(shared.attempts(job)[0])
    assert shared.attempts(job)[-1].number == 2


def test_more_than_the_quota_and_all_that_could_be_lent_says_so(shared: World) -> None:
    shared.submit("blue", tasks=4)
    waiting = shared.submit("blue", tasks=1)
    assert shared.why(waiting) == "no_quota"


def test_the_policy_is_told_all_that_a_job_says_about_its_seats(shared: World) -> None:
    slices = [{"level": "block", "tasks": 4}, {"level": "node", "tasks": 2}]
    near = {"level": "rack", "required": False, "balanced": True, "slices": slices}
    shared.submit("blue", tasks=4, topology=near, surplus=True, restart_seconds=900)
    with shared.context.store.read() as tx:
        seen = snapshot(tx, Sight(is_simple=False, min_runtime=timedelta()))
    (its,) = seen.classes.values()
    assert its.topology == Topology(
        level="rack",
        mode=TopologyMode.PREFERRED,
        slices=(Slice(level="block", tasks=4), Slice(level="node", tasks=2)),
        balanced=True,
    )
    assert (its.tier, its.restart_seconds) == (Tier.SURPLUS, 900)


def test_a_job_that_may_be_nowhere_with_what_it_reads_is_told_the_rule(shared: World) -> None:
    object_stores.add(shared.context, ADMIN, StoreCreate(name="raw", uri="s3://raw"))
    shared.submit("blue", tasks=4)
    job = shared.submit("blue", tasks=4, inputs={"corpus": "s3://raw/corpus/"})
    mars = Residency(regions=("mars",))
    residency.put(shared.context, ADMIN, Subject.DATA, "raw", mars)
    shared.settle()
    told = shared.explain(job)
    assert told.code == "residency"
    assert told.sentence == (
        "reads what lies in store 'raw', which may be on regions mars; "
        "none of the 1 ready clusters is allowed; "
        "its input 'corpus' lies in store 'raw', and what lies there may only be in 'mars'"
    )


def test_a_surplus_job_makes_room_for_all_other_work_of_its_queue(shared: World) -> None:
    extra = shared.submit("blue", tasks=4, surplus=True, priority=10)
    shared.run(extra)
    shared.pass_time(62)
    shared.submit("blue", tasks=1)
    assert shared.attempts(extra)[0].stop_outcome is Outcome.PREEMPTED


@pytest.mark.parametrize(
    ("topology", "problem"),
    [
        ({"slices": [{"level": "rack", "tasks": 4}, {"level": "node", "tasks": 3}]}, "whole slices of 3"),
        ({"balanced": True}, "set required to false"),
    ],
)
def test_a_topology_that_contradicts_itself_is_refused(topology: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        TopologyRequest.model_validate({"level": "rack"} | topology)
