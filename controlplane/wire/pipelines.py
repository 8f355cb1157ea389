"""Pipelines, their executions and schedules, as the API takes and shows them."""

import json
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, JsonValue, ValidationError, field_validator, model_validator

from controlplane.wire.base import Answer, Name, Request
from controlplane.wire.data import Uri
from controlplane.wire.jobspec import JobSpec
from controlplane.wire.servicespec import ServiceSpec

PIPELINE_VERSION: Final = 1
"""Of the schema; written beside every stored pipeline."""

MAX_STEPS: Final = 256
MAX_ARTIFACTS: Final = 64

ArtifactKindName = Literal["dataset", "model", "metrics", "report", "file", "version"]
ExecutionStateName = Literal["waiting", "running", "succeeded", "failed", "cancelled"]
StepStateName = Literal[
    "pending", "ready", "running", "checking", "succeeded", "cached", "failed", "skipped", "cancelled"
]
Reference = Annotated[
    str,
    Field(
        pattern=r"^steps\.[a-z0-9][a-z0-9_-]{0,62}\.outputs\.[a-z0-9][a-z0-9._-]{0,62}$",
        max_length=150,
        description="`steps.<step>.outputs.<output>`",
    ),
]
StepName = Annotated[
    str, Field(pattern=r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$", max_length=63, description="Without dots.")
]
GIVEN_BY_THE_PIPELINE: Final = ("project", "depends_on", "outputs_uri")


class InputGiven(Request):
    """An artifact that is asked for by its kind."""

    source: Reference
    kind: Literal["dataset", "model", "metrics", "report", "file", "version"]


class OutputGiven(Request):
    """Something that the step's job leaves below CROSSDOCK_OUTPUTS_URI."""

    kind: Literal["dataset", "model", "metrics", "report", "file"] = "file"
    path: Annotated[str, Field(min_length=1, max_length=512)] = Field(
        description="Below CROSSDOCK_OUTPUTS_URI: an object, or with `/` at its end all below it; `./` is everything."
    )

    @field_validator("path")
    @classmethod
    def _stays_below(cls, value: str) -> str:
        if value == "./":
            return value
        if value.startswith("/") or "\0" in value or {"", ".", ".."} & set(value.rstrip("/").split("/")):
            raise ValueError(
                "must be a relative path without '.', '..' and empty parts, like model/weights.pt"
            )
        return value


class StepJob(JobSpec):
    """A job, as everywhere, but for what the pipeline gives it: project, outputs_uri and what it depends on."""

    name: Name = Field(default="step", description="Default: the names of pipeline and step.")

    @model_validator(mode="after")
    def _leaves_the_rest_to_the_pipeline(self) -> Self:
        for name in GIVEN_BY_THE_PIPELINE:
            if name in self.model_fields_set:
                raise ValueError(f"{name} is given by the pipeline: leave it out of a step's job")
        return self


class StepPublish(Request):
    """A version of a model, published with the rights of whoever submitted the pipeline."""

    model: Name = Field(description="Made if the project has none of this name.")
    artifacts: dict[Name, Reference] = Field(
        min_length=1,
        max_length=MAX_ARTIFACTS,
        description="Objects of the version by name. All are made by one step, whose job becomes the lineage.",
    )
    evaluated_by: StepName | None = Field(
        default=None, description="Step whose job's metrics count before those of the first."
    )
    data: Reference | None = Field(default=None, description="An object that names the data.")
    stage: Literal["staging", "production"] | None = Field(
        default=None, description="Promoted to it, past the model's gates; none: it stays a candidate."
    )


class StepDeploy(Request):
    """A revision of a service, deployed with the rights of whoever submitted the pipeline."""

    version: Reference = Field(description="What is served: an output of the kind `version`.")
    service: dict[str, JsonValue] = Field(
        max_length=64,
        description="Fields of a service but for `model` and `project`, which the pipeline gives it.",
    )

    @model_validator(mode="after")
    def _is_a_service(self) -> Self:
        for name in ("model", "project"):
            if name in self.service:
                raise ValueError(f"{name} is given by the pipeline: leave it out of a step's service")
        try:
            self.spec("some@1", "default")
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"service.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        return self

    def spec(self, model: str, project: str) -> ServiceSpec:
        """`model` as `name@3`."""
        return ServiceSpec.model_validate_json(
            json.dumps({**self.service, "model": model, "project": project})
        )


class StepSpec(Request):
    """One step: exactly one of `job`, `publish` and `deploy`."""

    name: StepName = Field(description="Unique inside the pipeline.")
    job: StepJob | None = None
    publish: StepPublish | None = None
    deploy: StepDeploy | None = None
    inputs: dict[Name, Reference | InputGiven] = Field(
        default_factory=dict,
        max_length=MAX_ARTIFACTS,
        description="Artifacts that the job is told of in INPUT_<NAME>, as URIs.",
    )
    outputs: dict[Name, OutputGiven] = Field(default_factory=dict, max_length=MAX_ARTIFACTS)
    after: list[StepName] = Field(
        default_factory=list,
        max_length=MAX_STEPS,
        description="Steps that must succeed first though nothing of theirs is read.",
    )
    retries: int = Field(
        default=0, ge=0, le=10, description="Further tries of the step, beyond the retries of its job."
    )
    backoff_seconds: float = Field(
        default=10.0, ge=0, le=3600, description="Before the second try; doubles with each further one."
    )
    cache: bool = Field(
        default=True,
        description="Whether the outputs of an earlier step are taken that had equal code, spec and inputs.",
    )

    @model_validator(mode="after")
    def _does_one_thing(self) -> Self:
        if sum(each is not None for each in (self.job, self.publish, self.deploy)) != 1:
            raise ValueError(f"step {self.name!r} needs exactly one of job, publish and deploy")
        if self.job is None and (self.inputs or self.outputs):
            raise ValueError(
                f"step {self.name!r} has no job: it names its artifacts there, not as inputs or outputs"
            )
        return self


class PipelineSpec(Request):
    """A graph of steps."""

    name: Name = Field(description="Shown to people; need not be unique.")
    project: Name = "default"
    queue: Name = Field(default="default", description="Of the jobs that name none.")
    outputs_uri: Uri | None = Field(
        default=None, description="Prefix for what the steps make; none: the registered store `artifacts`."
    )
    steps: list[StepSpec] = Field(min_length=1, max_length=MAX_STEPS)


class ArtifactFound(Answer):
    """What a step made, as it was found when the step was over."""

    name: str
    kind: ArtifactKindName
    uri: str
    size_bytes: int
    sha256: str = Field(description="Of a prefix: over name, size and SHA-256 of each object below, by name.")


class StepDocument(Answer):
    name: str
    kind: Literal["job", "publish", "deploy"]
    needs: list[str]
    state: StepStateName
    since: datetime
    begun_at: datetime | None = None
    number: int = Field(description="How often it was begun.")
    job_id: str | None = Field(default=None, description="Of the newest try, or of the try that was cached.")
    taken_from: str | None = Field(
        default=None, description="Of a cached step: the execution that made its outputs."
    )
    not_before: datetime | None = None
    reason: str | None = None
    outputs: list[ArtifactFound]


class ExecutionHead(Answer):
    """What is said of an execution wherever one is told of."""

    id: str
    project: str
    pipeline: str
    state: ExecutionStateName
    since: datetime
    created_at: datetime
    paused_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    retry_of: str | None = None
    schedule: str | None = Field(default=None, description="Id of the schedule that made it.")
    tick: datetime | None = None
    reason: str | None = None
    version: int = Field(description="Rises with every change of the execution itself; also the ETag.")


class ExecutionSummary(ExecutionHead):
    """A pipeline at work, in a list: without its steps and its spec."""

    steps: int
    done: int = Field(description="Of the steps: succeeded, or cached.")


class ExecutionDocument(ExecutionHead):
    """A pipeline at work."""

    outputs_uri: str
    steps: list[StepDocument]
    spec: dict[str, Any] = Field(description="As it was submitted.")  # JSON values


class ScheduleCreate(Request):
    """A pipeline, and when it is executed."""

    name: Name = Field(description="Unique inside the pipeline's project.")
    cron: Annotated[str, Field(min_length=9, max_length=200)] = Field(
        description="Five fields: minute, hour, day of the month, month, day of the week."
    )
    zone: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        default="UTC", description="IANA name, e.g. `Europe/Berlin`."
    )
    overlap: Literal["skip", "queue"] = Field(
        default="skip", description="What a tick does while an earlier execution is not over."
    )
    pipeline: PipelineSpec


class ScheduleDocument(Answer):
    id: str
    project: str
    name: str
    pipeline: str
    cron: str
    zone: str
    overlap: Literal["skip", "queue"]
    created_at: datetime
    next_at: datetime | None = Field(default=None, description="The next tick; none while it is paused.")
    last_at: datetime | None = Field(default=None, description="The newest tick that was acted upon.")
    problem: str | None = Field(default=None, description="Why the newest tick made no execution.")
    paused_at: datetime | None = None
    version: int = Field(description="Rises with every change; also the ETag.")
