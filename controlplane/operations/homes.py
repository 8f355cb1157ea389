"""Homes: which Ray cluster a node belongs to, its cluster's own or the one that its claim's machines form."""

from collections.abc import Mapping

from controlplane.domain.claims import CLAIM_LABEL, Claim
from controlplane.domain.clusters import Node
from controlplane.domain.ids import ClaimId, ClusterId
from controlplane.store import Tx


def sited(tx: Tx, cluster_id: ClusterId | None = None) -> dict[ClaimId, Claim]:
    """Live claims whose bought machines form a Ray cluster of their own."""
    claims = {claim.id: claim for claim in tx.claims.live(cluster_id) if not claim.shares}
    return {each: claims[each] for each in tx.sites.many(list(claims))}


def home_of(node: Node, sites: Mapping[ClaimId, Claim]) -> str:
    """Id of the claim, or of the cluster."""
    claim_id = dict(node.labels).get(CLAIM_LABEL)
    return claim_id if claim_id is not None and ClaimId(claim_id) in sites else node.cluster_id
