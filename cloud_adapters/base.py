"""The capacity ports, and all that a plugin needs of Crossdock.

Adapters are thin, stateless and synchronous: they never sleep for luck, retry, cache or log secrets; the loops own
those. They raise only `PluginError`s. Every call takes a deadline in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, runtime_checkable

from controlplane.domain.addresses import is_loopback, is_metadata
from controlplane.domain.amounts import MILLI, Amounts, custom_amounts
from controlplane.domain.claims import CLAIM_LABEL, MACHINE_LABEL, SHARED, CapacityType, Share
from controlplane.domain.clusters import DIRECT, Endpoint, Route, Taint
from controlplane.domain.errors import (
    Ambiguous,
    AuthFailed,
    NoCapacity,
    PluginError,
    QuotaExceeded,
    Rejected,
    Throttled,
    Transient,
)

__all__ = [
    "CLAIM_LABEL",
    "DIRECT",
    "MACHINE_LABEL",
    "MILLI",
    "Ambiguous",
    "Amounts",
    "AuthFailed",
    "Boot",
    "Builds",
    "Built",
    "CapacityType",
    "ClusterRef",
    "Endpoint",
    "Hosts",
    "Inventory",
    "LaunchOrder",
    "Leftover",
    "LeftoverKind",
    "Lends",
    "Machine",
    "MachineState",
    "Member",
    "NoCapacity",
    "Offer",
    "OwnedMachine",
    "PluginError",
    "Price",
    "QuotaExceeded",
    "Rejected",
    "Renews",
    "Route",
    "Sells",
    "Share",
    "Sweeps",
    "Taint",
    "Termination",
    "Throttled",
    "Transient",
    "custom_amounts",
    "is_loopback",
    "is_metadata",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRef:
    """The cluster a call is about."""

    id: str
    name: str
    endpoint: Endpoint | None
    """None until the adapter or the operator has said where it listens."""

    settings: tuple[tuple[str, str], ...] = ()
    secret: str | None = field(default=None, repr=False)
    """What opens the account or the API server, as it was registered: a kubeconfig, or a JSON object of keys.

    None: whatever the surroundings of the server grant (a role, a service account).
    """

    route: Route = DIRECT
    """How a cluster without an endpoint of its own is dialled: its API server, for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A node as the cluster reports it."""

    name: str
    host: str
    allocatable: Amounts
    used: Amounts = field(default_factory=Amounts)
    """By anybody, ours included."""

    ours: Amounts | None = None
    """Of `used`, what bears our tag. None: the cluster cannot tell, and the caller takes it for what is booked."""

    accelerator: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[Taint, ...] = ()
    is_schedulable: bool = True
    """False: the cluster's own operator keeps new work off it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    machines: tuple[Machine, ...]
    complete: bool
    """True: a machine that is not listed does not exist. False: `machines` are changes only."""

    session: str
    """The cluster's present session (Ray's session name, a Kubernetes cluster's uid)."""

    problems: tuple[str, ...] = ()
    """What we may not see or do there, a sentence each, naming the missing permission."""


@runtime_checkable
class Lends(Protocol):
    """A cluster that exists and whose nodes we may use beside others."""

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        """Lists the nodes. Raises `Transient` when the cluster does not answer, `AuthFailed` on a refused token."""


@runtime_checkable
class Hosts(Protocol):
    """An adapter that starts and owns the cluster itself, on this machine."""

    def boot(self, cluster: ClusterRef, *, deadline: float) -> Endpoint:
        """Starts the cluster unless it runs already, keeps it alive for a while longer, and says where it listens.

        Idempotent by cluster id. Called again and again: an owner that stops calling lets the cluster end by itself.
        """

    def shut_down(self, cluster: ClusterRef, *, deadline: float) -> None:
        """Ends every process of the cluster. Idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Of one machine for one hour."""

    amount: Decimal
    currency: str
    """ISO 4217."""

    as_of: datetime
    is_verified: bool
    """True: the provider itself said so, then. False: from a table that shipped with the adapter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A kind of machine that can be ordered in one zone under one capacity type. Says nothing about stock."""

    machine_type: str
    zone: str
    capacity_type: CapacityType
    amounts: Amounts
    """What tasks may use of one machine."""

    accelerator: str | None = None
    price: Price | None = None
    """None: nobody knows."""

    boot_seconds: float = 300.0
    """From order to first task, as usually seen."""

    interruptions_per_hour: float = 0.0
    """How often spot machines of this kind are taken back, as far as known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """What a bought machine needs to find the control plane when it boots; equal in every call for one launch.

    `cloud_adapters.boot.user_data` turns it into the text that a cloud hands to the machine.
    """

    urls: tuple[str, ...]
    token: str = field(repr=False)
    """Opens the machine's own door of the control plane, for this launch and nothing else."""

    ca_pem: str | None = None
    """Vouches for the control plane where the system's certificates do not."""

    dead_man_seconds: float = 3600.0
    """A machine that could not reach the control plane for so long ends itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOrder:
    """One purchase. Two calls with one `launch_id` are one purchase; any other purchase has another id."""

    cluster: ClusterRef
    """The cluster that the machines join."""

    claim_id: str
    launch_id: str
    """The client token, and the name of what is made."""

    zone: str
    machine_type: str
    capacity_type: CapacityType
    machines: int
    shares: tuple[Share, ...] = ()
    """For an adapter that `Builds`: on which nodes, one member each; `machines` is their number."""

    trust_domain: str = SHARED
    reservation: str | None = None
    """The provider's id of a reservation that the machines come from."""

    boot: Boot | None = None
    """None: the machines find their cluster in another way."""


