"""Jobs: dependencies, verdicts and the retry budget."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controlplane.domain.attempts import Attempt, AttemptState, Outcome
from controlplane.domain.ids import AskId, AttemptId, ClusterId, JobId, ProjectId, QueueId
from controlplane.domain.jobs import Job, JobKind, JobState, RetryPolicy
from controlplane.reconcilers.jobs import NEVER_STARTED_LIMIT, JobDecision, JobView, decide

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HELD = Job(
    id=JobId("j"),
    project_id=ProjectId("p"),
    queue_id=QueueId("q"),
    name="n",
    kind=JobKind.TRAINING,
    priority=0,
    state=JobState.HELD,
    since=NOW,
    submitted_at=NOW,
)
QUEUED = HELD.move(JobState.QUEUED, at=NOW)
ACTIVE = QUEUED.move(JobState.ACTIVE, at=NOW)
LIVE = replace(
    Attempt(
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
    .start(session="s", at=NOW)
    .run(at=NOW)
)


def view(
    job: Job, newest: Attempt | None = None, *needs: Job, failures: int = 0, never: int = 0, after: float = 0
) -> JobView:
    return JobView(
        job=job,
        dependencies=needs,
        newest=newest,
        failures=failures,
        never_started=never,
        now=NOW + timedelta(seconds=after),
    )


def ended(outcome: Outcome, *, code: int | None = None) -> Attempt:
    return LIVE.end(outcome, at=NOW, exit_code=code, reason="because")


def state(decision: JobDecision) -> JobState | None:
    return decision.job.state if decision.job else None


def test_a_held_job_waits_for_all_its_dependencies() -> None:
    done = replace(ACTIVE, id=JobId("d")).move(JobState.SUCCEEDED, at=NOW)
    assert decide(view(HELD, None, done, ACTIVE)) == JobDecision()
    assert state(decide(view(HELD, None, done))) is JobState.QUEUED


@pytest.mark.parametrize(
    ("end", "word"), [(JobState.FAILED, "failed"), (JobState.CANCELLED, "was cancelled")]
)
def test_a_dependency_that_did_not_succeed_fails_the_job_and_is_named(end: JobState, word: str) -> None:
    decision = decide(view(HELD, None, replace(ACTIVE, id=JobId("d")).move(end, at=NOW)))
    assert decision.job is not None
    assert (decision.job.state, decision.job.reason) == (JobState.FAILED, f"depends on job d, which {word}")


@pytest.mark.parametrize("waiting", [HELD, QUEUED])
def test_a_waiting_job_is_cancelled_at_once(waiting: Job) -> None:
    assert state(decide(view(waiting.request_cancel(at=NOW)))) is JobState.CANCELLED


def test_cancelling_an_active_job_stops_its_attempt_first() -> None:
    decision = decide(view(ACTIVE.request_cancel(at=NOW), LIVE))
    assert decision.job is None
    assert decision.stop is not None
    assert (decision.stop.state, decision.stop.stop_outcome) == (AttemptState.STOPPING, Outcome.CANCELLED)


def test_a_job_is_stopped_when_its_time_is_up_and_not_before() -> None:
    timed = replace(ACTIVE, max_runtime_seconds=60)
    assert decide(view(timed, LIVE, after=59)) == JobDecision(look_again_at=NOW + timedelta(seconds=60))
    stopped = decide(view(timed, LIVE, after=60)).stop
    assert stopped is not None
    assert stopped.stop_outcome is Outcome.TIMED_OUT


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.SUCCEEDED, JobState.SUCCEEDED),
        (Outcome.FAILED, JobState.FAILED),
        (Outcome.CANCELLED, JobState.CANCELLED),
        (Outcome.TIMED_OUT, JobState.FAILED),
        (Outcome.PREEMPTED, JobState.QUEUED),
        (Outcome.EVICTED, JobState.QUEUED),
        (Outcome.LOST, JobState.QUEUED),
        (Outcome.NEVER_STARTED, JobState.QUEUED),
    ],
)
def test_the_outcome_of_the_attempt_decides_over_a_job_without_retries(
    outcome: Outcome, expected: JobState
) -> None:
    assert state(decide(view(ACTIVE, ended(outcome, code=1), failures=1))) is expected


def test_failures_are_tried_again_within_the_budget_after_a_growing_wait() -> None:
    patient = replace(ACTIVE, retry=RetryPolicy(max_attempts=3, backoff_seconds=10))
    second = decide(view(patient, ended(Outcome.FAILED, code=1), failures=1))
    third = decide(view(patient, ended(Outcome.FAILED, code=1), failures=2))
    assert (state(second), second.not_before) == (JobState.QUEUED, NOW + timedelta(seconds=10))
    assert (state(third), third.not_before) == (JobState.QUEUED, NOW + timedelta(seconds=20))
    assert state(decide(view(patient, ended(Outcome.FAILED, code=1), failures=3))) is JobState.FAILED


def test_only_listed_exit_codes_are_worth_another_attempt() -> None:
    picky = replace(ACTIVE, retry=RetryPolicy(max_attempts=3, retryable_exit_codes=(42,)))
    assert state(decide(view(picky, ended(Outcome.FAILED, code=42), failures=1))) is JobState.QUEUED
    assert state(decide(view(picky, ended(Outcome.FAILED, code=1), failures=1))) is JobState.FAILED


def test_a_job_that_never_starts_gives_up_after_a_few_times_with_the_last_reason() -> None:
    never = ended(Outcome.NEVER_STARTED)
    assert state(decide(view(ACTIVE, never, never=NEVER_STARTED_LIMIT - 1))) is JobState.QUEUED
    given_up = decide(view(ACTIVE, never, never=NEVER_STARTED_LIMIT))
    assert given_up.job is not None
    assert given_up.job.reason == f"did not start {NEVER_STARTED_LIMIT} times in a row: because"


def test_a_cancelled_job_whose_attempt_was_lost_is_not_run_again() -> None:
    assert state(decide(view(ACTIVE.request_cancel(at=NOW), ended(Outcome.LOST)))) is JobState.CANCELLED


def test_a_job_that_succeeded_in_spite_of_the_cancel_has_succeeded() -> None:
    assert (
        state(decide(view(ACTIVE.request_cancel(at=NOW), ended(Outcome.SUCCEEDED, code=0))))
        is JobState.SUCCEEDED
    )
