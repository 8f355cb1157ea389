"""Clusters and nodes: capacity behind one endpoint, and the machines it is made of."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from controlplane.domain.amounts import Amounts
from controlplane.domain.copies import replace
from controlplane.domain.ids import ClusterId, NodeId, SecretId
from controlplane.domain.lifecycles import Lifecycle, to


class ClusterState(StrEnum):
    PENDING = "pending"
    """Registered; not seen yet."""

    READY = "ready"
    UNREACHABLE = "unreachable"
    """Did not answer for `unreachable_after`. Nothing new is placed; nothing running is touched."""

    DRAINING = "draining"
    """The operator wants it empty."""

    DETACHED = "detached"
    """Gone from our books, by the operator's word."""


CLUSTER: Final = Lifecycle(
    noun="cluster",
    initial=ClusterState.PENDING,
    edges={
        ClusterState.PENDING: to(ClusterState.READY, ClusterState.DETACHED),
        ClusterState.READY: to(ClusterState.UNREACHABLE, ClusterState.DRAINING),
        ClusterState.UNREACHABLE: to(ClusterState.READY, ClusterState.DRAINING, ClusterState.DETACHED),
        ClusterState.DRAINING: to(ClusterState.READY, ClusterState.DETACHED),
        ClusterState.DETACHED: to(),
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How an endpoint is dialled when its URL alone does not say."""

    ca_pem: str | None = None
    """Certificates that alone vouch for the server; None: those of the system."""

    server_name: str | None = None
    """The name in the server's certificate, where the URL has a bare address."""

    client_pem: str | None = field(default=None, repr=False)
    """Our certificate and its key, for a server that asks for one."""

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """For whoever passes the call on, such as a Kubernetes API server."""

    proxy_url: str | None = field(default=None, repr=False)
    """The near end of a tunnel, an HTTP proxy on loopback."""


DIRECT: Final = Route()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """How a cluster's Ray is reached, and what its numbers are called there."""

    url: str
    """Base of the dashboard's HTTP address, e.g. `http://127.0.0.2:8265`."""

    token: str | None = field(default=None, repr=False)
    token_header: str = "Authorization"  # noqa: S105 # a name
    """Behind a proxy that takes that one for itself: `X-Ray-Authorization`."""

    route: Route = DIRECT
    gpu_resource: str = "GPU"
    """The Ray resource that counts GPUs; the embedded cluster's GPUs are logical: `logical_gpu`."""

    session: str | None = None
    """Ray's session name as last seen; another name means that everything before it is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    id: ClusterId
    name: str
    adapter: str
    """Name of the capacity plugin: `local`, `ray`."""

    state: ClusterState
    since: datetime
    created_at: datetime
    version: int = 1
    url: str | None = None
    """None while the adapter has not said where the cluster listens."""

    secret_id: SecretId | None = None
    """Where its Ray token lies, encrypted."""

    gpu_resource: str = "GPU"
    session: str | None = None
    trust_domain: str = "shared"
    """Projects whose attempts may meet on this cluster. `shared`: all of them."""

    settings: tuple[tuple[str, str], ...] = ()
    """The adapter's own options, sorted by name."""

    cordoned_at: datetime | None = None
    drain_requested_at: datetime | None = None
    detach_requested_at: datetime | None = None
    last_seen_at: datetime | None = None
    """The last complete inventory."""

    problem: str | None = None
    """What the last call said when it failed, for people."""

    warnings: tuple[str, ...] = ()
    """What we may not see or do there, as the last inventory said, a sentence each."""

    came_from: str = "-"

    def move(self, new: ClusterState, *, at: datetime) -> Self:
        CLUSTER.check(self.state, new)
        return replace(self, state=new, came_from=str(self.state), since=at, version=self.version + 1)

    @property
    def takes_tasks(self) -> bool:
        return (
            self.state is ClusterState.READY and self.cordoned_at is None and self.drain_requested_at is None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    """Keeps tasks off a node unless they tolerate it. As in Kubernetes."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine of a cluster, as its inventory last described it."""

    id: NodeId
    cluster_id: ClusterId
    name: str
    """The cluster's own id for it (Ray's node id); unique per cluster among the present ones."""

    host: str
    allocatable: Amounts
    """What tasks of ours and of others may use in total."""

    foreign: Amounts
    """What is used by work that is not ours. Free = allocatable - foreign - seats."""

    accelerator: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    seen_at: datetime
    taints: tuple[Taint, ...] = ()
    cordoned_at: datetime | None = None
    leaving_at: datetime | None = None
    """Set when its provider or operator said that it is about to go: what runs there is moved off."""

    gone_at: datetime | None = None
    """Set when a complete inventory no longer had it."""
