"""Barriers: what keeps a class out wherever there were room, from closed clusters to tainted nodes."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from controlplane.domain.ids import ClusterId
from schedulers.base import AskClass, Bound, Dropped, NodeView, Opened, ReasonCode, Role
from schedulers.fair.facts import Facts, carries, flavor_order, lets_in, tolerates
from schedulers.fair.reasons import Reason, room_for
from schedulers.fair.world import World

NEW_CLUSTER: Final = ClusterId("a-new-cluster")


def no_cluster(world: World, facts: Facts) -> Reason | None:
    if world.fleet.clusters:
        return None
    role = facts.roles[-1].role
    return Reason(
        code=ReasonCode.NO_CLUSTER,
        sentence="no cluster is registered",
        remedy="register a cluster",
        change=room_for(world, facts, role, NEW_CLUSTER),
    )


def queue_stopped(world: World, facts: Facts) -> Reason | None:
    queues = [world.ledger.queues[node] for node in world.ledger.paths[facts.queue]]
    stopped = next((queue for queue in queues if queue.stopped), None)
    if stopped is None:
        return None
    return Reason(
        code=ReasonCode.QUEUE_STOPPED,
        sentence=f"queue {stopped.name!r} admits nothing at present",
        remedy=f"open queue {stopped.name!r}",
        blocker=stopped.name,
        change=Opened(noun="queue", ids=(stopped.id,)),
    )


def clusters_blocked(world: World, facts: Facts) -> Reason | None:
    clusters = world.fleet.clusters
    if any(cluster.blocked is None for cluster in clusters):
        return None
    welcome = [cluster for cluster in clusters if lets_in(cluster, facts.ask_class)] or list(clusters)
    return Reason(
        code=ReasonCode.CLUSTERS_BLOCKED,
        sentence="; ".join(f"cluster {cluster.name!r} {cluster.blocked}" for cluster in clusters),
        remedy="one of these clusters must become ready",
        blocker=welcome[0].name,
        change=Opened(noun="cluster", ids=tuple(cluster.id for cluster in welcome)),
    )


def residency(world: World, facts: Facts) -> Reason | None:
    its = facts.ask_class
    ready = [cluster for cluster in world.fleet.clusters if cluster.blocked is None]
    if any(lets_in(cluster, its) for cluster in ready):
        return None
    allowed = [f"may run on {_named(its)}"] if _named(its) else []
    allowed += [f"reads {each.owner}, which may be on {_named(each)}" for each in its.bounds]
    said = allowed or [f"is of trust domain {its.trust_domain!r}"]
    return Reason(
        code=ReasonCode.RESIDENCY,
        sentence=f"{'; '.join(said)}; none of the {len(ready)} ready clusters is allowed",
        remedy="a cluster that is allowed must become ready, or the rule be widened",
        change=Dropped(constraint="residency"),
    )


def _named(rule: AskClass | Bound) -> str:
    parts = {"providers": rule.providers, "regions": rule.regions, "clusters": rule.clusters}
    return "; ".join(f"{noun} {', '.join(names)}" for noun, names in parts.items() if names)


def no_nodes(world: World, facts: Facts) -> Reason | None:
    """The first demand that no node of an allowed cluster meets, role by role."""
    welcome = {
        cluster.id
        for cluster in world.fleet.clusters
        if cluster.blocked is None and lets_in(cluster, facts.ask_class)
    }
    kinds = [kind for kind in world.fleet.kinds if kind.cluster_id in welcome]
    for each in facts.roles:
        if not each.masks:
            return _first_unmet(world, facts, each.role, kinds)
    return None


def _first_unmet(world: World, facts: Facts, role: Role, kinds: Sequence[NodeView]) -> Reason:
    queue = world.ledger.queues[facts.queue]
    flavors = flavor_order(role, queue, world.fleet)
    left = [kind for kind in kinds if carries(kind, role)]
    if not left:
        wanted = f"accelerator {role.accelerator!r}" if role.accelerator else "nodes"
        where = kinds[0].cluster_id if kinds else _first_open(world, facts)
        return Reason(
            code=ReasonCode.NO_ACCELERATOR,
            sentence=f"no ready cluster {_among(world, role)}has {wanted}",
            remedy="add a node that carries it",
            change=room_for(world, facts, role, where),
        )
    if not any(kind.flavor in flavors for kind in left):
        have = ", ".join(sorted({kind.flavor for kind in left}))
        return Reason(
            code=ReasonCode.NO_FLAVOR,
            sentence=f"may use flavors {', '.join(flavors) or 'of none'}; nodes that would do are of {have}",
            remedy=f"queue {queue.name!r} or the job must be allowed one of {have}",
            blocker=queue.name,
            change=Dropped(constraint="flavors"),
        )
    left = [kind for kind in left if kind.flavor in flavors]
    if not any(tolerates(kind, facts.ask_class) for kind in left):
        taints = ", ".join(sorted({f"{key}={value}" for kind in left for key, value in kind.taints}))
        return Reason(
            code=ReasonCode.TAINTED,
            sentence=f"all nodes that would do are tainted: {taints}",
            remedy="tolerate one of these taints, or add nodes without",
            change=Dropped(constraint="taints"),
        )
    return _closed_nodes(world, [kind for kind in left if tolerates(kind, facts.ask_class)])


def _among(world: World, role: Role) -> str:
    elsewhere = any(carries(kind, role) for kind in world.fleet.kinds)
    return "on which it may be " if elsewhere else ""


def _closed_nodes(world: World, kinds: Sequence[NodeView]) -> Reason:
    fleet = world.fleet
    closed = [
        fleet.nodes[number]
        for kind in kinds
        for number in np.flatnonzero(fleet.kind_of == fleet.kinds.index(kind)).tolist()
    ]
    ids = tuple(sorted(node.id for node in closed))
    windows = [node for node in closed if node.healthy]
    if windows:
        return Reason(
            code=ReasonCode.RESERVED,
            sentence=f"would still run when {len(windows)} nodes that would do are closed for maintenance",
            remedy="declare a shorter max_runtime, or wait until the windows are over",
            blocker=windows[0].id,
            change=Opened(noun="node", ids=ids),
        )
    return Reason(
        code=ReasonCode.UNHEALTHY,
        sentence=f"all {len(ids)} nodes that would do are cordoned or suspected",
        remedy="uncordon one of them, or add nodes",
        blocker=ids[0],
        change=Opened(noun="node", ids=ids),
    )


def _first_open(world: World, facts: Facts) -> ClusterId:
    return next(
        cluster.id
        for cluster in world.fleet.clusters
        if cluster.blocked is None and lets_in(cluster, facts.ask_class)
    )
