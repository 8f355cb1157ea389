"""Flavors: naming kinds of capacity, and which present node is of which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controlplane.domain.claims import CLAIM_LABEL, CapacityType, Claim
from controlplane.domain.clusters import Cluster, Node
from controlplane.domain.errors import Conflict, NotFound
from controlplane.domain.flavors import Capacity, Flavor, flavor_of
from controlplane.domain.ids import ClaimId, ClusterId, NodeId
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once, write_once
from controlplane.store import Tx
from schedulers.base import DEFAULT_FLAVOR


@dataclass(frozen=True, slots=True, kw_only=True)
class FlavorView:
    flavor: Flavor
    nodes: int
    """Present ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """All that says which node is of which flavor, of one moment."""

    flavors: Sequence[Flavor]
    clusters: Mapping[ClusterId, Cluster]
    claims: Mapping[ClaimId, Claim]

    @classmethod
    def load(cls, tx: Tx) -> "Naming":
        return cls(
            flavors=tx.quotas.flavors(),
            clusters={cluster.id: cluster for cluster in tx.clusters.list(None, None)},
            claims={claim.id: claim for claim in tx.claims.live()},
        )

    def of(self, node: Node) -> str:
        claim_id = claim_of(node)
        claim = None if claim_id is None else self.claims.get(claim_id)
        cluster = self.clusters.get(node.cluster_id)
        capacity = Capacity(
            cluster="" if cluster is None else cluster.name,
            accelerator=node.accelerator,
            capacity_type=CapacityType.OWNED if claim is None else claim.capacity_type,
            labels=dict(node.labels),
        )
        return flavor_of(capacity, self.flavors, default=DEFAULT_FLAVOR)


def claim_of(node: Node) -> ClaimId | None:
    """The claim that it was bought for."""
    found = dict(node.labels).get(CLAIM_LABEL)
    return None if found is None else ClaimId(found)


def by_node(tx: Tx) -> dict[NodeId, str]:
    """Of every present node."""
    naming = Naming.load(tx)
    return {node.id: naming.of(node) for node in tx.nodes.present(None)}


def put(
    context: Context, principal: Principal, flavor: Flavor, *, once: Once[FlavorView] | None = None
) -> FlavorView:
    """Adds or replaces it. What runs is counted under its new name from then on."""
    authorize(principal, Action.EDIT_QUOTAS)

    def unit(tx: Tx) -> FlavorView:
        tx.quotas.put_flavor(flavor, by=principal.name)
        return _view(tx, flavor)

    return write_once(context.store, unit, once)


def remove(
    context: Context, principal: Principal, name: str, *, once: Once[FlavorView] | None = None
) -> FlavorView:
    """Raises `Conflict` while a quota names it."""
    authorize(principal, Action.EDIT_QUOTAS)

    def unit(tx: Tx) -> FlavorView:
        tx.quotas.hold()
        known = next((each for each in tx.quotas.flavors() if each.name == name), None)
        if known is None:
            raise NotFound(f"there is no flavor {name!r}", field="name", value=name)
        users = [
            node.queue.name
            for node in tx.quotas.nodes()
            if name in node.queue.flavors or any(quota.cell.flavor == name for quota in node.queue.quotas)
        ]
        if users:
            raise Conflict(
                f"flavor {name!r} is named by the quotas of {', '.join(users)}", field="name", value=name
            )
        tx.quotas.remove_flavor(name, by=principal.name)
        return FlavorView(flavor=known, nodes=0)

    return write_once(context.store, unit, once)


def listed(context: Context, principal: Principal) -> list[FlavorView]:
    """By name."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        return [_view(tx, flavor) for flavor in sorted(tx.quotas.flavors(), key=lambda each: each.name)]


def _view(tx: Tx, flavor: Flavor) -> FlavorView:
    return FlavorView(flavor=flavor, nodes=list(by_node(tx).values()).count(flavor.name))
