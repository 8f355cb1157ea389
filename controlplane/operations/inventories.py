"""Inventories: what a cluster, or the Ray of a claim, reports of its machines, folded into our nodes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from cloud_adapters.base import Inventory, Machine
from controlplane.domain.amounts import Amounts
from controlplane.domain.claims import CLAIM_LABEL, Claim
from controlplane.domain.clusters import Cluster, Node
from controlplane.domain.copies import replace
from controlplane.domain.ids import ClaimId, NodeId
from controlplane.operations.cordons import cordoned_by_claim, nodes_of
from controlplane.operations.homes import home_of, sited
from controlplane.operations.ids import Ids
from controlplane.store import Tx


def fold(tx: Tx, cluster: Cluster, inventory: Inventory, *, ids: Ids, ours_alone: bool) -> None:
    """Adds, changes and retires nodes. `ours_alone`: nobody else uses the cluster, so nothing on it is foreign.

    Nodes of claims that have a Ray of their own are that Ray's to report.
    """
    claims = {claim.id: claim for claim in tx.claims.live(cluster.id)}
    sites = sited(tx, cluster.id)
    known = [node for node in tx.nodes.present(cluster.id) if home_of(node, sites) == cluster.id]
    ours = {} if ours_alone else tx.nodes.reserved(cluster.id)
    _fold(
        _Books(tx=tx, cluster=cluster, claims=claims, ids=ids), inventory, known, None if ours_alone else ours
    )


def fold_site(tx: Tx, cluster: Cluster, claim: Claim, inventory: Inventory, *, ids: Ids) -> None:
    """Nobody but its trust domain uses what a claim has bought."""
    label = (CLAIM_LABEL, str(claim.id))
    machines = [replace(each, labels=tuple(sorted({*each.labels, label}))) for each in inventory.machines]
    seen = replace(inventory, machines=tuple(machines))
    _fold(_Books(tx=tx, cluster=cluster, claims={claim.id: claim}, ids=ids), seen, nodes_of(tx, claim), None)


def retire(tx: Tx, nodes: Iterable[Node]) -> None:
    """They are gone; whatever held a seat there is looked at."""
    for node in nodes:
        tx.nodes.put(replace(node, gone_at=tx.now))
        tx.work.poke_many("attempt", tx.attempts.on_node(node.id))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Books:
    tx: Tx
    cluster: Cluster
    claims: Mapping[ClaimId, Claim]
    ids: Ids


def _fold(
    books: _Books, inventory: Inventory, present: Iterable[Node], ours: Mapping[NodeId, Amounts] | None
) -> None:
    """A node that did not change is not written: an idle cluster costs no disk. `ours` None: nothing is foreign."""
    tx = books.tx
    known = {node.name: node for node in present}
    for machine in inventory.machines:
        old = known.pop(machine.name, None)
        node_id = old.id if old else NodeId(books.ids.new("node"))
        foreign = Amounts() if ours is None else _foreign(machine, ours.get(node_id, Amounts()))
        seen = _node(books.cluster, machine, node_id=node_id, foreign=foreign, at=tx.now)
        new = cordoned_by_claim(_as_it_stood(seen, old, machine), books.claims, at=tx.now)
        if old is None or _differs(old, new):
            tx.nodes.put(new)
    if inventory.complete:
        retire(tx, known.values())


def _foreign(machine: Machine, booked: Amounts) -> Amounts:
    return machine.used.minus(booked if machine.ours is None else machine.ours)


def _as_it_stood(seen: Node, old: Node | None, machine: Machine) -> Node:
    """What was decided about the node stays; what its own operator says of it comes and goes."""
    if not machine.is_schedulable:
        since = old.cordoned_at if old is not None else None
        return replace(seen, cordoned_at=since or seen.seen_at, leaving_at=old.leaving_at if old else None)
    if old is None or CLAIM_LABEL not in dict(old.labels):
        return seen
    return replace(seen, cordoned_at=old.cordoned_at, leaving_at=old.leaving_at)


def _node(cluster: Cluster, machine: Machine, *, node_id: NodeId, foreign: Amounts, at: datetime) -> Node:
    return Node(
        id=node_id,
        cluster_id=cluster.id,
        name=machine.name,
        host=machine.host,
        allocatable=machine.allocatable,
        foreign=foreign,
        accelerator=machine.accelerator,
        labels=machine.labels,
        taints=machine.taints,
        seen_at=at,
    )


def _differs(old: Node, new: Node) -> bool:
    return replace(old, seen_at=new.seen_at) != new
