"""Views: what the store hands out and takes beside the domain's own objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from controlplane.domain.amounts import Amounts
from controlplane.domain.attempts import Attempt
from controlplane.domain.ids import AskId, AttemptId, ClassId, JobId, ProjectId, QueueId, SecretId, TokenId
from controlplane.domain.jobs import Ask, Job, JobKind, JobState
from controlplane.domain.queues import Queue as QuotaQueue
from controlplane.domain.twins import quick


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job with all that a page about it shows."""

    job: Job
    project_name: str
    queue_name: str
    tasks: int
    amounts: Amounts
    """Of one task."""

    labels: Mapping[str, str]
    spec: str
    """As submitted."""

    schema_version: int
    attempts: int
    not_before: datetime | None
    live: Attempt | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """All that is set must hold; empty tuples and None leave everything in."""

    project_ids: tuple[ProjectId, ...] | None = None
    """The ones that may be seen; None: all. An empty tuple sees nothing."""

    queue_id: QueueId | None = None
    states: tuple[JobState, ...] = ()
    kind: JobKind | None = None
    without: JobKind | None = None
    """All kinds but this one."""

    name: str | None = None
    label: tuple[str, str] | None = None
    submitted_after: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlace:
    """Where a list of jobs goes on: behind the job that was submitted then, whether it is still there or not."""

    submitted_us: int
    """Microseconds since the epoch."""

    job_id: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    """A part of a list of jobs, newest first."""

    views: Sequence[JobView]
    next: JobPlace | None
    """None: the list ends here. Set beside few views, even none, when the rest was too far away to be found at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaNode:
    """A queue's or a cohort's place in the quota tree."""

    queue: QuotaQueue
    is_cohort: bool
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OldJob:
    """As much of a job as says whether it may go."""

    place: JobPlace
    is_finished: bool
    since: datetime
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """How many jobs of a project and queue are of one kind and in one state."""

    project_id: ProjectId
    queue_id: QueueId
    state: JobState
    kind: JobKind
    jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MiscountedBucket:
    """Says that `bucket.jobs` is a lie."""

    bucket: Bucket
    true_jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedRows:
    """Columns of equal length; row i is one queued ask."""

    ids: Sequence[AskId]
    class_ids: Sequence[ClassId]
    priorities: Sequence[int]
    submitted_us: Sequence[int]
    not_before_us: Sequence[int]
    """0 = at once."""

    classes: Sequence[Ask]
    """One sample of each class."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """Something to look at, claimed."""

    noun: str
    id: str
    token: int
    """Of this claim; a later claim of the same thing has a larger one."""

    due_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKeyRow:
    key_id: str
    public_pem: str
    secret_id: SecretId


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    id: TokenId
    name: str
    role: str
    project_id: ProjectId | None
    """None: holds for every project."""

    hash: bytes = field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRow:
    """An envelope: who can open `wrapped_key` can open the rest."""

    id: SecretId
    key_id: str
    wrapped_key: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What a request with an idempotency key was answered."""

    request_hash: bytes
    code: int
    body: str


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class RankRow:
    """How far one rank's records have come."""

    acked_seq: int = 0
    log_offset: int = 0
    """Bytes of its log that are kept."""

    heartbeat_at: datetime | None = None
    exit_code: int | None = None
    exit_reason: str | None = None
    exited_at: datetime | None = None
    progress: float | None = None
    progress_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """A rank that reports, with what its records are checked against."""

    attempt: Attempt
    tasks: int
    """Of the whole attempt."""

    spec: str
    """Of its job, as submitted."""

    row: RankRow


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    attempt_id: AttemptId
    job_id: JobId
    rank: int
    seq: int
    step: int
    at: datetime
    values: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedMetric:
    """A metric, and the number of the attempt that sent it; (number, rank, seq) is where a reader goes on."""

    number: int
    metric: MetricRow


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRow:
    """A checkpoint that is committed, wherever its bytes lie."""

    attempt_id: AttemptId
    job_id: JobId
    rank: int
    seq: int
    step: int
    uri: str
    sha256: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRow:
    digest: str
    size_bytes: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonRow:
    """Why the asks of a class wait, since `at`."""

    class_id: ClassId
    code: str
    sentence: str
    remedy: str
    at: datetime
