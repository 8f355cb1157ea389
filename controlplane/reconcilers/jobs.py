"""Moves jobs along: dependencies, the verdict over an ended attempt, cancellation.

Level-triggered. The caller loads the view and writes the answer in one transaction, so nothing can change in between.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from controlplane.domain.attempts import FREE_OF_CHARGE, Attempt, AttemptState, Outcome
from controlplane.domain.jobs import Job, JobState
from controlplane.domain.twins import quick

NEVER_STARTED_LIMIT = 5
"""In a row; then the fault is not a passing one and the job fails with the last reason."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    job: Job
    dependencies: tuple[Job, ...]
    newest: Attempt | None
    """The newest attempt, live or ended."""

    failures: int
    """Ended attempts that consumed the user's retry budget."""

    never_started: int
    """How many of the newest attempts in a row never started."""

    now: datetime


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class JobDecision:
    job: Job | None = None
    """To be saved; None: no change."""

    stop: Attempt | None = None
    """To be saved: the live attempt, told to stop."""

    not_before: datetime | None = None
    """Back-off of the requeued ask."""

    look_again_at: datetime | None = None


def decide(view: JobView) -> JobDecision:
    if view.job.is_finished:
        return JobDecision()
    match view.job.state:
        case JobState.HELD:
            return _held(view)
        case JobState.QUEUED:
            return _queued(view)
        case _:
            return _active(view)


def _held(view: JobView) -> JobDecision:
    if view.job.cancel_requested_at:
        return _to(view, JobState.CANCELLED, "cancelled by the user")
    for dependency in view.dependencies:
        if dependency.is_finished and dependency.state is not JobState.SUCCEEDED:
            return _to(
                view, JobState.FAILED, f"depends on job {dependency.id}, which {_ended_how(dependency)}"
            )
    if all(dependency.state is JobState.SUCCEEDED for dependency in view.dependencies):
        return _to(view, JobState.QUEUED, None)
    return JobDecision()


def _queued(view: JobView) -> JobDecision:
    if view.job.cancel_requested_at:
        return _to(view, JobState.CANCELLED, "cancelled by the user")
    return JobDecision()


def _active(view: JobView) -> JobDecision:
    attempt = view.newest
    if attempt is None:
        return _to(view, JobState.QUEUED, "it had no attempt")
    if attempt.is_live:
        return _watch(view, attempt)
    return _verdict(view, attempt)


def _watch(view: JobView, attempt: Attempt) -> JobDecision:
    """Stops the live attempt when the user cancelled or the time is up."""
    job = view.job
    if attempt.state is AttemptState.STOPPING:
        return JobDecision()
    if job.cancel_requested_at:
        return JobDecision(stop=attempt.stop(Outcome.CANCELLED, at=view.now, reason="cancelled by the user"))
    if job.max_runtime_seconds is None or attempt.started_at is None:
        return JobDecision()
    remaining = job.max_runtime_seconds - (view.now - attempt.started_at).total_seconds()
    if remaining > 0:
        return JobDecision(look_again_at=view.now + timedelta(seconds=remaining))
    reason = f"ran longer than max_runtime_seconds = {job.max_runtime_seconds:g}"
    return JobDecision(stop=attempt.stop(Outcome.TIMED_OUT, at=view.now, reason=reason))


def _verdict(view: JobView, attempt: Attempt) -> JobDecision:
    outcome, reason = attempt.outcome, attempt.reason
    if outcome is Outcome.SUCCEEDED:
        return _to(view, JobState.SUCCEEDED, reason)
    if view.job.cancel_requested_at or outcome is Outcome.CANCELLED:
        return _to(view, JobState.CANCELLED, "cancelled by the user")
    if outcome is Outcome.TIMED_OUT:
        return _to(view, JobState.FAILED, reason)
    if outcome is Outcome.NEVER_STARTED and view.never_started >= NEVER_STARTED_LIMIT:
        return _to(view, JobState.FAILED, f"did not start {view.never_started} times in a row: {reason}")
    if outcome in FREE_OF_CHARGE:
        waits = view.job.retry.backoff(failures=view.never_started) if view.never_started else None
        return _again(view, attempt, view.now + waits if waits else None)
    if view.job.retry.wants_another(failures=view.failures, exit_code=attempt.exit_code):
        return _again(view, attempt, view.now + view.job.retry.backoff(failures=view.failures))
    return _to(view, JobState.FAILED, reason)


def _again(view: JobView, attempt: Attempt, not_before: datetime | None) -> JobDecision:
    job = view.job.move(
        JobState.QUEUED,
        at=view.now,
        reason=f"attempt {attempt.number} ended as {attempt.outcome}: {attempt.reason}",
    )
    return JobDecision(job=job, not_before=not_before)


def _to(view: JobView, state: JobState, reason: str | None) -> JobDecision:
    return JobDecision(job=view.job.move(state, at=view.now, reason=reason))


def _ended_how(job: Job) -> str:
    return "was cancelled" if job.state is JobState.CANCELLED else "failed"
