"""Attempts: what is decided from each piece of evidence, and what silence must never decide."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controlplane.domain.attempts import COORDINATOR, Attempt, AttemptState, Outcome
from controlplane.domain.clusters import Cluster, ClusterState
from controlplane.domain.ids import AskId, AttemptId, ClusterId, JobId, ProjectId
from controlplane.executors.base import Observation, Phase
from controlplane.reconcilers.attempts import (
    AttemptDecision,
    AttemptView,
    Heard,
    Look,
    Looked,
    RankView,
    SawNothing,
    Start,
    StartDelayed,
    Started,
    StartRefused,
    StopTold,
    TellStop,
    decide,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LEASE_SECONDS = 60.0
SKEW = timedelta(seconds=5)

PLACED = Attempt(
    id=AttemptId("j-a1"),
    job_id=JobId("j"),
    ask_id=AskId("j.0"),
    project_id=ProjectId("p"),
    cluster_id=ClusterId("c"),
    number=1,
    state=AttemptState.PLACED,
    since=NOW,
    placed_at=NOW,
)
STARTING = PLACED.start(session="life-1", at=NOW)
RUNNING = replace(STARTING.run(at=NOW), lease_until=NOW + timedelta(seconds=LEASE_SECONDS))
STOPPING = RUNNING.stop(Outcome.CANCELLED, at=NOW, reason="cancelled by the user")
CLUSTER = Cluster(
    id=ClusterId("c"), name="lab", adapter="ray", state=ClusterState.READY, since=NOW, created_at=NOW
)


def rank(
    number: int = 0, *, said_at: datetime = NOW, code: int | None = None, reason: str | None = None
) -> RankView:
    return RankView(rank=number, heartbeat_at=said_at, exit_code=code, exit_reason=reason)


def view(attempt: Attempt, *ranks: RankView, after: float = 0.0, heard: Heard | None = None) -> AttemptView:
    return AttemptView(
        attempt=attempt,
        cluster=CLUSTER,
        ranks=ranks,
        node_gone=None,
        may_start=True,
        lease_seconds=LEASE_SECONDS,
        skew=SKEW,
        start_timeout=timedelta(seconds=300),
        poll=timedelta(seconds=5),
        now=NOW + timedelta(seconds=after),
        heard=heard,
    )


def looked(phase: Phase, *, session: str = "life-1", exit_code: int | None = None) -> Looked:
    return Looked(
        observation=Observation(attempt_id=PLACED.id, phase=phase, session=session, exit_code=exit_code)
    )


def outcome(decision: AttemptDecision) -> Outcome | None:
    return decision.save.outcome if decision.save else None


def state(decision: AttemptDecision) -> AttemptState | None:
    return decision.save.state if decision.save else None


def test_a_placed_attempt_is_handed_to_the_executor_once_there_is_room() -> None:
    assert decide(view(PLACED)).call == Start()
    waiting = decide(replace(view(PLACED), may_start=False))
    assert (waiting.call, waiting.save) == (None, None)
    assert waiting.look_again_at is not None


def test_the_executors_session_is_kept_with_the_start() -> None:
    saved = decide(view(PLACED, heard=Started(session="life-1"))).save
    assert saved is not None
    assert (saved.state, saved.session) == (AttemptState.STARTING, "life-1")


def test_a_start_whose_answer_was_lost_is_recognised_by_its_hello_and_not_made_again() -> None:
    decision = decide(view(PLACED, rank()))
    assert (decision.call, state(decision)) == (None, AttemptState.STARTING)


def test_a_delayed_start_is_tried_again_until_the_start_timeout() -> None:
    delayed = StartDelayed(message="connection refused")
    told = decide(view(PLACED, after=299, heard=delayed)).save
    assert told is not None
    assert (told.state, told.reason) == (AttemptState.PLACED, "connection refused")
    assert decide(view(told, after=299, heard=delayed)).save is None  # once is enough
    assert outcome(decide(view(PLACED, after=301, heard=delayed))) is Outcome.NEVER_STARTED
    started = decide(view(told, heard=Started(session="life-1"))).save
    assert started is not None
    assert started.reason is None


def test_a_refused_start_ends_at_once_with_the_reason() -> None:
    ended = decide(view(PLACED, heard=StartRefused(message="bad package"))).save
    assert ended is not None
    assert (ended.outcome, ended.reason) == (Outcome.NEVER_STARTED, "bad package")


def test_it_runs_from_the_first_hello_of_a_task_on() -> None:
    assert state(decide(view(STARTING, rank()))) is AttemptState.RUNNING
    assert decide(view(STARTING, rank(COORDINATOR))).call == Look()  # a coordinator runs no user code


@pytest.mark.parametrize("phase", [Phase.EXITED, Phase.DIED, Phase.ABSENT])
def test_an_executor_that_lost_it_before_any_hello_ends_it(phase: Phase) -> None:
    assert outcome(decide(view(STARTING, heard=looked(phase)))) is Outcome.NEVER_STARTED


def test_a_cluster_that_does_not_answer_changes_nothing_while_the_lease_holds() -> None:
    for attempt in (STARTING, RUNNING, STOPPING):
        decision = decide(view(attempt, rank(), after=50, heard=SawNothing(message="timeout")))
        assert outcome(decision) is None
        assert state(decision) in (None, AttemptState.RUNNING)


def test_a_lease_ends_it_only_after_the_clock_skew() -> None:
    quiet = rank(said_at=NOW)
    assert decide(view(RUNNING, quiet, after=64)).call == Look()
    assert outcome(decide(view(RUNNING, quiet, after=66))) is Outcome.LOST


def test_an_attempt_that_speaks_for_itself_is_looked_at_rarely_and_a_quiet_one_often() -> None:
    running = looked(Phase.RUNNING)
    calm = decide(view(RUNNING, rank(said_at=NOW), after=10, heard=running))
    quiet = decide(view(RUNNING, rank(said_at=NOW), after=40, heard=running))
    assert calm == AttemptDecision(look_again_at=NOW + timedelta(seconds=10 + 30))
    assert quiet == AttemptDecision(look_again_at=NOW + timedelta(seconds=40 + 5))


@pytest.mark.parametrize(
    ("reason", "code", "expected"),
    [
        ("completed", 0, Outcome.SUCCEEDED),
        ("failed", 3, Outcome.FAILED),
        ("stopped", 143, Outcome.EVICTED),
        ("start_timeout", 75, Outcome.NEVER_STARTED),
        ("lease_lost", 75, Outcome.LOST),
        ("fenced", 75, Outcome.LOST),
    ],
)
def test_the_final_exit_record_is_the_verdict(reason: str, code: int, expected: Outcome) -> None:
    assert outcome(decide(view(RUNNING, rank(), rank(COORDINATOR, code=code, reason=reason)))) is expected


def test_a_stopped_attempt_ends_for_the_reason_it_was_stopped_for() -> None:
    assert outcome(decide(view(STOPPING, rank(COORDINATOR, code=143, reason="stopped")))) is Outcome.CANCELLED


def test_code_that_finished_before_the_stop_reached_it_has_succeeded() -> None:
    assert outcome(decide(view(STOPPING, rank(COORDINATOR, code=0, reason="completed")))) is Outcome.SUCCEEDED


def test_the_executors_exit_code_counts_when_the_record_did_not_arrive() -> None:
    assert (
        outcome(decide(view(RUNNING, rank(), heard=looked(Phase.EXITED, exit_code=0)))) is Outcome.SUCCEEDED
    )
    assert outcome(decide(view(RUNNING, rank(), heard=looked(Phase.EXITED, exit_code=9)))) is Outcome.FAILED
    assert outcome(decide(view(RUNNING, rank(), heard=looked(Phase.EXITED, exit_code=75)))) is Outcome.LOST


@pytest.mark.parametrize("phase", [Phase.DIED, Phase.ABSENT])
def test_a_lost_wrapper_is_no_evidence_that_its_tasks_are_gone(phase: Phase) -> None:
    decision = decide(view(RUNNING, rank(), heard=looked(phase)))
    assert state(decision) is AttemptState.STOPPING
    lost = decision.save
    assert lost is not None
    assert outcome(decide(view(lost, rank(), after=30, heard=looked(phase)))) is None
    assert outcome(decide(view(lost, rank(), after=66))) is Outcome.LOST


def test_a_restarted_cluster_ends_it_once_its_tasks_are_silent() -> None:
    other_life = looked(Phase.ABSENT, session="life-2")
    decision = decide(view(RUNNING, rank(), heard=other_life))
    assert state(decision) is AttemptState.STOPPING
    evicted = decision.save
    assert evicted is not None
    assert outcome(decide(view(evicted, rank(), after=5, heard=other_life))) is None
    assert outcome(decide(view(evicted, rank(), after=31, heard=other_life))) is Outcome.EVICTED


def test_a_stop_is_told_first_and_then_looked_after() -> None:
    assert decide(view(STOPPING, rank())).call == TellStop()
    assert decide(view(STOPPING, rank(), heard=StopTold())).call == Look()


def test_a_stop_is_over_when_every_task_that_spoke_has_exited() -> None:
    assert outcome(decide(view(STOPPING, rank(0, code=143, reason="stopped"), rank(1)))) is None
    both = (rank(0, code=143, reason="stopped"), rank(1, code=143, reason="stopped"))
    assert outcome(decide(view(STOPPING, *both))) is Outcome.CANCELLED


def test_a_stop_before_any_hello_needs_no_evidence_but_tells_the_executor() -> None:
    stopping = STARTING.stop(Outcome.CANCELLED, at=NOW, reason="cancelled by the user")
    assert decide(view(stopping)).call == TellStop()
    assert outcome(decide(view(stopping, heard=StopTold()))) is Outcome.CANCELLED


def test_a_node_that_is_gone_or_a_drained_cluster_evicts() -> None:
    gone = decide(replace(view(RUNNING, rank()), node_gone="n7"))
    assert gone.save is not None
    assert (gone.save.state, gone.save.stop_outcome) == (AttemptState.STOPPING, Outcome.EVICTED)
    draining = CLUSTER.move(ClusterState.DRAINING, at=NOW)
    drained = decide(replace(view(RUNNING, rank()), cluster=draining))
    assert drained.save is not None
    assert drained.save.stop_outcome is Outcome.EVICTED
    not_begun = replace(view(PLACED, heard=StopTold()), cluster=draining)
    assert outcome(decide(not_begun)) is Outcome.EVICTED


def test_detaching_is_the_operators_word() -> None:
    detached = CLUSTER.move(ClusterState.UNREACHABLE, at=NOW).move(ClusterState.DETACHED, at=NOW)
    assert outcome(decide(replace(view(RUNNING, rank()), cluster=detached))) is Outcome.LOST


def test_an_ended_attempt_is_left_alone() -> None:
    ended = RUNNING.end(Outcome.SUCCEEDED, at=NOW, exit_code=0)
    assert decide(view(ended, rank())) == AttemptDecision()
