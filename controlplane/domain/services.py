"""Services: models that answer requests, under one name, by as many replicas as their traffic needs."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self

from controlplane.domain.copies import replace
from controlplane.domain.ids import AttemptId, JobId, ProjectId, QueueId, RevisionId, ServiceId
from controlplane.domain.jobs import JobState

ALL_PPM = 1_000_000
"""The whole of a service's traffic."""


class Strategy(StrEnum):
    """How the next revision takes the traffic from the one before."""

    ROLLING = "rolling"
    """As much of it as it has replicas."""

    CANARY = "canary"
    """Step by step, each watched for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How many replicas which traffic asks for."""

    target_in_flight: float
    """Requests that a replica should have under way, on average."""

    latency_ms: int | None
    """Nine requests of ten should end within this; None: nobody looks."""

    stable_seconds: float
    """For how long fewer must be enough before there are fewer."""

    idle_seconds: float
    """Without a request for this long, a service that may have no replica has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How a revision takes over."""

    strategy: Strategy
    steps_ppm: tuple[int, ...]
    """Shares of a canary, rising; the last is all of it. Empty when rolling."""

    bake_seconds: float
    """How long each share is watched before the next."""

    max_error_ppm: int
    """More errors per million requests than this roll it back."""

    min_requests: int
    """With fewer requests than this nothing is said about errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a revision's spec says that is decided on."""

    scaling: Scaling
    rollout: Rollout
    ready_seconds: float
    """From the start of the first of the replicas that run; a revision with none ready by then has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """`name` is unique inside the project among those that are not deleted."""

    id: ServiceId
    project_id: ProjectId
    queue_id: QueueId
    name: str
    created_at: datetime
    min_replicas: int
    max_replicas: int
    desired: int
    """How many replicas its traffic asks for."""

    last_number: int = 0
    """Of the newest revision."""

    lower_since: datetime | None = None
    """Since when fewer than `desired` would be enough."""

    lower_peak: int = 0
    """The most that were needed since then."""

    delete_requested_at: datetime | None = None
    deleted_at: datetime | None = None
    version: int = 1

    def changed(self, **fields: object) -> Self:
        changes: dict[str, object] = fields
        return replace(self, version=self.version + 1, **changes)  # type: ignore[arg-type]

    @property
    def is_leaving(self) -> bool:
        return self.delete_requested_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One server of a revision: a job, in one of the revision's places."""

    job_id: JobId
    revision_id: RevisionId
    ordinal: int
    """The place: 0 to the number of replicas less one, with gaps."""

    turn: int
    """1 for the first that was there; with the place it is the key that a second one cannot have."""

    is_surplus: bool
    """Beyond the fewest that the service always has: others may take its seats."""

    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """Where an attempt of a replica listens, by its own word."""

    attempt_id: AttemptId
    url: str
    grpc: str | None
    is_ready: bool
    at: datetime
    ready_at: datetime | None
    """When it was ready first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownReplica:
    """A replica with all that is known of it."""

    replica: Replica
    job_state: JobState
    job_since: datetime
    job_reason: str | None
    cancel_requested_at: datetime | None
    attempt_id: AttemptId | None = None
    """Of the live attempt."""

    started_at: datetime | None = None
    """When its live attempt did; None: it waits, be it for the first time or again."""

    is_ready: bool = False
    """Asked now, it would answer."""

    was_ready: bool = False
    """It, or an earlier attempt of it, was ready once."""

    @property
    def is_over(self) -> bool:
        return self.job_state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)

    @property
    def stays(self) -> bool:
        return not self.is_over and self.cancel_requested_at is None
