"""Offers: what the clouds of clusters sell, as they last said, and having them asked again."""

from dataclasses import dataclass

from controlplane.domain.ids import ClusterId
from controlplane.domain.offers import KnownOffer
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.lookups import cluster_for

Place = tuple[str, str, str, str]
"""Cluster id, machine type, zone, capacity type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferView:
    offer: KnownOffer
    cluster_name: str


def listed(
    context: Context, principal: Principal, *, cluster: str | None, after: Place | None, limit: int
) -> list[OfferView]:
    """By cluster, machine type, zone and capacity type."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        cluster_id = cluster_for(tx, cluster).id if cluster is not None else None
        found = tx.offers.list(cluster_id, after=after, limit=limit)
        names = {each.id: each.name for each in tx.clusters.list()}
        return [
            OfferView(offer=each, cluster_name=names.get(ClusterId(each.cluster_id), each.cluster_id))
            for each in found
        ]
