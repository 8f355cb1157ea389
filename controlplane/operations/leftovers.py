"""Leftovers: what purchases left behind beside machines, whose it was, and why it is still there."""

from dataclasses import dataclass

from controlplane.domain.claims import SHARED
from controlplane.domain.ids import ProjectId
from controlplane.domain.leftovers import Stray
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.lookups import project_names
from controlplane.store import StrayPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class StrayView:
    stray: Stray
    cluster_name: str
    project_name: str | None
    """Of the claim that left it behind; None: it was for all projects, or is not known."""

    cost_millionths: int | None
    """Since it was first listed. None: nothing, or nobody knows."""


def listed(
    context: Context, principal: Principal, *, after: StrayPlace | None, limit: int
) -> list[StrayView]:
    """By cluster, kind, zone and name. They are of the fleet: who sees one project only may not see them."""
    authorize(principal, Action.EDIT_CLUSTERS)
    with context.store.read() as tx:
        found = tx.strays.list(after, limit)
        clusters = {each: tx.clusters.get(each) for each in {stray.cluster_id for stray in found}}
        claims = {stray.claim_id: tx.claims.get(stray.claim_id) for stray in found if stray.claim_id}
        owners = {
            claim.id: ProjectId(claim.trust_domain)
            for claim in claims.values()
            if claim is not None and claim.trust_domain != SHARED
        }
        names = project_names(tx, frozenset(owners.values()))
        return [
            StrayView(
                stray=stray,
                cluster_name=stray.cluster_id if cluster is None else cluster.name,
                project_name=None if stray.claim_id not in owners else names.get(owners[stray.claim_id]),
                cost_millionths=stray.cost_millionths(tx.now),
            )
            for stray in found
            for cluster in (clusters[stray.cluster_id],)
        ]
