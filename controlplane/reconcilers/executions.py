"""Moves an execution along its pipeline: what is begun, looked up, looked at or given up next.

A step is moved by one edge at a time, and what cannot be known from rows is asked for as a call, whose answer comes
back as a finding of the step.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, assert_never

from controlplane.domain.executions import Execution, ExecutionState, Step, StepArtifact, StepState
from controlplane.domain.ids import JobId, StepId
from controlplane.domain.jobs import Job, JobState
from controlplane.domain.pipelines import Pipeline, PlannedStep, StepKind, cache_key

LONGEST_BACKOFF_SECONDS: Final = 3600.0
MOST_BEGUN: Final = 10
"""Jobs that one decision begins; the others come right after. All in one transaction would keep other writers out."""


class CallKind(StrEnum):
    RECALL = "recall"
    """Are there outputs of an earlier step that this one would make again?"""

    INSPECT = "inspect"
    """What did the job leave?"""

    PUBLISH = "publish"
    DEPLOY = "deploy"
    """Is the revision ready? It is made by the first one who asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Answered outside of any transaction."""

    kind: CallKind
    step: Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """Outputs that were made before and are still there."""

    taken_from: StepId
    job_id: JobId | None
    outputs: tuple[StepArtifact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingKept:
    """The step has to be begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What the step made."""

    outputs: tuple[StepArtifact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """It is not as it should be, and would not be if it were asked again."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """Whoever was asked is away; asked again after so long."""

    reason: str
    seconds: float


Finding = Recalled | NothingKept | Made | Refused | NoAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionView:
    execution: Execution
    pipeline: Pipeline
    steps: tuple[Step, ...]
    """In the order of the pipeline."""

    jobs: Mapping[JobId, Job]
    """Of the running steps, as far as they exist."""

    is_held_back: bool
    """An earlier execution of its schedule is not over."""

    now: datetime
    findings: Mapping[StepId, Finding] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionDecision:
    execution: Execution | None = None
    """To be saved; None: no change."""

    steps: tuple[Step, ...] = ()
    """To be saved."""

    begin: tuple[Step, ...] = ()
    """Ready steps whose job is to be submitted, with which they move to running, or to failed if it is refused."""

    stop: tuple[JobId, ...] = ()
    """Jobs to be cancelled."""

    calls: tuple[Call, ...] = ()
    look_again_at: datetime | None = None


@dataclass(slots=True)
class _Draft:
    """A decision in the making."""

    steps: list[Step] = field(default_factory=list)
    begin: list[Step] = field(default_factory=list)
    stop: list[JobId] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    waits: list[datetime] = field(default_factory=list)


def decide(view: ExecutionView) -> ExecutionDecision:
    execution = view.execution
    match execution.state:
        case ExecutionState.WAITING:
            return _waiting(view)
        case ExecutionState.RUNNING:
            return _running(view)
        case ExecutionState.SUCCEEDED | ExecutionState.FAILED | ExecutionState.CANCELLED:
            return ExecutionDecision()
        case _:
            assert_never(execution.state)


def _waiting(view: ExecutionView) -> ExecutionDecision:
    if view.execution.cancel_requested_at is None and view.is_held_back:
        return ExecutionDecision()
    # Also what is to be cancelled: its steps are ended one by one.
    moved = view.execution.move(ExecutionState.RUNNING, at=view.now)
    return ExecutionDecision(execution=moved, look_again_at=view.now)


def _running(view: ExecutionView) -> ExecutionDecision:
    if all(step.is_over for step in view.steps):
        return ExecutionDecision(execution=_verdict(view))
    draft = _Draft()
    for planned, step in zip(view.pipeline.steps, view.steps, strict=True):
        if not step.is_over:
            _advance(view, planned, step, draft)
    soonest = view.now if draft.steps or draft.begin else min(draft.waits, default=None)
    return ExecutionDecision(
        steps=tuple(draft.steps),
        begin=tuple(draft.begin[:MOST_BEGUN]),
        stop=tuple(draft.stop),
        calls=tuple(draft.calls),
        look_again_at=soonest,
    )


def _verdict(view: ExecutionView) -> Execution:
    execution = view.execution
    if all(step.is_done for step in view.steps):
        return execution.move(ExecutionState.SUCCEEDED, at=view.now)
    if execution.cancel_requested_at is not None:
        return execution.move(ExecutionState.CANCELLED, at=view.now, reason="cancelled by the user")
    failed = next(step for step in view.steps if step.state is StepState.FAILED)
    reason = f"step {failed.name!r} failed: {failed.reason}"
    return execution.move(ExecutionState.FAILED, at=view.now, reason=reason)


def _advance(view: ExecutionView, planned: PlannedStep, step: Step, draft: _Draft) -> None:
    if view.execution.cancel_requested_at is not None:
        _give_up(view, step, draft)
        return
    match step.state:
        case StepState.PENDING:
            _pending(view, planned, step, draft)
        case StepState.READY:
            _ready(view, planned, step, draft)
        case StepState.RUNNING if planned.kind is StepKind.JOB:
            _running_job(view, planned, step, draft)
        case _:
            _called(view, planned, step, draft, _call_of(planned, step))


def _give_up(view: ExecutionView, step: Step, draft: _Draft) -> None:
    job = None if step.job_id is None else view.jobs.get(step.job_id)
    if step.state is StepState.RUNNING and job is not None and not job.is_finished:
        if job.cancel_requested_at is None:
            draft.stop.append(job.id)
        return
    draft.steps.append(step.move(StepState.CANCELLED, at=view.now, reason="cancelled by the user"))


def _pending(view: ExecutionView, planned: PlannedStep, step: Step, draft: _Draft) -> None:
    by_name = {each.name: each for each in view.steps}
    needed = [by_name[name] for name in planned.needs]
    lost = next((each for each in needed if each.is_over and not each.is_done), None)
    if lost is not None:
        reason = f"it needs step {lost.name!r}, which was {lost.state}"
        draft.steps.append(step.move(StepState.SKIPPED, at=view.now, reason=reason))
    elif all(each.is_done for each in needed):
        content = {each.name: by_name[each.step].output(each.output).sha256 for each in planned.inputs}
        key = cache_key(planned, content) if _is_cached(planned) else None
        draft.steps.append(replace(step.move(StepState.READY, at=view.now), cache_key=key))


def _is_cached(planned: PlannedStep) -> bool:
    """What makes nothing is done for its own sake."""
    return planned.is_cached and planned.kind is StepKind.JOB and bool(planned.outputs)


def _ready(view: ExecutionView, planned: PlannedStep, step: Step, draft: _Draft) -> None:
    if view.execution.paused_at is not None:
        return
    if step.not_before is not None and view.now < step.not_before:
        draft.waits.append(step.not_before)
        return
    if step.number == 0 and (step.cache_key is not None or step.taken_from is not None):
        match view.findings.get(step.id):
            case None:
                draft.calls.append(Call(kind=CallKind.RECALL, step=step))
                return
            case Recalled() as found:
                draft.steps.append(_taken(view, step, found))
                return
            case NoAnswer(seconds=seconds):
                draft.waits.append(view.now + timedelta(seconds=seconds))
                return
            case _:
                pass
    if planned.kind is StepKind.JOB:
        draft.begin.append(step)
    else:
        draft.steps.append(begun(step, at=view.now))


def begun(step: Step, *, at: datetime, job_id: JobId | None = None) -> Step:
    """Its next try."""
    moved = step.move(StepState.RUNNING, at=at)
    return replace(
        moved,
        number=step.number + 1,
        job_id=job_id,
        taken_from=None,
        not_before=None,
        begun_at=step.begun_at or at,
    )


def _taken(view: ExecutionView, step: Step, found: Recalled) -> Step:
    return replace(
        step.move(StepState.CACHED, at=view.now),
        taken_from=found.taken_from,
        job_id=found.job_id,
        outputs=found.outputs,
    )


def _running_job(view: ExecutionView, planned: PlannedStep, step: Step, draft: _Draft) -> None:
    job = None if step.job_id is None else view.jobs.get(step.job_id)
    if job is None:
        draft.steps.append(_failed(view, step, f"job {step.job_id} is gone"))
    elif job.state is JobState.SUCCEEDED:
        new = StepState.CHECKING if planned.outputs else StepState.SUCCEEDED
        draft.steps.append(step.move(new, at=view.now))
    elif job.state is JobState.FAILED:
        draft.steps.append(_again(view, planned, step, f"job {job.id} failed: {job.reason}"))
    elif job.state is JobState.CANCELLED:
        draft.steps.append(_failed(view, step, f"job {job.id} was cancelled"))


def _called(view: ExecutionView, planned: PlannedStep, step: Step, draft: _Draft, kind: CallKind) -> None:
    match view.findings.get(step.id):
        case Made(outputs=outputs):
            draft.steps.append(replace(step.move(StepState.SUCCEEDED, at=view.now), outputs=outputs))
        case Refused(reason=reason) if kind is not CallKind.INSPECT:
            draft.steps.append(_failed(view, step, reason))
        case Refused(reason=reason):
            draft.steps.append(_again(view, planned, step, reason))
        case NoAnswer(seconds=seconds):
            draft.waits.append(view.now + timedelta(seconds=seconds))
        case _:
            draft.calls.append(Call(kind=kind, step=step))


def _call_of(planned: PlannedStep, step: Step) -> CallKind:
    if step.state is StepState.CHECKING:
        return CallKind.INSPECT
    return CallKind.DEPLOY if planned.kind is StepKind.DEPLOY else CallKind.PUBLISH


def _again(view: ExecutionView, planned: PlannedStep, step: Step, reason: str) -> Step:
    if step.number > planned.retries:
        return _failed(view, step, reason)
    seconds = min(planned.backoff_seconds * 2 ** (step.number - 1), LONGEST_BACKOFF_SECONDS)
    moved = step.move(StepState.READY, at=view.now, reason=f"try {step.number}: {reason}")
    return replace(moved, not_before=view.now + timedelta(seconds=seconds))


def _failed(view: ExecutionView, step: Step, reason: str) -> Step:
    return step.move(StepState.FAILED, at=view.now, reason=reason)
