"""The Policy port: all that a policy may know (Snapshot) and all that it may answer (Plan).

`Policy.plan(snapshot)` defines the meaning; an Engine is its fast incremental form. The law: both give equal plans on
any history, in any process, independent of row order, hash seed and CPU.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from controlplane.domain.amounts import Amounts
from controlplane.domain.ids import AskId, ClassId, ClusterId, NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class AskClass:
    """What the asks of one equivalence class have in common."""

    id: ClassId
    queue_id: str
    tasks: int
    amounts: Amounts
    accelerator: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedAsks:
    """Columns of equal length, in any order; row i is one queued ask."""

    ids: Sequence[AskId]
    classes: Sequence[ClassId]
    priorities: Sequence[int]
    submitted: Sequence[int]
    """Microseconds since the epoch."""

    not_before: Sequence[int]
    """Microseconds since the epoch; 0 = at once."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A present node of a cluster that takes tasks; `free` = allocatable - foreign - seats."""

    id: NodeId
    cluster_id: ClusterId
    allocatable: Amounts
    free: Amounts
    accelerator: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """A registered cluster; `blocked` says in words why it takes no tasks now, None when it does."""

    id: ClusterId
    name: str
    blocked: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    version: int
    """Position in the change feed that this picture is of."""

    now: datetime
    asks: QueuedAsks
    classes: Mapping[ClassId, AskClass]
    nodes: Sequence[NodeView]
    clusters: Sequence[ClusterView]


class ReasonCode(StrEnum):
    """The closed list of answers to: why does it wait?"""

    NO_CLUSTER = "no_cluster"
    CLUSTERS_BLOCKED = "clusters_blocked"
    NO_ACCELERATOR = "no_accelerator"
    TOO_LARGE = "too_large"
    NO_ROOM = "no_room"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Task `rank` goes to `node_id`."""

    rank: int
    node_id: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Seats a whole ask, all tasks in one cluster."""

    ask_id: AskId
    cluster_id: ClusterId
    seats: tuple[Placement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Defer:
    """Why the asks of a class that are not placed wait, and what would change that."""

    class_id: ClassId
    code: ReasonCode
    sentence: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    version: int
    """Of the snapshot it was made from."""

    places: tuple[Place, ...] = ()
    defers: tuple[Defer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AskQueued:
    """Is queued, or its turn changed."""

    id: AskId
    ask_class: AskClass
    priority: int
    submitted: int
    not_before: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AskLeft:
    """Is no longer queued."""

    id: AskId


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityChanged:
    """The nodes and clusters as they are now, whole: small beside the asks."""

    nodes: tuple[NodeView, ...] = field(default=())
    clusters: tuple[ClusterView, ...] = field(default=())


Delta = AskQueued | AskLeft | CapacityChanged


class Engine(Protocol):
    """The fast form of a policy: holds the picture, takes deltas, plans again. Not shared between threads."""

    def apply(self, deltas: Sequence[Delta]) -> None: ...

    def plan(self, *, version: int, now: datetime) -> Plan: ...


class Policy(Protocol):
    name: str

    def plan(self, snapshot: Snapshot) -> Plan: ...

    def start(self, snapshot: Snapshot) -> Engine: ...


def microseconds(moment: datetime) -> int:
    """Since the epoch: how moments stand in columns."""
    return round(moment.timestamp() * 1_000_000)
