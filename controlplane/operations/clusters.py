"""Clusters and nodes: registering capacity, and the operator's words about it.

What the operator asks for is written down; the reconcile loop does it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from controlplane.domain.addresses import is_loopback
from controlplane.domain.amounts import Amounts, total
from controlplane.domain.clusters import Cluster, ClusterState, Node
from controlplane.domain.errors import Conflict, Invalid
from controlplane.domain.events import Event
from controlplane.domain.ids import ClusterId, NodeId
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.endpoints import seal
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.lookups import cluster_for
from controlplane.operations.services import Services
from controlplane.store import Tx
from controlplane.wire.admin import ClusterCreate

LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    cluster: Cluster
    nodes: int
    """Present ones."""

    capacity: Amounts
    booked: Amounts


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    node: Node
    cluster_name: str
    booked: Amounts


ClusterOnce = Once[ClusterView] | None


def register(
    services: Services, principal: Principal, wanted: ClusterCreate, *, once: ClusterOnce = None
) -> ClusterView:
    """The reconcile loop takes it from here: the cluster is pending until it has been seen."""
    authorize(principal, Action.EDIT_CLUSTERS)
    _check(services, wanted)
    cluster_id = ClusterId(services.ids.new("cluster"))
    token = wanted.token.get_secret_value() if wanted.token is not None else None

    def unit(tx: Tx) -> ClusterView:
        if tx.clusters.by_name(wanted.name) is not None:
            raise Conflict(f"there is a cluster {wanted.name!r} already", field="name", value=wanted.name)
        cluster = Cluster(
            id=cluster_id,
            name=wanted.name,
            adapter=wanted.adapter,
            state=ClusterState.PENDING,
            since=tx.now,
            created_at=tx.now,
            url=wanted.url,
            secret_id=seal(services, tx, token) if token is not None else None,
            gpu_resource=wanted.gpu_resource,
            settings=_settings(services, wanted, cluster_id),
        )
        tx.clusters.add(cluster)
        tx.work.poke("cluster", cluster.id)
        tx.work.poke("orphan", cluster.id)
        tx.work.poke("leftover", cluster.id)
        return _view(tx, cluster)

    return write_once(services.store, unit, once)


def cordon(
    services: Services, principal: Principal, cluster: str, *, once: ClusterOnce = None
) -> ClusterView:
    """No new tasks; what runs there runs on."""
    return _edit(
        services,
        principal,
        cluster,
        lambda tx, old: replace(old, cordoned_at=old.cordoned_at or tx.now),
        kind="cluster.cordoned",
        once=once,
    )


def uncordon(
    services: Services, principal: Principal, cluster: str, *, once: ClusterOnce = None
) -> ClusterView:
    return _edit(
        services,
        principal,
        cluster,
        lambda _, old: replace(old, cordoned_at=None),
        kind="cluster.uncordoned",
        once=once,
    )


def drain(services: Services, principal: Principal, cluster: str, *, once: ClusterOnce = None) -> ClusterView:
    """Moves its tasks off and keeps it empty."""
    return _edit(
        services,
        principal,
        cluster,
        lambda tx, old: replace(old, drain_requested_at=old.drain_requested_at or tx.now),
        kind="cluster.drain_requested",
        once=once,
    )


def undrain(
    services: Services, principal: Principal, cluster: str, *, once: ClusterOnce = None
) -> ClusterView:
    return _edit(
        services,
        principal,
        cluster,
        lambda _, old: replace(old, drain_requested_at=None),
        kind="cluster.undrain_requested",
        once=once,
    )


def detach(
    services: Services, principal: Principal, cluster: str, *, once: ClusterOnce = None
) -> ClusterView:
    """Takes it off our books. On one that does not answer, this is the operator's word that nothing runs there."""
    return _edit(
        services,
        principal,
        cluster,
        lambda tx, old: replace(old, detach_requested_at=old.detach_requested_at or tx.now),
        kind="cluster.detach_requested",
        once=once,
    )


