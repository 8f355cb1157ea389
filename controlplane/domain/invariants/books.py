"""Books: what the rules need to see, gathered by noun. All of one value was read in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from controlplane.domain.amounts import Amounts
from controlplane.domain.attempts import Attempt
from controlplane.domain.claims import Claim, Launch
from controlplane.domain.clusters import Cluster, Node
from controlplane.domain.events import Event
from controlplane.domain.ids import AttemptId, ClassId, ClusterId, JobId, NodeId, ServiceId
from controlplane.domain.jobs import Ask, Job
from controlplane.domain.revisions import RevisionState


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedSeat:
    """A seat as its row says, released or not."""

    attempt_id: AttemptId
    rank: int
    node_id: NodeId
    amounts: Amounts
    released_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedRank:
    """How far the records of one rank have come."""

    attempt_id: AttemptId
    rank: int
    log_offset: int
    """Bytes of output that were acknowledged."""

    log_bytes: int
    """And those that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """All that the books say about one job."""

    job: Job
    asks: tuple[Ask, ...]
    attempts: tuple[Attempt, ...]
    """By number."""

    seats: tuple[BookedSeat, ...]
    ranks: tuple[BookedRank, ...]
    events: tuple[Event, ...]
    """Moves of the job and its attempts, in the order in which they were made."""

    kept_since: datetime | None
    """All events from this moment on are kept; None: none was ever pruned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Clusters and nodes, and what is booked on them."""

    clusters: Mapping[ClusterId, Cluster]
    nodes: Mapping[NodeId, Node]
    """Present ones."""

    booked: Mapping[NodeId, Amounts]
    """Sum of the seats that are not released, also on nodes that are gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimFile:
    """All that the books say about one claim."""

    claim: Claim
    launches: tuple[Launch, ...]
    """Oldest first."""

    events: tuple[Event, ...]
    kept_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingClass:
    """Queued asks for which one answer holds."""

    class_id: ClassId
    asks: int
    code: str | None
    """None: nobody has said why they wait."""

    waits_since: datetime
    """Of those that may be placed, the longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceShares:
    """How the traffic of a service that is not deleted is divided among its revisions."""

    service_id: ServiceId
    ready: int
    """Revisions that are."""

    given_ppm: int
    """To them."""

    misled_ppm: int
    """To others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LostReplica:
    """One that goes on, though nobody has any use for it."""

    job_id: JobId
    service_id: ServiceId
    revision_state: RevisionState
    is_deleted: bool
    """The service."""


def is_kept_whole(born_at: datetime, kept_since: datetime | None) -> bool:
    """Whether the events about it go back to its birth."""
    return kept_since is None or born_at >= kept_since
