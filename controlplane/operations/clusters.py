"""Clusters and nodes: registering capacity, and the operator's words about it.

What the operator asks for is written down; the reconcile loop does it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from controlplane.domain.amounts import Amounts, total
from controlplane.domain.clusters import Cluster, ClusterState, Node
from controlplane.domain.errors import Conflict, Invalid
from controlplane.domain.events import Event
from controlplane.domain.ids import ClusterId, NodeId
from controlplane.domain.offers import OfferList
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.agents import check_via
from controlplane.operations.context import Context
from controlplane.operations.dialable import check_setting, check_url
from controlplane.operations.endpoints import seal
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.lookups import cluster_for
from controlplane.operations.transfers import EGRESS_PER_GIB, check_egress
from controlplane.store import Tx
from controlplane.wire.admin import ClusterCreate

LOCAL: Final = "local"
RAY: Final = "ray"
KUBERNETES: Final = "kubernetes"
SELL_NOTHING: Final = frozenset({LOCAL, RAY})
BEHIND_AGENTS: Final = frozenset({KUBERNETES, RAY})
OWN_ADDRESS: Final = frozenset({"alibaba", "aws", KUBERNETES, LOCAL})
"""Plugins that are told no url: it is in their secret, or a part of the cloud, or theirs to choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    cluster: Cluster
    nodes: int
    """Present ones."""

    capacity: Amounts
    booked: Amounts
    foreign: Amounts
    """Used by work that is not ours."""

    offers: OfferList
    """How its cloud's offers were last asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    node: Node
    cluster_name: str
    booked: Amounts


ClusterOnce = Once[ClusterView] | None


def register(
    context: Context, principal: Principal, wanted: ClusterCreate, *, once: ClusterOnce = None
) -> ClusterView:
    """The reconcile loop takes it from here: the cluster is pending until it has been seen."""
    authorize(principal, Action.EDIT_CLUSTERS)
    _check(context, wanted)
    cluster_id = ClusterId(context.ids.new("cluster"))
    given = wanted.token or wanted.secret
    secret = given.get_secret_value() if given is not None else None

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
            secret_id=seal(context, tx, secret) if secret is not None else None,
            gpu_resource=wanted.gpu_resource,
            settings=_settings(context, wanted, cluster_id),
        )
        tx.clusters.add(cluster)
        tx.work.poke("cluster", cluster.id)
        tx.work.poke("orphan", cluster.id)
        tx.work.poke("leftover", cluster.id)
        tx.work.poke("offer", cluster.id)
        return _view(tx, cluster)

    return write_once(context.store, unit, once)


def change_secret(
    context: Context, principal: Principal, cluster: str, secret: str, *, once: ClusterOnce = None
) -> ClusterView:
    """What opens it from now on: a token where it has a url, else a kubeconfig or keys. The old one is forgotten.

    Raises `Conflict` on the embedded cluster, which makes its own.
    """
    authorize(principal, Action.EDIT_CLUSTERS)

    def unit(tx: Tx) -> ClusterView:
        old = _attached(tx, cluster)
        if old.adapter == LOCAL:
            raise Conflict(
                f"cluster {old.name} is embedded and makes its own token", field="adapter", value=LOCAL
            )
        secret_id = seal(context, tx, secret, secret_id=old.secret_id)
        new = replace(old, secret_id=secret_id, problem=None)
        tx.work.poke("offer", old.id)
        return _saved(tx, principal, new, kind="cluster.secret_changed")

    return write_once(context.store, unit, once)


def refresh_offers(
    context: Context, principal: Principal, cluster: str, *, once: ClusterOnce = None
) -> ClusterView:
    """Has the cluster's cloud asked soon what it sells. Where nothing is sold, nothing comes of it."""
    authorize(principal, Action.EDIT_CLUSTERS)

    def unit(tx: Tx) -> ClusterView:
        found = _attached(tx, cluster)
        tx.work.poke("offer", found.id)
        return _view(tx, found)

    return write_once(context.store, unit, once)


def cordon(context: Context, principal: Principal, cluster: str, *, once: ClusterOnce = None) -> ClusterView:
    """No new tasks; what runs there runs on."""
    return _edit(
        context,
        principal,
        cluster,
        lambda tx, old: replace(old, cordoned_at=old.cordoned_at or tx.now),
        kind="cluster.cordoned",
        once=once,
    )


def uncordon(
    context: Context, principal: Principal, cluster: str, *, once: ClusterOnce = None
) -> ClusterView:
    return _edit(
        context,
        principal,
        cluster,
        lambda _, old: replace(old, cordoned_at=None),
        kind="cluster.uncordoned",
        once=once,
    )


def drain(context: Context, principal: Principal, cluster: str, *, once: ClusterOnce = None) -> ClusterView:
    """Moves its tasks off and keeps it empty."""
    return _edit(
        context,
        principal,
        cluster,
        lambda tx, old: replace(old, drain_requested_at=old.drain_requested_at or tx.now),
        kind="cluster.drain_requested",
        once=once,
    )


