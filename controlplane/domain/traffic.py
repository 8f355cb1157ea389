"""Traffic: what the way in for inference has to know of services, and what it tells of them.

A gateway reads `ServiceRoute`s and reports `Load`s; it never reads a service, a revision or an attempt.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from controlplane.domain.ids import AttemptId, ClusterId, ProjectId, RevisionId, ServiceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A replica that may be asked: it said that it is ready, and nobody has told it to stop."""

    attempt_id: AttemptId
    cluster_id: ClusterId
    url: str
    """Base url of its HTTP server, as its node announced it."""

    grpc: str | None = None
    """`host:port` of its gRPC server, where it has one."""

    proxy_url: str | None = None
    """How its cluster is dialled when not directly."""

    ca_pem: str | None = None
    """The only authority that vouches for it; None on loopback, where it speaks plain HTTP."""

    server_name: str | None = None
    """The name in its certificate, since the url has a bare address; None on loopback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionRoute:
    """One version of a service that takes traffic. The weights of a service's revisions add up to a million."""

    revision_id: RevisionId
    number: int
    weight_ppm: int
    key: str
    """What replicas of this revision want to hear as a bearer token."""

    backends: tuple[Backend, ...]
    concurrency: int
    """Requests that one replica takes at a time; the others wait at the gateway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request to a service may be."""

    request_bytes: int
    timeout_seconds: float
    """From the first byte of the request to the last of the answer; a stream counts from piece to piece."""

    queue_requests: int
    """That wait at one gateway for a replica; more are refused with 429."""

    requests_per_second: float | None = None
    """Of one caller; None: no bound."""

    wake_seconds: float = 60.0
    """How long a request waits for a service that has no replica to get one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRoute:
    """A service as a gateway knows it."""

    service_id: ServiceId
    project_id: ProjectId
    project: str
    name: str
    is_open: bool
    """Anybody may call; else the caller's token must allow the use of the project's services."""

    limits: Limits
    revisions: tuple[RevisionRoute, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one gateway saw of one revision between two reports."""

    gateway: str
    service_id: ServiceId
    revision_id: RevisionId | None
    """None: requests that no revision could be asked for yet."""

    since: datetime
    until: datetime
    in_flight: int
    """Requests under way at `until`, those that wait included."""

    waiting: int
    requests: int
    """That ended in the interval."""

    errors: int
    """Of these: 5xx answers, and replicas that broke off. A caller's own mistakes are none."""

    latency_ms: tuple[int, ...]
    """How many ended within each of `LATENCY_EDGES_MS`; the last counts the rest."""


FRESH: Final = timedelta(seconds=15)
"""How far what a gateway says may be from now, either way, to be about now.

An older word is history, and a gateway that has said nothing younger is gone; a word from further ahead is of a clock
that is wrong, and would count for long after its gateway is gone.
"""

LATENCY_EDGES_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000)


def is_of_now(load: Load, now: datetime) -> bool:
    return abs(now - load.until) <= FRESH
