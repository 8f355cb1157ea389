"""Explains: why the asks of a class wait, who stands in the way, and a first thing that would have to change.

The questions are asked in a fixed order: what could never work comes before what only does not work now. Every answer
is about the state at the end of the plan, so it is true also of the last ask of a class of which some were placed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from controlplane.domain.amounts import MILLI
from controlplane.domain.ids import ClusterId
from schedulers.base import (
    AsksEnd,
    Change,
    Defer,
    Dropped,
    NodesAdded,
    NodeView,
    Opened,
    QuotaRaised,
    ReasonCode,
    Role,
    Topology,
)
from schedulers.fair.facts import Facts, carries, flavor_order, lets_in, tolerates
from schedulers.fair.fleet import CLUSTER, Fleet
from schedulers.fair.ledger import Request
from schedulers.fair.packing import Part, pack, room, start_levels
from schedulers.fair.world import World
from schedulers.seating import in_words

NEW_CLUSTER: Final = ClusterId("a-new-cluster")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reason:
    code: ReasonCode
    sentence: str
    remedy: str
    blocker: str | None = None
    change: Change | None = None


def explain(world: World, facts: Facts) -> Defer:
    """The first reason that holds."""
    reason = next(found for question in _QUESTIONS if (found := question(world, facts)) is not None)
    return Defer(
        class_id=facts.id,
        code=reason.code,
        sentence=reason.sentence,
        remedy=reason.remedy,
        blocker=reason.blocker,
        change=reason.change,
    )


def _no_cluster(world: World, facts: Facts) -> _Reason | None:
    if world.fleet.clusters:
        return None
    role = facts.roles[-1].role
    return _Reason(
        code=ReasonCode.NO_CLUSTER,
        sentence="no cluster is registered",
        remedy="register a cluster",
        change=_room_for(world, facts, role, NEW_CLUSTER),
    )


def _queue_stopped(world: World, facts: Facts) -> _Reason | None:
    queues = [world.ledger.queues[node] for node in world.ledger.paths[facts.queue]]
    stopped = next((queue for queue in queues if queue.stopped), None)
    if stopped is None:
        return None
    return _Reason(
        code=ReasonCode.QUEUE_STOPPED,
        sentence=f"queue {stopped.name!r} admits nothing at present",
        remedy=f"open queue {stopped.name!r}",
        blocker=stopped.name,
        change=Opened(noun="queue", ids=(stopped.id,)),
    )


def _clusters_blocked(world: World, facts: Facts) -> _Reason | None:
    clusters = world.fleet.clusters
    if any(cluster.blocked is None for cluster in clusters):
        return None
    welcome = [cluster for cluster in clusters if lets_in(cluster, facts.ask_class)] or list(clusters)
    return _Reason(
        code=ReasonCode.CLUSTERS_BLOCKED,
        sentence="; ".join(f"cluster {cluster.name!r} {cluster.blocked}" for cluster in clusters),
        remedy="one of these clusters must become ready",
        blocker=welcome[0].name,
        change=Opened(noun="cluster", ids=tuple(cluster.id for cluster in welcome)),
    )


def _residency(world: World, facts: Facts) -> _Reason | None:
    its = facts.ask_class
    ready = [cluster for cluster in world.fleet.clusters if cluster.blocked is None]
    if any(lets_in(cluster, its) for cluster in ready):
        return None
    rules = {"providers": its.providers, "regions": its.regions, "clusters": its.clusters}
    allowed = "; ".join(f"{noun} {', '.join(names)}" for noun, names in rules.items() if names)
    said = f"may run on {allowed}" if allowed else f"is of trust domain {its.trust_domain!r}"
    return _Reason(
        code=ReasonCode.RESIDENCY,
        sentence=f"{said}; none of the {len(ready)} ready clusters is allowed",
        remedy="a cluster that is allowed must become ready, or the rule be widened",
        change=Dropped(constraint="residency"),
    )


def _no_nodes(world: World, facts: Facts) -> _Reason | None:
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


def _first_unmet(world: World, facts: Facts, role: Role, kinds: Sequence[NodeView]) -> _Reason:
    queue = world.ledger.queues[facts.queue]
    flavors = flavor_order(role, queue, world.fleet)
    left = [kind for kind in kinds if carries(kind, role)]
    if not left:
        wanted = f"accelerator {role.accelerator!r}" if role.accelerator else "nodes"
        where = kinds[0].cluster_id if kinds else _first_open(world, facts)
        return _Reason(
            code=ReasonCode.NO_ACCELERATOR,
            sentence=f"no ready cluster has {wanted}",
            remedy="add a node that carries it",
            change=_room_for(world, facts, role, where),
        )
    if not any(kind.flavor in flavors for kind in left):
        have = ", ".join(sorted({kind.flavor for kind in left}))
        return _Reason(
            code=ReasonCode.NO_FLAVOR,
            sentence=f"may use flavors {', '.join(flavors) or 'of none'}; nodes that would do are of {have}",
            remedy=f"queue {queue.name!r} or the job must be allowed one of {have}",
            blocker=queue.name,
            change=Dropped(constraint="flavors"),
        )
    left = [kind for kind in left if kind.flavor in flavors]
    if not any(tolerates(kind, facts.ask_class) for kind in left):
        taints = ", ".join(sorted({f"{key}={value}" for kind in left for key, value in kind.taints}))
        return _Reason(
            code=ReasonCode.TAINTED,
            sentence=f"all nodes that would do are tainted: {taints}",
            remedy="tolerate one of these taints, or add nodes without",
            change=Dropped(constraint="taints"),
        )
    return _closed_nodes(world, [kind for kind in left if tolerates(kind, facts.ask_class)])


def _closed_nodes(world: World, kinds: Sequence[NodeView]) -> _Reason:
    fleet = world.fleet
    closed = [
        fleet.nodes[number]
        for kind in kinds
        for number in np.flatnonzero(fleet.kind_of == fleet.kinds.index(kind)).tolist()
    ]
    ids = tuple(sorted(node.id for node in closed))
    windows = [node for node in closed if node.healthy]
    if windows:
        return _Reason(
            code=ReasonCode.RESERVED,
            sentence=f"would still run when {len(windows)} nodes that would do are closed for maintenance",
            remedy="declare a shorter max_runtime, or wait until the windows are over",
            blocker=windows[0].id,
            change=Opened(noun="node", ids=ids),
        )
    return _Reason(
        code=ReasonCode.UNHEALTHY,
        sentence=f"all {len(ids)} nodes that would do are cordoned or suspected",
        remedy="uncordon one of them, or add nodes",
        blocker=ids[0],
        change=Opened(noun="node", ids=ids),
    )


def _never_within_quota(world: World, facts: Facts) -> _Reason | None:
    ledger, requests = world.ledger, list(_requests(world, facts))
    if any(ledger.could_fit(facts.queue, request) for _, request in requests):
        return None
    _, request = requests[0]
    cell, amount = next(
        (cell, amount)
        for cell, amount in sorted(request.items())
        if amount > ledger.potential[facts.queue][cell]
    )
    name, most = ledger.cells[cell], ledger.potential[facts.queue][cell]
    queue = ledger.queues[facts.queue]
    return _Reason(
        code=ReasonCode.NEVER_WITHIN_QUOTA,
        sentence=(
            f"needs {_in_unit(name.resource, amount)} of flavor {name.flavor!r}; "
            f"queue {queue.name!r} could have {_in_unit(name.resource, most)} if nothing at all were running"
        ),
        remedy=f"raise the quota of queue {queue.name!r}, or ask for less",
        blocker=queue.name,
        change=_own_quota_raised(world, facts, cell, amount - most),
    )


def _too_large(world: World, facts: Facts) -> _Reason | None:
    empty = world.empty
    topology = facts.ask_class.topology
    choices = [parts for _, parts in _choices(world, facts)]
    if any(pack(empty, parts, topology, 0) is not None for parts in choices):
        return None
    if topology is not None and any(pack(empty, parts, None, 0) is not None for parts in choices):
        return _domain_reason(empty, ReasonCode.TOPOLOGY_TOO_LARGE, "empty", topology, choices[0])
    held, where = _most(empty, choices[0][-1])
    part, last = choices[0][-1], facts.roles[-1]
    return _Reason(
        code=ReasonCode.TOO_LARGE,
        sentence=f"{_need(facts)}; cluster {where!r}, the largest that is ready, holds {held} even when empty",
        remedy="add nodes, or a larger cluster must become ready",
        blocker=where,
        change=_more_nodes(world, last.role, part, where, facts),
    )


def _no_quota(world: World, facts: Facts) -> _Reason | None:
    ledger, requests = world.ledger, list(_requests(world, facts))
    if any(ledger.fits(facts.queue, request) for _, request in requests):
        return None
    _, request = next(each for each in requests if ledger.could_fit(facts.queue, each[1]))
    cell, amount = next(
        (cell, amount)
        for cell, amount in sorted(request.items())
        if amount > ledger.available(facts.queue, cell)
    )
    at, limit, missing = ledger.limit(facts.queue, cell, amount)
    name, queue, blocker = ledger.cells[cell], ledger.queues[facts.queue], ledger.queues[at]
    has = max(0, ledger.available(facts.queue, cell))
    own = next((quota for quota in blocker.quotas if quota.cell == name), None)
    now = 0 if own is None else (own.borrowing or 0) if limit == "borrowing" else own.nominal
    return _Reason(
        code=ReasonCode.NO_QUOTA,
        sentence=(
            f"needs {_in_unit(name.resource, amount)} of flavor {name.flavor!r}; queue {queue.name!r} may use "
            f"{_in_unit(name.resource, has)} more, by the {limit} quota of {blocker.name!r}"
        ),
        remedy=(
            f"starts when {_in_unit(name.resource, missing)} of it are given back, or if that limit were "
            f"{_in_unit(name.resource, now + missing)} instead of {_in_unit(name.resource, now)}"
        ),
        blocker=blocker.name,
        change=QuotaRaised(queue_id=blocker.id, cell=name, limit=limit, to=now + missing),
    )


def _no_room(world: World, facts: Facts) -> _Reason | None:
    topology = facts.ask_class.topology
    choices = [parts for request, parts in _choices(world, facts) if world.ledger.fits(facts.queue, request)]
    open_fleet = world.unpromised
    if any(pack(open_fleet, parts, topology, 0) is not None for parts in choices):
        return None
    if topology is not None and any(pack(open_fleet, parts, None, 0) is not None for parts in choices):
        return _domain_reason(open_fleet, ReasonCode.NO_DOMAIN, "free", topology, choices[0])
    part, last = choices[0][-1], facts.roles[-1]
    now, where = _most(open_fleet, part)
    missing = max(1, part.tasks - now)
    return _Reason(
        code=ReasonCode.NO_ROOM,
        sentence=f"{_need(facts)}; {now} of {part.tasks} fit now, on cluster {where!r}",
        remedy=f"room for {missing} more on one cluster: other work must end, or nodes be added",
        blocker=where,
        change=_more_nodes(world, last.role, part, where, facts),
    )


def _reserved(world: World, facts: Facts) -> _Reason:
    others = tuple(each.ask_id for each in world.reserved if world.class_of(each.ask_id) != facts.id)
    names = ", ".join(others)
    return _Reason(
        code=ReasonCode.RESERVED,
        sentence=f"would still run when what is reserved for {names or 'asks before it'} is due",
        remedy="declare a shorter max_runtime, or wait until they have started",
        blocker=names or None,
        change=AsksEnd(ask_ids=others),
    )


_QUESTIONS: Final[tuple[Callable[[World, Facts], _Reason | None], ...]] = (
    _no_cluster,
    _queue_stopped,
    _clusters_blocked,
    _residency,
    _no_nodes,
    _never_within_quota,
    _too_large,
    _no_quota,
    _no_room,
    _reserved,
)


def _choices(world: World, facts: Facts) -> Iterator[tuple[Request, list[Part]]]:
    """Every combination of flavors with the fewest tasks."""
    sizes = facts.sizes(facts.slack)
    for choice in facts.combinations():
        yield facts.request(world.ledger, choice, sizes), facts.parts(choice, sizes)


def _requests(world: World, facts: Facts) -> Iterator[tuple[list[Part], Request]]:
    for request, parts in _choices(world, facts):
        yield parts, request


def _domain_reason(
    fleet: Fleet, code: ReasonCode, how: str, topology: Topology, parts: Sequence[Part]
) -> _Reason:
    level = (start_levels(fleet, topology) or (CLUSTER,))[0]
    rooms = room(fleet, parts[-1], topology, level, 0)
    best = int(rooms.argmax()) if len(rooms) else -1
    most = int(rooms[best]) if best >= 0 else 0
    name = fleet.domain_names[level][best] if best >= 0 else topology.level
    known = (
        f"{level} {name!r}"
        if topology.level in fleet.levels
        else f"no {topology.level} is known; {level} {name!r}"
    )
    return _Reason(
        code=code,
        sentence=f"all tasks in one {topology.level}: {known}, the most {how}, fits {most} of {parts[-1].tasks}",
        remedy=f"a {topology.level} with room for {parts[-1].tasks}, or a wider level",
        blocker=name,
        change=Dropped(constraint="topology"),
    )


def _most(fleet: Fleet, part: Part) -> tuple[int, str]:
    """The most tasks that one cluster holds, and its name; the first by name wins a tie."""
    rooms = room(fleet, part, None, CLUSTER, 0)
    names = {cluster.id: cluster.name for cluster in fleet.clusters}
    found = [
        (int(rooms[index]), names.get(ClusterId(id_), id_))
        for index, id_ in enumerate(fleet.domain_names[CLUSTER])
    ]
    mine = {fleet.nodes[number].cluster_id for number in np.flatnonzero(part.nodes).tolist()}
    open_here = [each for each, id_ in zip(found, fleet.domain_names[CLUSTER], strict=True) if id_ in mine]
    return max(sorted(open_here, key=lambda each: each[1]), key=lambda each: each[0])


def _more_nodes(world: World, role: Role, part: Part, where: str, facts: Facts) -> Change:
    """One more empty node for each task that has no place: as many as could ever be needed."""
    number = next(
        number
        for number in np.flatnonzero(part.nodes).tolist()
        if _cluster_name(world, world.fleet.nodes[number].cluster_id) == where
    )
    like = world.fleet.nodes[number]
    return NodesAdded(
        cluster_id=like.cluster_id,
        count=max(1, sum(facts.sizes(facts.slack))),
        like=None,
        amounts=role.amounts,
        accelerator=role.accelerator,
        flavor=like.flavor,
    )


def _room_for(world: World, facts: Facts, role: Role, cluster_id: ClusterId) -> Change:
    flavors = flavor_order(role, world.ledger.queues[facts.queue], world.fleet) or role.flavors
    return NodesAdded(
        cluster_id=cluster_id,
        count=max(1, role.tasks_min),
        like=None,
        amounts=role.amounts,
        accelerator=role.accelerator,
        flavor=flavors[0] if flavors else None,
    )


def _first_open(world: World, facts: Facts) -> ClusterId:
    return next(
        cluster.id
        for cluster in world.fleet.clusters
        if cluster.blocked is None and lets_in(cluster, facts.ask_class)
    )


def _own_quota_raised(world: World, facts: Facts, cell: int, missing: int) -> QuotaRaised:
    queue, name = world.ledger.queues[facts.queue], world.ledger.cells[cell]
    own = next((quota.nominal for quota in queue.quotas if quota.cell == name), 0)
    return QuotaRaised(queue_id=queue.id, cell=name, limit="nominal", to=own + missing)


def _cluster_name(world: World, cluster_id: ClusterId) -> str:
    return next(cluster.name for cluster in world.fleet.clusters if cluster.id == cluster_id)


def _need(facts: Facts) -> str:
    sizes = facts.sizes(facts.slack)
    words = [
        f"{tasks} x ({in_words(each.role.amounts)})" for each, tasks in zip(facts.roles, sizes, strict=True)
    ]
    return "needs " + " and ".join(words)


def _in_unit(resource: str, amount: int) -> str:
    if resource == "memory":
        return f"{amount / 1024**3:.1f} GiB of memory"
    return f"{amount / MILLI:g} {resource.removeprefix('custom:')}"