class MachineState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    """On its way out, and not coming back; still there, and still billed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedMachine:
    """A machine as the cloud that sold it knows it: tagged with the claim and the launch it was bought for."""

    name: str
    zone: str
    claim_id: str
    launch_id: str
    state: MachineState
    host: str | None = None
    """None while the cloud has given it no address."""

    problem: str | None = None
    """Why it does not come up, or is being taken back, in the cloud's words."""


class Termination(StrEnum):
    """What became of a claim's machines, as far as the cloud sees."""

    GONE = "gone"
    """Machines of it were seen, and all of those have ended."""

    GOING = "going"
    """Some have not ended yet; each was told to."""

    UNSEEN = "unseen"
    """None is seen. Proves nothing before the list lag since the last launch has passed."""


@runtime_checkable
class Sells(Protocol):
    """A cloud that machines are bought from, or a cluster that builds Ray clusters on nodes that it lends.

    Any call may raise `Transient`, `Throttled` or `AuthFailed`.
    """

    @property
    def list_lag(self) -> timedelta:
        """After this time every machine of an `ensure` is listed, also of one whose answer was lost."""

    def offers(self, cluster: ClusterRef, *, deadline: float) -> tuple[Offer, ...]:
        """What could be ordered, sorted by (type, zone, capacity type). Never empty because something failed."""

    def ensure(self, launch: LaunchOrder, *, deadline: float) -> tuple[OwnedMachine, ...]:
        """Buys all machines of the launch, or none. Idempotent: a second call answers the machines of the first.

        Each is tagged at birth with the cluster, the claim and the launch. Raises `NoCapacity`,
        `QuotaExceeded` or `Rejected` with nothing kept; `Ambiguous` when it may have happened; `Transient` when surely
        not.
        """

    def release(self, cluster: ClusterRef, claim_id: str, members: Sequence[str], *, deadline: float) -> None:
        """Ends these machines of a claim. Those that do not exist any more are fine."""

    def terminate(self, cluster: ClusterRef, claim_id: str, *, deadline: float) -> Termination:
        """Ends every machine of the claim that is seen. Called again until it says that none is left."""

    def list_owned(self, cluster: ClusterRef, *, deadline: float) -> tuple[OwnedMachine, ...]:
        """All machines with our tag that belong to the cluster, sorted by name. Complete or raises; may lag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A Ray node of a built cluster, and the lent node that it really is on."""

    name: str
    """Of the machine, as `list_owned` has it."""

    ray_node_id: str
    node_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A Ray cluster that stands: where it listens, and who its members are."""

    endpoint: Endpoint
    members: tuple[Member, ...]


@runtime_checkable
class Builds(Protocol):
    """A seller whose purchases are Ray clusters on the booked nodes of the cluster that it also lends."""

    def built(self, cluster: ClusterRef, claim_id: str, *, deadline: float) -> Built:
        """Raises `Transient` until its Ray answers and every member of it has joined."""


class LeftoverKind(StrEnum):
    """What a purchase may leave behind beside machines. Each may cost money or stand in the way."""

    DISK = "disk"
    ADDRESS = "address"
    NETWORK_INTERFACE = "network_interface"
    SECURITY_GROUP = "security_group"
    PLACEMENT_GROUP = "placement_group"
    LAUNCH_TEMPLATE = "launch_template"
    SPOT_REQUEST = "spot_request"
    OBJECT = "object"
    """A Kubernetes object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A thing with our tag that is no machine."""

    kind: LeftoverKind
    name: str
    zone: str
    """Or region, where it has no zone."""

    claim_id: str | None
    """None: it belongs to the cluster as a whole."""

    created_at: datetime | None = None
    hourly: Price | None = None
    """What it costs while it is there. None: nothing, or nobody knows."""


@runtime_checkable
class Sweeps(Protocol):
    """A seller whose purchases consist of more than machines."""

    def leftovers(self, cluster: ClusterRef, *, deadline: float) -> tuple[Leftover, ...]:
        """All that carry our tag, in every region of the cluster, sorted. Complete or raises; may lag."""

    def remove(self, cluster: ClusterRef, leftover: Leftover, *, deadline: float) -> None:
        """Absent is fine. Raises `Rejected` when the cloud will not let it go, in the cloud's words."""


@runtime_checkable
class Renews(Protocol):
    """A cloud that ends machines by itself at a set time, unless the time is moved."""

    def renew(self, cluster: ClusterRef, claim_id: str, *, until: datetime, deadline: float) -> None:
        """Moves the end of all machines of the claim to `until`. Idempotent; earlier than before is fine.

        Raises what the first said that was refused, after all were asked.
        """
