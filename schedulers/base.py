"""The Policy port: all that a policy may know (Snapshot) and all that it may answer (Plan).

`Policy.plan(snapshot)` defines the meaning; an Engine is its fast incremental form. The law: both give equal plans on
any history, in any process, independent of row order, hash seed and CPU. A policy remembers nothing: what has to be
known again (nominations, verdicts, reservations, past use) stands in its Plan, is stored, and comes back as rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from controlplane.domain.ids import AskId, ClassId
from controlplane.domain.queues import Queue
from controlplane.domain.twins import quick
from schedulers.demand import (
    USUAL_RESTART,
    AskClass,
    Bound,
    Data,
    HeldSeat,
    Nomination,
    PastUse,
    QueuedAsks,
    Reservation,
    Role,
    RunningAsk,
    Slice,
    Tier,
    Topology,
    TopologyMode,
    Verdict,
)
from schedulers.plans import (
    PROMISE_SECONDS,
    AsksEnd,
    Change,
    Defer,
    Dropped,
    Ground,
    Grow,
    Move,
    NodesAdded,
    Opened,
    Place,
    Placement,
    Plan,
    Preempt,
    Provision,
    QuotaRaised,
    ReasonCode,
    Shrink,
    Smaller,
    Until,
    Victim,
    moved,
    resized,
)
from schedulers.supply import DEFAULT_FLAVOR, Budget, ClaimView, ClusterView, NodeView, Offer

__all__ = [
    "DEFAULT_FLAVOR",
    "PROMISE_SECONDS",
    "USUAL_RESTART",
    "AskClass",
    "AskLeft",
    "AskQueued",
    "AskRuns",
    "AskStopped",
    "AsksEnd",
    "Bound",
    "Budget",
    "CapacityChanged",
    "Change",
    "ClaimView",
    "ClusterView",
    "Data",
    "Defer",
    "Delta",
    "Dropped",
    "Engine",
    "Ground",
    "Grow",
    "HeldSeat",
    "MarketChanged",
    "Memory",
    "MemoryChanged",
    "Move",
    "NodeView",
    "NodesAdded",
    "NodesChanged",
    "Nomination",
    "Offer",
    "Opened",
    "PastUse",
    "Place",
    "Placement",
    "Plan",
    "Policy",
    "Preempt",
    "Provision",
    "Queue",
    "QueuedAsks",
    "QueuesChanged",
    "QuotaRaised",
    "ReasonCode",
    "Reservation",
    "Role",
    "RunningAsk",
    "Shrink",
    "Slice",
    "Smaller",
    "Snapshot",
    "Tier",
    "Topology",
    "TopologyMode",
    "Until",
    "Verdict",
    "Victim",
    "microseconds",
    "moved",
    "resized",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What earlier plans said that still counts. Rows of asks that are neither queued nor running are pruned."""

    nominations: Sequence[Nomination] = ()
    verdicts: Sequence[Verdict] = ()
    reservations: Sequence[Reservation] = ()
    """Of the last plan. No policy here reads them: kept to, they would bar whoever comes to have its turn earlier."""

    past_uses: Sequence[PastUse] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    version: int
    """Position in the change feed that this picture is of."""

    now: datetime
    asks: QueuedAsks
    classes: Mapping[ClassId, AskClass]
    """Of all queued and running asks."""

    nodes: Sequence[NodeView]
    clusters: Sequence[ClusterView]
    running: Sequence[RunningAsk] = ()
    queues: Sequence[Queue] = ()
    """Every node of every quota tree. A queue that is not among them has no limits and no cohort."""

    offers: Sequence[Offer] = ()
    claims: Sequence[ClaimView] = ()
    budgets: Sequence[Budget] = ()
    is_uniform: bool = False
    """What is bought for one ask has to be of one offer."""

    memory: Memory = Memory()


@quick
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
class AskRuns:
    """Holds seats, or what it holds or has done changed."""

    ask: RunningAsk
    ask_class: AskClass


@dataclass(frozen=True, slots=True, kw_only=True)
class AskStopped:
    """Holds no seats any more."""

    id: AskId


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityChanged:
    """The nodes and clusters as they are now, whole: small beside the asks."""

    nodes: tuple[NodeView, ...] = field(default=())
    clusters: tuple[ClusterView, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesChanged:
    """These nodes as they are now, new ones among them; all others and the clusters stand."""

    nodes: tuple[NodeView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuesChanged:
    """All quota trees as they are now."""

    queues: tuple[Queue, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketChanged:
    """What can be bought, was bought and may be spent, as it is now."""

    offers: tuple[Offer, ...] = ()
    claims: tuple[ClaimView, ...] = ()
    budgets: tuple[Budget, ...] = ()
    is_uniform: bool = False
    """As in `Snapshot`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryChanged:
    """What is remembered, whole."""

    memory: Memory


Delta = (
    AskQueued
    | AskLeft
    | AskRuns
    | AskStopped
    | CapacityChanged
    | NodesChanged
    | QueuesChanged
    | MarketChanged
    | MemoryChanged
)


class Engine(Protocol):
    """The fast form of a policy: holds the picture, takes deltas, plans again. Not shared between threads."""

    def apply(self, deltas: Sequence[Delta]) -> None: ...

    def plan(self, *, version: int, now: datetime) -> Plan: ...


class Policy(Protocol):
    name: str
    is_simple: bool
    """True: it looks at what waits and what is free, and is told nothing else."""

    def plan(self, snapshot: Snapshot) -> Plan: ...

    def start(self, snapshot: Snapshot) -> Engine: ...


def microseconds(moment: datetime) -> int:
    """Since the epoch: how moments stand in columns."""
    return round(moment.timestamp() * 1_000_000)