def undrain(context: Context, principal: Principal, cluster: str, *, once: ClusterOnce = None) -> ClusterView:
    return _edit(
        context,
        principal,
        cluster,
        lambda _, old: replace(old, drain_requested_at=None),
        kind="cluster.undrain_requested",
        once=once,
    )


def detach(context: Context, principal: Principal, cluster: str, *, once: ClusterOnce = None) -> ClusterView:
    """Takes it off our books. On one that does not answer, this is the operator's word that nothing runs there."""
    return _edit(
        context,
        principal,
        cluster,
        lambda tx, old: replace(old, detach_requested_at=old.detach_requested_at or tx.now),
        kind="cluster.detach_requested",
        once=once,
    )


def get(context: Context, principal: Principal, id_or_name: str) -> ClusterView:
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        return _view(tx, cluster_for(tx, id_or_name))


def listed(context: Context, principal: Principal, *, after: str | None, limit: int) -> list[ClusterView]:
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        return [_view(tx, cluster) for cluster in tx.clusters.list(after, limit)]


def nodes(
    context: Context, principal: Principal, id_or_name: str | None, *, after: str | None, limit: int
) -> list[NodeView]:
    """By id, from behind the node `after`; of one cluster or of all."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
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
    context: Context,
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
        old = _attached(tx, id_or_name)
        new = change(tx, old)
        return _view(tx, old) if new == old else _saved(tx, principal, new, kind=kind)

    return write_once(context.store, unit, once)


def _attached(tx: Tx, id_or_name: str) -> Cluster:
    cluster = cluster_for(tx, id_or_name)
    if cluster.state is ClusterState.DETACHED:
        raise Conflict(f"cluster {cluster.name} is detached", field="state", value=str(cluster.state))
    return cluster


def _saved(tx: Tx, principal: Principal, changed: Cluster, *, kind: str) -> ClusterView:
    saved = replace(changed, version=changed.version + 1)
    tx.clusters.save(saved)
    tx.events.add(Event(kind=kind, subject=saved.id, at=tx.now, data={"by": principal.name}))
    tx.work.poke("cluster", saved.id)
    return _view(tx, saved)


def _settings(context: Context, wanted: ClusterCreate, cluster_id: ClusterId) -> tuple[tuple[str, str], ...]:
    """An embedded cluster keeps its files in our home unless told otherwise."""
    own = (
        {"directory": str(context.settings.home / "clusters" / cluster_id)} if wanted.adapter == LOCAL else {}
    )
    return tuple(sorted((own | wanted.settings).items()))


def _view(tx: Tx, cluster: Cluster) -> ClusterView:
    present = tx.nodes.present(cluster.id)
    return ClusterView(
        cluster=cluster,
        nodes=len(present),
        capacity=total(node.allocatable for node in present),
        booked=total(tx.nodes.booked(cluster.id).values()),
        foreign=total(node.foreign for node in present),
        offers=tx.offers.asked(cluster.id),
    )


def _check(context: Context, wanted: ClusterCreate) -> None:
    if wanted.adapter not in context.adapters:
        known = ", ".join(sorted(context.adapters))
        raise Invalid(
            "no such capacity plugin is installed", field="adapter", value=wanted.adapter, limit=known
        )
    is_far = check_via(context, wanted.settings)
    if is_far and wanted.adapter not in BEHIND_AGENTS:
        limit = ", ".join(sorted(BEHIND_AGENTS))
        raise Invalid("needs no agent", field="adapter", value=wanted.adapter, limit=limit)
    if wanted.url is not None:
        if wanted.adapter in OWN_ADDRESS:
            raise Invalid(
                f"{wanted.adapter} finds its own address; it takes no url", field="url", value=wanted.url
            )
        check_url(context.settings, wanted.url, is_far=is_far)
    elif wanted.adapter == RAY:
        raise Invalid("is needed: the address of the cluster's Ray dashboard", field="url")
    for name, value in wanted.settings.items():
        check_setting(context.settings, name, value)
    if EGRESS_PER_GIB in wanted.settings and wanted.adapter in SELL_NOTHING:
        raise Invalid(
            "is for clusters whose cloud sells machines",
            field=f"settings.{EGRESS_PER_GIB}",
            value=wanted.settings[EGRESS_PER_GIB],
        )
    check_egress(wanted.settings)
    _check_secrets(wanted)


def _check_secrets(wanted: ClusterCreate) -> None:
    """A cluster at an address is opened by its token; any other by its secret."""
    if wanted.token is not None and wanted.url is None:
        raise Invalid("goes with a url; what opens an account or an API server is a `secret`", field="token")
    if wanted.secret is not None and (wanted.url is not None or wanted.adapter == LOCAL):
        raise Invalid("is for clusters that have no url and are not embedded", field="secret")
