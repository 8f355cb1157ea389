"""Plans: all that a policy may answer."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controlplane.domain.amounts import Amounts
from controlplane.domain.ids import AskId, ClassId, ClusterId, NodeId, QueueId
from controlplane.domain.queues import Cell
from controlplane.domain.twins import quick
from schedulers.demand import PastUse, Reservation

PROMISE_SECONDS: Final = 900
"""How long seats are promised to who is to have them: more than any grace, time to kill and time to notice."""


class ReasonCode(StrEnum):
    """The closed list of answers to: why does it wait?"""

    NO_CLUSTER = "no_cluster"
    CLUSTERS_BLOCKED = "clusters_blocked"
    RESIDENCY = "residency"
    """No open cluster lies where its data and its owner allow, or none shares its trust domain."""

    NO_ACCELERATOR = "no_accelerator"
    NO_FLAVOR = "no_flavor"
    """Nodes would do, but none is of a flavor that its queue or its roles name."""

    TAINTED = "tainted"
    UNHEALTHY = "unhealthy"
    """It fits, if nodes that are cordoned or suspected are counted."""

    TOO_LARGE = "too_large"
    """Not even an empty cluster holds it."""

    TOPOLOGY_TOO_LARGE = "topology_too_large"
    """Not even an empty domain of the level that it requires holds it."""

    QUEUE_STOPPED = "queue_stopped"
    NEVER_WITHIN_QUOTA = "never_within_quota"
    """More than the queue could have if nothing at all were running."""

    NO_QUOTA = "no_quota"
    """The queue's part and what it may borrow are in use."""

    NO_ROOM = "no_room"
    """Quota would do; no cluster has enough free now."""

    NO_DOMAIN = "no_domain"
    """Enough is free, but not within one domain of the level that it requires."""

    RESERVED = "reserved"
    """Enough is free, but promised: it would still run when a reserved ask is to start, or a window closes."""

    WAITING_FOR_SEATS = "waiting_for_seats"
    """Its victims have been told to go."""

    WAITING_FOR_MACHINES = "waiting_for_machines"
    """They have been bought and are starting."""

    SOLD_OUT = "sold_out"
    """Would be bought, but every offer that fits is cooling down or used up."""

    OVER_BUDGET = "over_budget"
    """Would be bought, but costs more than is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Task `rank` goes to `node_id`."""

    rank: int
    node_id: NodeId


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Seats a whole ask, all tasks in one cluster. An elastic ask may be seated with fewer than its full size."""

    ask_id: AskId
    cluster_id: ClusterId
    seats: tuple[Placement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grow:
    """More tasks for an ask that runs with fewer than its full size.

    Whoever is resized (grows, shrinks, moves, loses surplus tasks) stops and starts again at its last checkpoint: all
    its seats are leaving, and those that it keeps or gets are promised to it for `PROMISE_SECONDS` by a Nomination. Its
    ranks begin anew, so there are no gaps.
    """

    ask_id: AskId
    seats: tuple[Placement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrink:
    """These ranks are of no use where they are: too few of them for the ask to go on. All of them: it waits again."""

    ask_id: AskId
    ranks: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A task's seat is exchanged for one elsewhere."""

    ask_id: AskId
    rank: int
    node_id: NodeId
    """Where to."""


