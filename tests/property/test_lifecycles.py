"""Lifecycles: what random walks over every noun must never do."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.attempts import ATTEMPT, Attempt, AttemptState, Outcome
from controlplane.domain.claims import CLAIM, CapacityType, Claim, ClaimState
from controlplane.domain.clusters import CLUSTER, Cluster, ClusterState
from controlplane.domain.errors import Bug, IllegalTransition
from controlplane.domain.ids import AskId, AttemptId, ClaimId, ClusterId, JobId, ProjectId, QueueId
from controlplane.domain.jobs import JOB, Job, JobKind, JobState, RetryPolicy
from controlplane.domain.leases import LEASE
from controlplane.domain.lifecycles import Lifecycle, to

NOW = datetime(2026, 1, 1, tzinfo=UTC)

JOB_AT_BIRTH = Job(
    id=JobId("j"),
    project_id=ProjectId("p"),
    queue_id=QueueId("q"),
    name="n",
    kind=JobKind.COMMAND,
    priority=0,
    state=JOB.initial,
    since=NOW,
    submitted_at=NOW,
)
ATTEMPT_AT_BIRTH = Attempt(
    id=AttemptId("a"),
    job_id=JobId("j"),
    ask_id=AskId("j.0"),
    project_id=ProjectId("p"),
    cluster_id=ClusterId("c"),
    number=1,
    state=ATTEMPT.initial,
    since=NOW,
    placed_at=NOW,
)
CLUSTER_AT_BIRTH = Cluster(
    id=ClusterId("c"), name="c", adapter="ray", state=CLUSTER.initial, since=NOW, created_at=NOW
)
CLAIM_AT_BIRTH = Claim(
    id=ClaimId("k"),
    cluster_id=ClusterId("c"),
    machine_type="small",
    capacity_type=CapacityType.SPOT,
    zones=("a",),
    machines_min=1,
    machines_want=1,
    state=CLAIM.initial,
    since=NOW,
    created_at=NOW,
)


@given(st.lists(st.sampled_from(JobState)))
def test_a_job_only_ever_moves_along_its_edges(wishes: list[JobState]) -> None:
    job = JOB_AT_BIRTH
    for number, wish in enumerate(wishes):
        if wish in JOB.edges[job.state]:
            moved = job.move(wish, at=NOW + timedelta(seconds=number))
            assert (moved.state, moved.came_from, moved.version) == (wish, str(job.state), job.version + 1)
            job = moved
        else:
            with pytest.raises(IllegalTransition):
                job.move(wish, at=NOW)


@given(st.lists(st.sampled_from(ClusterState)))
def test_a_cluster_only_ever_moves_along_its_edges(wishes: list[ClusterState]) -> None:
    cluster = CLUSTER_AT_BIRTH
    for wish in wishes:
        if wish in CLUSTER.edges[cluster.state]:
            cluster = cluster.move(wish, at=NOW)
        else:
            with pytest.raises(IllegalTransition):
                cluster.move(wish, at=NOW)


@given(st.lists(st.sampled_from(ClaimState)))
def test_a_claim_only_ever_moves_along_its_edges(
    wishes: list[ClaimState],
) -> None:
    claim = CLAIM_AT_BIRTH
    for wish in wishes:
        if wish in CLAIM.edges[claim.state]:
            moved = claim.move(wish, at=NOW)
            assert (moved.came_from, moved.version) == (str(claim.state), claim.version + 1)
            claim = moved
        else:
            with pytest.raises(IllegalTransition):
                claim.move(wish, at=NOW)


@given(st.lists(st.sampled_from(AttemptState)), st.sampled_from(Outcome))
def test_an_attempt_never_ends_without_an_outcome_and_never_comes_back(
    wishes: list[AttemptState], outcome: Outcome
) -> None:
    attempt = ATTEMPT_AT_BIRTH
    for wish in wishes:
        if wish not in ATTEMPT.edges[attempt.state]:
            with pytest.raises((IllegalTransition, Bug)):
                attempt.move(wish, at=NOW)
        elif wish is AttemptState.ENDED:
            with pytest.raises(Bug, match="without an outcome"):
                attempt.move(wish, at=NOW)
            attempt = attempt.end(outcome, at=NOW)
            assert not attempt.is_live
        else:
            attempt = attempt.move(wish, at=NOW)


@pytest.mark.parametrize("lifecycle", [JOB, ATTEMPT, CLAIM, CLUSTER, LEASE], ids=lambda each: str(each.noun))
def test_every_lifecycle_has_a_terminal_state_and_leaves_none(lifecycle: Lifecycle[StrEnum]) -> None:
    terminal = {state for state in lifecycle.edges if lifecycle.is_terminal(state)}
    assert terminal
    assert not [pair for pair in lifecycle.pairs() if pair[0] in terminal]


class Lamp(StrEnum):
    OFF = "off"
    ON = "on"
    BROKEN = "broken"


def test_a_table_without_a_row_for_every_state_is_refused_at_import() -> None:
    with pytest.raises(Bug, match="no row"):
        Lifecycle(noun="lamp", initial=Lamp.OFF, edges={Lamp.OFF: to(Lamp.ON), Lamp.ON: to(Lamp.BROKEN)})


def test_a_state_that_nothing_leads_to_is_refused_at_import() -> None:
    with pytest.raises(Bug, match="cannot be reached"):
        Lifecycle(
            noun="lamp",
            initial=Lamp.OFF,
            edges={Lamp.OFF: to(Lamp.ON), Lamp.ON: to(Lamp.OFF), Lamp.BROKEN: to()},
        )


@given(st.integers(1, 40), st.floats(0, 1000), st.floats(0, 100_000))
def test_the_back_off_grows_up_to_its_limit(failures: int, first: float, longest: float) -> None:
    policy = replace(RetryPolicy(), backoff_seconds=first, max_backoff_seconds=longest)
    waits = policy.backoff(failures=failures).total_seconds()
    assert waits <= longest + 1e-6
    assert waits <= policy.backoff(failures=failures + 1).total_seconds() + 1e-6
