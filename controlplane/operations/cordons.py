"""Cordons: a bought node takes tasks only while its claim is ready and its Ray answers."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

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


def follow_claim(tx: Tx, claim: Claim, *, unreachable_after: timedelta) -> None:
    """Cordons or opens the nodes that do not agree with their claim, with the commit that moves it.

    Done at every look too: an inventory that was folded meanwhile may have known the claim in another state. Where
    nobody answers they stay closed, whatever the claim is; the next inventory opens them.
    """
    site = tx.sites.get(claim.id)
    if site is not None and site.is_silent(tx.now, after=unreachable_after):
        return close(tx, claim)
    for node in nodes_of(tx, claim):
        right = cordoned_by_claim(node, {claim.id: claim}, at=tx.now)
        if right != node:
            tx.nodes.put(right)
    return None


def close(tx: Tx, claim: Claim) -> None:
    """Cordons every node of it; nothing that runs there is touched."""
    for node in nodes_of(tx, claim):
        if node.cordoned_at is None:
            tx.nodes.put(replace(node, cordoned_at=tx.now))


def nodes_of(tx: Tx, claim: Claim) -> list[Node]:
    """Present ones, by id."""
    return tx.nodes.labelled(claim.cluster_id, CLAIM_LABEL, claim.id)