class Ground(StrEnum):
    """Why a preemption is right."""

    PRIORITY = "priority"
    """Victims of its own queue, of lower priority."""

    RECLAIM = "reclaim"
    """It takes back its queue's own quota from those who borrowed it."""

    FAIR_SHARE = "fair_share"
    """Its queue has the smaller share, also afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    ask_id: AskId
    ground: Ground
    ranks: tuple[int, ...] = ()
    """The surplus tasks that go, and the others are resized; empty: all of it goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preempt:
    """Tells the victims to stop and promises `seats` to the heir: a Nomination and a Verdict for each victim.

    Or nobody goes, and others move together to make the room.

    Committed whole or not at all. The heir is placed by a later plan, once all victims are gone.
    """

    ask_id: AskId
    """The heir."""

    cluster_id: ClusterId
    seats: tuple[Placement, ...]
    victims: tuple[Victim, ...]
    until: int
    """When the promise lapses, in microseconds since the epoch."""

    moves: tuple[Move, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """Buys machines for an ask; one claim for each order."""

    ask_id: AskId
    cluster_id: ClusterId
    orders: tuple[tuple[str, int], ...]
    """(offer, machines), all or none."""

    price_millionths_per_hour: int
    cost_millionths: int
    """Of all of it, for as long as the work is expected to take."""

    sentence: str
    """Why buying beats waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaRaised:
    """One limit of one node; `limit` is `nominal`, `borrowing` or `lending`, `to` None: no limit."""

    queue_id: QueueId
    cell: Cell
    limit: str
    to: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesAdded:
    """So many empty nodes like one that is there, or of these amounts where none is."""

    cluster_id: ClusterId
    count: int
    like: NodeId | None
    """Taken over: amounts, accelerator, flavor, domains and taints."""

    amounts: Amounts | None = None
    accelerator: str | None = None
    flavor: str | None = None
    domains: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AsksEnd:
    """These give back their seats."""

    ask_ids: tuple[AskId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What is closed takes tasks: `noun` is `cluster`, `queue` or `node`."""

    noun: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """The class does without: `topology`, `taints`, `accelerator`, `flavors`, `residency`."""

    constraint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Smaller:
    """Each ask of the class asks for no more than so many tasks."""

    tasks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Until:
    """Nothing has to change but the time, in microseconds since the epoch."""

    moment: int


Change = QuotaRaised | NodesAdded | AsksEnd | Opened | Dropped | Smaller | Until
"""What would have to be otherwise. `schedulers.whatif` applies it to a snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defer:
    """Why the asks of a class that are not placed wait, and what would change that."""

    class_id: ClassId
    code: ReasonCode
    sentence: str
    remedy: str
    blocker: str | None = None
    """The queue, cohort, cluster, domain, node or ask that stands in the way."""

    change: Change | None = None
    """A first step that is needed; `schedulers.whatif.counterfactual` finds all that the first ask takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    version: int
    """Of the snapshot it was made from."""

    places: tuple[Place, ...] = ()
    defers: tuple[Defer, ...] = ()
    grows: tuple[Grow, ...] = ()
    shrinks: tuple[Shrink, ...] = ()
    moves: tuple[Move, ...] = ()
    preempts: tuple[Preempt, ...] = ()
    provisions: tuple[Provision, ...] = ()
    reserves: tuple[Reservation, ...] = ()
    """All that hold now; what is not among them is no longer promised."""

    past_uses: tuple[PastUse, ...] = ()
    """New rows when an epoch began; empty: the old ones stand."""

    lapsed: tuple[AskId, ...] = ()
    """Whose promise of seats is over: it was not kept in time, or one of its nodes does not take the ask any more."""


def resized(plan: Plan) -> dict[AskId, dict[int, NodeId | None]]:
    """Of everybody whom the plan resizes, the ranks that change, and the nodes that they get; None: they go.

    Who makes room for an heir is not among them: that is committed with the heir's promise.
    """
    changes: dict[AskId, dict[int, NodeId | None]] = {}
    for grow in plan.grows:
        changes.setdefault(grow.ask_id, {}).update((seat.rank, seat.node_id) for seat in grow.seats)
    for move in plan.moves:
        changes.setdefault(move.ask_id, {})[move.rank] = move.node_id
    for shrink in plan.shrinks:
        changes.setdefault(shrink.ask_id, {}).update(dict.fromkeys(shrink.ranks))
    return changes


def moved(preempt: Preempt) -> dict[AskId, dict[int, NodeId | None]]:
    """By ask, the ranks that move for the heir, and where to."""
    changes: dict[AskId, dict[int, NodeId | None]] = {}
    for move in preempt.moves:
        changes.setdefault(move.ask_id, {})[move.rank] = move.node_id
    return changes
