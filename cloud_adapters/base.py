"""The capacity ports, and all that a plugin needs of Crossdock.

Adapters are thin, stateless and synchronous: they never sleep for luck, retry, cache or log secrets; the loops own
those. They raise only `PluginError`s. Every call takes a deadline in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Protocol, runtime_checkable

from controlplane.domain.addresses import is_loopback
from controlplane.domain.amounts import MILLI, Amounts, custom_amounts
from controlplane.domain.claims import CLAIM_LABEL, CapacityType
from controlplane.domain.clusters import Endpoint
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
    "MILLI",
    "Ambiguous",
    "Amounts",
    "AuthFailed",
    "CapacityType",
    "ClusterRef",
    "Endpoint",
    "Hosts",
    "Inventory",
    "LaunchOrder",
    "Lends",
    "Machine",
    "MachineState",
    "NoCapacity",
    "OwnedMachine",
    "PluginError",
    "QuotaExceeded",
    "Rejected",
    "Sells",
    "Termination",
    "Throttled",
    "Transient",
    "custom_amounts",
    "is_loopback",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRef:
    """The cluster a call is about."""

    id: str
    name: str
    endpoint: Endpoint | None
    """None until the adapter or the operator has said where it listens."""

    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A node as the cluster reports it."""

    name: str
    host: str
    allocatable: Amounts
    used: Amounts = field(default_factory=Amounts)
    """By anybody, ours included; the caller subtracts what is ours to find what is foreign."""

    accelerator: str | None = None
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    machines: tuple[Machine, ...]
    complete: bool
    """True: a machine that is not listed does not exist. False: `machines` are changes only."""

    session: str
    """The cluster's present session (Ray's session name)."""


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
    """A cloud that machines are bought from. What it sold shows up in the cluster's inventory.

    There, each machine has the label `CLAIM_LABEL` with the claim's id. Any call may raise `Transient`, `Throttled` or
    `AuthFailed`.
    """

    @property
    def list_lag(self) -> timedelta:
        """After this time every machine of an `ensure` is listed, also of one whose answer was lost."""

    def ensure(self, launch: LaunchOrder, *, deadline: float) -> tuple[OwnedMachine, ...]:
        """Buys all machines of the launch, or none. Idempotent: a second call answers the machines of the first.

        Raises `NoCapacity`, `QuotaExceeded` or `Rejected` with nothing kept; `Ambiguous` when it may have happened;
        `Transient` when surely not.
        """

    def release(self, cluster: ClusterRef, claim_id: str, members: Sequence[str], *, deadline: float) -> None:
        """Ends these machines of a claim. Those that do not exist any more are fine."""

    def terminate(self, cluster: ClusterRef, claim_id: str, *, deadline: float) -> Termination:
        """Ends every machine of the claim that is seen. Called again until it says that none is left."""

    def list_owned(self, cluster: ClusterRef, *, deadline: float) -> tuple[OwnedMachine, ...]:
        """All machines with our tag that belong to the cluster, sorted by name. Complete or raises; may lag."""
