"""Models, versions and gates, as the API takes and shows them."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from controlplane.wire.base import MAX_INT, Answer, Name, Request
from controlplane.wire.data import Uri

StageName = Literal["candidate", "staging", "production", "archived"]

MAX_ARTIFACTS = 64

Metric = Annotated[str, Field(min_length=1, max_length=128)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]
JobRef = Annotated[str, Field(min_length=1, max_length=63)]


class ModelCreate(Request):
    project: Name = "default"
    name: Name = Field(description="Unique inside the project.")
    description: Annotated[str, Field(max_length=4096)] = ""


class GateSet(Request):
    """What a metric must reach before a version may serve."""

    name: Name = Field(description="A gate of the same name is replaced.")
    metric: Metric
    comparison: Literal["at_least", "at_most"] = Field(
        default="at_least", description="`at_least`: more is better; `at_most`: less is."
    )
    limit: float | None = Field(default=None, description="The least, or the most, that is let through.")
    slack: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="By how much it may be worse than the version in production."
    )

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.limit is None and self.slack is None:
            raise ValueError("a gate needs a limit, a slack or both")
        return self


class GateRemove(Request):
    name: Name


class GateDocument(Answer):
    name: str
    metric: str
    comparison: Literal["at_least", "at_most"]
    limit: float | None = None
    slack: float | None = None


class ModelDocument(Answer):
    """A model."""

    id: str
    project: str
    name: str
    description: str
    created_at: datetime
    versions: int = Field(description="How many were published; also the number of the newest.")
    production: int | None = Field(default=None, description="Number of the version that serves.")
    gates: list[GateDocument]
    version: int = Field(description="Rises with every change; also the ETag.")


class ArtifactGiven(Request):
    """An object in a registered store. What is said of it is compared with what is there."""

    name: Name = Field(description="Unique inside the version, e.g. `model.onnx`.")
    uri: Uri
    sha256: Sha256 | None = Field(default=None, description="Absent: computed.")
    size_bytes: Annotated[int, Field(ge=1, le=MAX_INT)] | None = None


class VersionPublish(Request):
    """A version: from a job's records, or of artifacts that come from elsewhere."""

    job: JobRef | None = Field(
        default=None,
        description="A job that succeeded. Its code, spec, metrics and checkpoint become the lineage.",
    )
    artifacts: list[ArtifactGiven] = Field(
        default_factory=list,
        max_length=MAX_ARTIFACTS,
        description="Empty: the newest checkpoint of the job. Of a job: what it wrote, or copies of its checkpoints.",
    )
    evaluated_by: JobRef | None = Field(
        default=None, description="A job that succeeded, whose metrics count before those of `job`."
    )
    data: Uri | None = Field(
        default=None,
        description="The object that names the data, e.g. the manifest of prepared shards; the server hashes it.",
    )
    parent: Annotated[int, Field(ge=1, le=MAX_INT)] | None = Field(
        default=None, description="Number of the version that this one was made from."
    )

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.job is None and not self.artifacts:
            raise ValueError("name a job, artifacts or both")
        names = [artifact.name for artifact in self.artifacts]
        if len(set(names)) < len(names):
            raise ValueError("two artifacts have the same name")
        return self


class Promotion(Request):
    stage: Literal["staging", "production"] = "production"


class ArtifactDocument(Answer):
    name: str
    uri: str
    size_bytes: int
    sha256: str


class LineageDocument(Answer):
    """Where a version comes from."""

    job_id: str | None = None
    code: str | None = Field(default=None, description="Digest of the job's working directory.")
    checkpoint_step: int | None = None
    evaluation_job_id: str | None = None
    data_uri: str | None = None
    data_sha256: str | None = None
    parent: int | None = None
    parameters: dict[str, Any] = Field(description="The job's spec as it was submitted.")  # JSON values


class VersionDocument(Answer):
    """A version of a model."""

    id: str
    project: str
    model: str
    number: int
    stage: StageName
    since: datetime = Field(description="When it entered its stage.")
    promoted_at: datetime | None = Field(default=None, description="When it was first in production.")
    created_at: datetime
    created_by: str = Field(description="Name of the token.")
    artifacts: list[ArtifactDocument]
    metrics: dict[str, float | None] = Field(
        description="As they were last reported; null was no finite number."
    )
    lineage: LineageDocument
    key_id: str = Field(description="Of the key that signed the manifest.")
    version: int = Field(description="Rises with every change; also the ETag.")


class ManifestDocument(Answer):
    """All facts of a version, and who vouches for them."""

    manifest: str = Field(description="JSON; the signature is over these very bytes in UTF-8.")
    signature: str = Field(description="Ed25519, in base64.")
    key_id: str


class PublicKeyDocument(Answer):
    key_id: str
    algorithm: Literal["Ed25519"] = "Ed25519"
    public_key: str = Field(description="PEM.")
