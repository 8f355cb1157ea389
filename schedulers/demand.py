"""Demand: what waits for seats and what holds some."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controlplane.domain.amounts import Amounts
from controlplane.domain.ids import AskId, ClassId, ClusterId, NodeId

USUAL_RESTART: Final = 60
"""Seconds that a new start costs, where nobody said otherwise."""


class Tier(StrEnum):
    """How much an ask is owed its seats, beside its priority."""

    PINNED = "pinned"
    """The fewest replicas of a service: placed before all other work of their queue, and never preempted or moved while
    the queue's own quota is enough for all that is pinned in it. What they borrow goes back to its owner."""

    NORMAL = "normal"
    SURPLUS = "surplus"
    """Nice to have: placed last and preempted first. Tasks beyond an ask's `tasks_min` are surplus as well."""


class TopologyMode(StrEnum):
    REQUIRED = "required"
    """All tasks in one domain of the level, or not at all."""

    PREFERRED = "preferred"
    """The smallest domain that holds all tasks, beginning with the level; at last the whole cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Every `tasks` consecutive tasks of the last role go together into one domain of `level`."""

    level: str
    tasks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    level: str
    """The name of a level of `NodeView.domains`, or `node`."""

    mode: TopologyMode = TopologyMode.REQUIRED
    slices: tuple[Slice, ...] = ()
    """Outermost first; each divides the one before it."""

    balanced: bool = False
    """Where one domain of the level is too small: the same number of tasks in each of the fewest that are enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Tasks of one shape within an ask. All tasks of a role sit on one flavor."""

    name: str
    tasks: int
    """The most that it uses."""

    tasks_min: int
    """With fewer it is of no use; more are surplus."""

    amounts: Amounts
    """Of one task; at least one of them above zero."""

    accelerator: str | None = None
    flavors: tuple[str, ...] = ()
    """Those it may use; empty: all that its queue may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What has to be near, and how much it is."""

    region: str
    gib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Residency of something that an ask reads: it may only run where that may be. What is empty is anything."""

    owner: str
    """For people: `what lies in store 'raw'`."""

    providers: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    """By id, or by the name that they are registered as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskClass:
    """What the asks of one equivalence class have in common. Everything but the id takes part in `class_id`."""

    id: ClassId
    queue_id: str
    tasks: int
    """Of an ask without roles, as are `amounts` and `accelerator`."""

    amounts: Amounts
    accelerator: str | None
    tasks_min: int | None = None
    """None: `tasks`, all or nothing."""

    roles: tuple[Role, ...] = ()
    """Empty: one role, from the fields above. Ranks count through the roles in order, each at its full size."""

    topology: Topology | None = None
    tolerations: tuple[tuple[str, str], ...] = ()
    """Taints (key, value) it may meet; the value `*` meets any."""

    band: int = 0
    """Added to the band of its queue; asks of a higher one go first in all queues."""

    tier: Tier = Tier.NORMAL
    trust_domain: str = "shared"
    providers: tuple[str, ...] = ()
    """Residency, as are regions and clusters: where it may run; empty: anywhere."""

    regions: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    """By id, or by the name that they are registered as."""

    bounds: tuple[Bound, ...] = ()
    """Of what it reads; each of them holds beside its own residency."""

    data: tuple[Data, ...] = ()
    runtime_seconds: int | None = None
    """How long it is expected to run, as a 90th percentile; at most its max_runtime."""

    deadline: int | None = None
    """Microseconds since the epoch at which it should have finished; equal within one class."""

    restart_seconds: int = USUAL_RESTART
    """What a new start costs beside the lost work."""

    @property
    def all_roles(self) -> tuple[Role, ...]:
        if self.roles:
            return self.roles
        least = self.tasks if self.tasks_min is None else self.tasks_min
        only = Role(
            name="", tasks=self.tasks, tasks_min=least, amounts=self.amounts, accelerator=self.accelerator
        )
        return (only,)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedAsks:
    """Columns of equal length, in any order; row i is one queued ask."""

    ids: Sequence[AskId]
    classes: Sequence[ClassId]
    priorities: Sequence[int]
    submitted: Sequence[int]
    """Microseconds since the epoch; kept through preemption, so that who was evicted does not go to the end."""

    not_before: Sequence[int]
    """Microseconds since the epoch; 0 = at once."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldSeat:
    rank: int
    node_id: NodeId
    leaving: bool = False
    """Told to stop: still holds its node, no longer counted in its queue's quota, not a victim again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningAsk:
    """An ask with a live attempt, from placed to stopping."""

    id: AskId
    ask_class: ClassId
    priority: int
    submitted: int
    cluster_id: ClusterId
    seats: tuple[HeldSeat, ...]
    """Of the present attempt, released ones left out."""

    admitted_at: int
    """Microseconds since the epoch, as are the other moments."""

    started_at: int | None = None
    checkpoint_at: int | None = None
    """When the newest committed checkpoint was taken; None: there is none, so all work would be lost."""

    protected_until: int = 0
    """Not preempted before: minimum runtime, or grace after a preemption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nomination:
    """Seats that were promised to a queued ask when its victims were chosen; theirs alone until `until`."""

    ask_id: AskId
    cluster_id: ClusterId
    seats: tuple[tuple[int, NodeId], ...]
    """(rank, node), those inherited from victims and those that were free."""

    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`winner` was placed at the expense of `loser`. Kept while both asks are queued or running."""

    winner: AskId
    loser: AskId


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Seats that a queued ask is to have from a moment on. What has its turn later ends before, or fits in beside it.

    Every plan makes all of them anew, in the order of turns. So one moves later when work takes longer than expected,
    when room is lost, and for whoever has come to have its turn earlier, but never for work behind it.
    """

    ask_id: AskId
    cluster_id: ClusterId
    seats: tuple[tuple[int, NodeId], ...]
    starts_at: int
    ends_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PastUse:
    """What a node of the quota trees has used, decayed to the beginning of an epoch; see `schedulers.decay`."""

    queue_id: str
    epoch: int
    """Microseconds since the epoch of clocks, as are all moments."""

    used: int
    """In parts of `WHOLE_USE`: of what its tree owns, of a root what the fleet has."""
