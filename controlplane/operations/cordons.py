"""Cordons: a bought node takes tasks only while its claim is ready."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from controlplane.domain.claims import CLAIM_LABEL, Claim
from controlplane.domain.clusters import Node
from controlplane.domain.ids import ClaimId
from controlplane.store import Tx


def cordoned_by_claim(node: Node, claims: Mapping[ClaimId, Claim], *, at: datetime) -> Node:
    """As it should be, given the live claims of its cluster; a node that was not bought stays as it is."""
    claim_id = dict(node.labels).get(CLAIM_LABEL)
    if claim_id is None:
        return node
    claim = claims.get(ClaimId(claim_id))
    takes_tasks = claim is not None and claim.takes_tasks
    is_open = takes_tasks and node.leaving_at is None
    return replace(node, cordoned_at=None if is_open else node.cordoned_at or at)


def follow_claim(tx: Tx, claim: Claim) -> None:
    """Cordons or opens the nodes that do not agree with their claim, with the commit that moves it.

    Done at every look too: an inventory that was folded meanwhile may have known the claim in another state.
    """
    for node in nodes_of(tx, claim):
        right = cordoned_by_claim(node, {claim.id: claim}, at=tx.now)
        if right != node:
            tx.nodes.put(right)


def nodes_of(tx: Tx, claim: Claim) -> list[Node]:
    """Present ones, by id."""
    return tx.nodes.labelled(claim.cluster_id, CLAIM_LABEL, claim.id)
