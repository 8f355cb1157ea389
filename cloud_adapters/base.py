"""The capacity ports, and all that a plugin needs of Crossdock.

Adapters are thin, stateless and synchronous: they never sleep for luck, retry, cache or log secrets; the loops own
those. They raise only `PluginError`s. Every call takes a deadline in seconds.
"""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from controlplane.domain.addresses import is_loopback
from controlplane.domain.amounts import MILLI, Amounts, custom_amounts
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
    "MILLI",
    "Ambiguous",
    "Amounts",
    "AuthFailed",
    "ClusterRef",
    "Endpoint",
    "Hosts",
    "Inventory",
    "Lends",
    "Machine",
    "NoCapacity",
    "PluginError",
    "QuotaExceeded",
    "Rejected",
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
