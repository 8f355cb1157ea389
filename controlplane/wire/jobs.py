"""Jobs, attempts, logs and metrics, as the API shows them."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from controlplane.wire.base import Answer, FieldProblem, Request
from controlplane.wire.jobspec import JobSpec

JobStateName = Literal["held", "queued", "active", "succeeded", "failed", "cancelled"]

MAX_BULK = 10_000
"""Jobs of one bulk call."""

MAX_BULK_BYTES = 16 * 1024**2
"""Of its body."""


class JobDocument(Answer):
    """A job."""

    id: str
    name: str
    project: str
    queue: str
    kind: str
    state: JobStateName
    phase: str = Field(
        description="For people, computed: held, queued, backing-off, starting, running, stopping, or the final state."
    )
    reason: str | None = Field(default=None, description="Why it is where it is.")
    priority: int
    tasks: int
    attempts: int = Field(description="How many attempts there were so far.")
    submitted_at: datetime
    since: datetime = Field(description="When it entered its state.")
    cancel_requested_at: datetime | None = None
    depends_on: list[str] = Field(default_factory=list)
    retry_of: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    version: int = Field(description="Rises with every change; also the ETag.")
    spec: dict[str, Any] = Field(description="The spec as it was submitted.")
    schema_version: int


class JobBatch(Request):
    """Several jobs that are accepted together or not at all; `depends_on` may name jobs of the same batch."""

    jobs: list[JobSpec] = Field(min_length=1, max_length=1000)


class JobCount(Answer):
    """How many jobs of a queue are in one state."""

    project: str
    queue: str
    state: JobStateName
    jobs: int


class JobCounts(Answer):
    """By project, queue and state; what holds no job is left out."""

    items: list[JobCount]


class JobList(Answer):
    """The answer to a batch, in the order of the request."""

    items: list[JobDocument]


class JobBulk(Request):
    """Many jobs, each accepted or refused by itself; `depends_on` names ids of jobs that exist."""

    jobs: list[JobSpec] = Field(min_length=1, max_length=MAX_BULK)


class JobReceipt(Answer):
    """An accepted job."""

    id: str
    name: str
    state: JobStateName


class JobRefusal(Answer):
    """Why a job was not accepted; nothing of it was kept."""

    code: str = Field(description="Stable machine-readable word, e.g. `invalid`.")
    detail: str
    fields: list[FieldProblem] = Field(default_factory=list)


class JobBulkAnswer(Answer):
    """A receipt or a refusal for each job, in the order of the request."""

    items: list[JobReceipt | JobRefusal]


class SeatDocument(Answer):
    """One task's place."""

    rank: int
    node_id: str
    node: str = Field(description="The cluster's own name of the node.")
    resources: dict[str, float]


class AttemptDocument(Answer):
    """One try to run a job."""

    id: str
    job_id: str
    number: int
    cluster_id: str
    cluster: str
    state: Literal["placed", "starting", "running", "stopping", "ended"]
    outcome: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    placed_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    lease_until: datetime | None = Field(
        default=None, description="A task that could not renew its lease has ended itself by then."
    )
    progress: float | None = Field(default=None, description="0 to 1, as the code last said.")
    progress_message: str | None = None
    seats: list[SeatDocument] = Field(default_factory=list)


class LogChunk(Answer):
    """A piece of one task's output."""

    attempt_id: str
    rank: int
    offset: int = Field(description="Of the first byte of `data`.")
    next_offset: int = Field(description="Ask with this offset for what follows.")
    data: str = Field(description="Text; bytes that are not UTF-8 are replaced.")
    complete: bool = Field(description="True: nothing will follow `next_offset`.")


class MetricPoint(Answer):
    """What one task reported at one step."""

    attempt_id: str
    attempt_number: int
    rank: int
    seq: int
    step: int
    at: datetime
    values: dict[str, float | None]


class CheckpointDocument(Answer):
    """A checkpoint that the code says is durable."""

    attempt_id: str
    rank: int
    step: int
    uri: str
    sha256: str | None = None
    at: datetime


class Explanation(Answer):
    """Why a job is where it is, and what would change that."""

    job_id: str
    state: str
    phase: str
    code: str = Field(description="From a closed list, e.g. `no_room`, `waiting_for_jobs`, `running`.")
    sentence: str
    remedy: str = Field(description="What would make it move on; empty when it needs nothing.")
    as_of: datetime
    unused_fields: list[str] = Field(
        default_factory=list, description="Fields of the spec that are stored but that no decision uses yet."
    )


class EventDocument(Answer):
    """Something that happened."""

    cursor: str = Field(description="Position in the feed; ask for events after it.")
    kind: str
    subject: str
    at: datetime
    project_id: str | None = None
    job_id: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class UploadDocument(Answer):
    """An archive that the server holds."""

    digest: str = Field(description="`sha256:<hex>`, to be used as `working_dir`.")
    size_bytes: int
