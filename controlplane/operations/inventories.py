"""Inventories: what a cluster reports of its machines, folded into our nodes."""

from dataclasses import replace
from datetime import datetime

from cloud_adapters.base import Inventory, Machine
from controlplane.domain.amounts import Amounts
from controlplane.domain.clusters import Cluster, Node
from controlplane.domain.ids import NodeId
from controlplane.operations.cordons import cordoned_by_claim
from controlplane.operations.ids import Ids
from controlplane.store import Tx


def fold(tx: Tx, cluster: Cluster, inventory: Inventory, *, ids: Ids, ours_alone: bool) -> None:
    """Adds, changes and retires nodes. `ours_alone`: nobody else uses the cluster, so nothing on it is foreign.

    A node that did not change is not written: an idle cluster costs no disk.
    """
    known = {node.name: node for node in tx.nodes.present(cluster.id)}
    claims = {claim.id: claim for claim in tx.claims.live(cluster.id)}
    ours = {} if ours_alone else tx.nodes.reserved(cluster.id)
    for machine in inventory.machines:
        old = known.pop(machine.name, None)
        node_id = old.id if old else NodeId(ids.new("node"))
        foreign = Amounts() if ours_alone else machine.used.minus(ours.get(node_id, Amounts()))
        seen = _node(cluster, machine, node_id=node_id, foreign=foreign, at=tx.now)
        kept = replace(seen, cordoned_at=old.cordoned_at) if old else seen
        new = cordoned_by_claim(kept, claims, at=tx.now)
        if old is None or _differs(old, new):
            tx.nodes.put(new)
    if inventory.complete:
        for node in known.values():
            tx.nodes.put(_retired(tx, node))
            _wake_attempts_on(tx, node)


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
        seen_at=at,
    )


def _differs(old: Node, new: Node) -> bool:
    return replace(old, seen_at=new.seen_at) != new


def _retired(tx: Tx, node: Node) -> Node:
    return replace(node, gone_at=tx.now)


def _wake_attempts_on(tx: Tx, node: Node) -> None:
    tx.work.poke_many("attempt", tx.attempts.on_node(node.id))
