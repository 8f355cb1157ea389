"""Executions: a pipeline at work, and how far each of its steps got."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from controlplane.domain.ids import ExecutionId, JobId, ProjectId, ScheduleId, StepId, TokenId
from controlplane.domain.lifecycles import Lifecycle, to
from controlplane.domain.pipelines import ArtifactKind


class ExecutionState(StrEnum):
    WAITING = "waiting"
    """Nobody has looked at it yet, or an earlier one of its schedule is not over."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    """Every step succeeded or was cached."""

    FAILED = "failed"
    CANCELLED = "cancelled"


EXECUTION: Final = Lifecycle(
    noun="execution",
    initial=ExecutionState.WAITING,
    edges={
        ExecutionState.WAITING: to(ExecutionState.RUNNING, ExecutionState.CANCELLED),
        ExecutionState.RUNNING: to(ExecutionState.SUCCEEDED, ExecutionState.FAILED, ExecutionState.CANCELLED),
        ExecutionState.SUCCEEDED: to(),
        ExecutionState.FAILED: to(),
        ExecutionState.CANCELLED: to(),
    },
)


class StepState(StrEnum):
    PENDING = "pending"
    """Waits for steps that it needs."""

    READY = "ready"
    """All that it needs is there: it is begun, or its earlier outputs are taken."""

    RUNNING = "running"
    """Its job exists, or its model version is being published."""

    CHECKING = "checking"
    """Its job succeeded, and its outputs are read."""

    SUCCEEDED = "succeeded"
    CACHED = "cached"
    """An earlier step of equal substance and inputs made the same, and that is still there, byte by byte."""

    FAILED = "failed"
    SKIPPED = "skipped"
    """A step that it needs did not succeed."""

    CANCELLED = "cancelled"


STEP: Final = Lifecycle(
    noun="step",
    initial=StepState.PENDING,
    edges={
        StepState.PENDING: to(StepState.READY, StepState.SKIPPED, StepState.CANCELLED),
        StepState.READY: to(StepState.RUNNING, StepState.CACHED, StepState.FAILED, StepState.CANCELLED),
        StepState.RUNNING: to(
            StepState.READY,  # it failed, and has a try left
            StepState.CHECKING,
            StepState.SUCCEEDED,
            StepState.FAILED,
            StepState.CANCELLED,
        ),
        StepState.CHECKING: to(
            StepState.READY,  # an output is not there, and it has a try left
            StepState.SUCCEEDED,
            StepState.FAILED,
            StepState.CANCELLED,
        ),
        StepState.SUCCEEDED: to(),
        StepState.CACHED: to(),
        StepState.FAILED: to(),
        StepState.SKIPPED: to(),
        StepState.CANCELLED: to(),
    },
)

DONE: Final = frozenset({StepState.SUCCEEDED, StepState.CACHED})
"""What needs it may begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepArtifact:
    """What a step made, as it was found when the step was over."""

    name: str
    kind: ArtifactKind
    uri: str
    """With `/` at its end: all that is below."""

    size_bytes: int
    sha256: str
    """Of an object its own; of a prefix over name, size and SHA-256 of each object below, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """The pipeline itself is stored as it was sent, beside this."""

    id: ExecutionId
    project_id: ProjectId
    name: str
    """Of the pipeline."""

    token_id: TokenId
    """Whose rights it has: each step is begun as its submitter would."""

    outputs_uri: str
    """A prefix; each try of each step has a folder of its own below."""

    state: ExecutionState
    since: datetime
    created_at: datetime
    paused_at: datetime | None = None
    """Intent: no step is begun while it is set; what runs goes on."""

    cancel_requested_at: datetime | None = None
    retry_of: ExecutionId | None = None
    schedule_id: ScheduleId | None = None
    tick: datetime | None = None
    """The moment of the schedule that it was made for."""

    reason: str | None = None
    version: int = 1
    came_from: str = "-"

    def move(self, new: ExecutionState, *, at: datetime, reason: str | None = None) -> Self:
        EXECUTION.check(self.state, new)
        return replace(
            self,
            state=new,
            came_from=str(self.state),
            since=at,
            version=self.version + 1,
            reason=reason or self.reason,
        )

    def pause(self, *, at: datetime) -> Self:
        return replace(self, paused_at=self.paused_at or at, version=self.version + 1)

    def resume(self) -> Self:
        return replace(self, paused_at=None, version=self.version + 1)

    def request_cancel(self, *, at: datetime) -> Self:
        return replace(self, cancel_requested_at=self.cancel_requested_at or at, version=self.version + 1)

    @property
    def is_over(self) -> bool:
        return EXECUTION.is_terminal(self.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of one execution."""

    id: StepId
    execution_id: ExecutionId
    position: int
    """In the pipeline, from 0."""

    name: str
    state: StepState
    since: datetime
    number: int = 0
    """How often it was begun."""

    job_id: JobId | None = None
    """Of the newest try; of a cached one that which made the outputs."""

    cache_key: str | None = None
    """Known when it is ready; None: never cached."""

    taken_from: StepId | None = None
    """In a retry: the step whose outputs are taken if they are still there. Of a cached one: that which made them."""

    not_before: datetime | None = None
    outputs: tuple[StepArtifact, ...] = ()
    reason: str | None = None
    begun_at: datetime | None = None
    """When it was first begun."""

    version: int = 1
    came_from: str = "-"

    def move(self, new: StepState, *, at: datetime, reason: str | None = None) -> Self:
        STEP.check(self.state, new)
        return replace(
            self, state=new, came_from=str(self.state), since=at, version=self.version + 1, reason=reason
        )

    @property
    def is_over(self) -> bool:
        return STEP.is_terminal(self.state)

    @property
    def is_done(self) -> bool:
        return self.state in DONE

    def output(self, name: str) -> StepArtifact:
        return next(each for each in self.outputs if each.name == name)


def step_id(execution_id: ExecutionId, position: int) -> StepId:
    """Follows from its execution's, so that whoever tries again means the same step."""
    return StepId(f"{execution_id}.{position}")