def get(services: Services, principal: Principal, id_or_name: str) -> ClusterView:
    authorize(principal, Action.READ)
    with services.store.read() as tx:
        return _view(tx, cluster_for(tx, id_or_name))


def listed(services: Services, principal: Principal, *, after: str | None, limit: int) -> list[ClusterView]:
    authorize(principal, Action.READ)
    with services.store.read() as tx:
        return [_view(tx, cluster) for cluster in tx.clusters.list(after, limit)]


def nodes(
    services: Services, principal: Principal, id_or_name: str | None, *, after: str | None, limit: int
) -> list[NodeView]:
    """By id, from behind the node `after`; of one cluster or of all."""
    authorize(principal, Action.READ)
    with services.store.read() as tx:
        cluster_id = cluster_for(tx, id_or_name).id if id_or_name is not None else None
        names = {cluster.id: cluster.name for cluster in tx.clusters.list()}
        booked = tx.nodes.booked(cluster_id)
        found = tx.nodes.list(cluster_id, NodeId(after) if after else None, limit)
        return [_node_view(node, names, booked) for node in found]


def _node_view(node: Node, names: Mapping[ClusterId, str], booked: Mapping[NodeId, Amounts]) -> NodeView:
    return NodeView(
        node=node,
        cluster_name=names.get(node.cluster_id, node.cluster_id),
        booked=booked.get(node.id, Amounts()),
    )


def _edit(
    services: Services,
    principal: Principal,
    id_or_name: str,
    change: Callable[[Tx, Cluster], Cluster],
    *,
    kind: str,
    once: ClusterOnce,
) -> ClusterView:
    """Saying the same again changes nothing."""
    authorize(principal, Action.EDIT_CLUSTERS)

    def unit(tx: Tx) -> ClusterView:
        old = cluster_for(tx, id_or_name)
        if old.state is ClusterState.DETACHED:
            raise Conflict(f"cluster {old.name} is detached", field="state", value=str(old.state))
        new = change(tx, old)
        if new == old:
            return _view(tx, old)
        saved = replace(new, version=old.version + 1)
        tx.clusters.save(saved)
        tx.events.add(Event(kind=kind, subject=old.id, at=tx.now, data={"by": principal.name}))
        tx.work.poke("cluster", old.id)
        return _view(tx, saved)

    return write_once(services.store, unit, once)


def _settings(
    services: Services, wanted: ClusterCreate, cluster_id: ClusterId
) -> tuple[tuple[str, str], ...]:
    """An embedded cluster keeps its files in our home unless told otherwise."""
    own = (
        {"directory": str(services.settings.home / "clusters" / cluster_id)}
        if wanted.adapter == LOCAL
        else {}
    )
    return tuple(sorted((own | wanted.settings).items()))


def _view(tx: Tx, cluster: Cluster) -> ClusterView:
    present = tx.nodes.present(cluster.id)
    return ClusterView(
        cluster=cluster,
        nodes=len(present),
        capacity=total(node.allocatable for node in present),
        booked=total(tx.nodes.booked(cluster.id).values()),
    )


def _check(services: Services, wanted: ClusterCreate) -> None:
    if wanted.adapter not in services.adapters:
        known = ", ".join(sorted(services.adapters))
        raise Invalid(
            "no such capacity plugin is installed", field="adapter", value=wanted.adapter, limit=known
        )
    if wanted.adapter == LOCAL and wanted.url is not None:
        raise Invalid("the embedded cluster chooses its own address", field="url", value=wanted.url)
    if wanted.adapter != LOCAL:
        _check_url(wanted.url)


def _check_url(url: str | None) -> None:
    """A Ray token is full code execution: it never crosses a network in the clear."""
    if url is None:
        raise Invalid("is needed: the address of the cluster's Ray dashboard", field="url")
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        raise Invalid(f"is not an address: {error}", field="url", value=url) from error
    if not host or parts.username is not None or parts.password is not None:
        raise Invalid("needs a host, and no user or password in it", field="url")
    if parts.scheme == "http" and not is_loopback(host):
        raise Invalid("plain http is for loopback only; use https", field="url", value=url, limit="loopback")
