"""Shortages: of quota or of room, for good or only now."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from controlplane.domain.ids import ClusterId
from schedulers.base import (
    AsksEnd,
    Change,
    Dropped,
    NodesAdded,
    QuotaRaised,
    ReasonCode,
    Role,
    Topology,
    Until,
)
from schedulers.fair.clock import SECOND
from schedulers.fair.facts import Facts
from schedulers.fair.fleet import CLUSTER, Fleet
from schedulers.fair.packing import Part, room, start_levels
from schedulers.fair.protected import protected_until
from schedulers.fair.reasons import Reason, cluster_name, in_unit, least, need_of
from schedulers.fair.seating import could_seat
from schedulers.fair.world import World


def never_within_quota(world: World, facts: Facts) -> Reason | None:
    ledger, wanted = world.ledger, [option.request for option in least(world, facts)]
    if any(ledger.could_fit(facts.queue, request) for request in wanted):
        return None
    request = wanted[0]
    cell, amount = next(
        (cell, amount)
        for cell, amount in sorted(request.items())
        if amount > ledger.potential[facts.queue][cell]
    )
    name, most = ledger.cells[cell], ledger.potential[facts.queue][cell]
    queue = ledger.queues[facts.queue]
    return Reason(
        code=ReasonCode.NEVER_WITHIN_QUOTA,
        sentence=(
            f"needs {in_unit(name.resource, amount)} of flavor {name.flavor!r}; "
            f"queue {queue.name!r} could have {in_unit(name.resource, most)} if nothing at all were running"
        ),
        remedy=f"raise the quota of queue {queue.name!r}, or ask for less",
        blocker=queue.name,
        change=_own_quota_raised(world, facts, cell, amount - most),
    )


def _own_quota_raised(world: World, facts: Facts, cell: int, missing: int) -> QuotaRaised:
    queue, name = world.ledger.queues[facts.queue], world.ledger.cells[cell]
    own = next((quota.nominal for quota in queue.quotas if quota.cell == name), 0)
    return QuotaRaised(queue_id=queue.id, cell=name, limit="nominal", to=own + missing)


def too_large(world: World, facts: Facts) -> Reason | None:
    empty = world.standing.empty
    topology = facts.ask_class.topology
    options, sizes = least(world, facts), facts.sizes(facts.slack)
    if any(could_seat(empty, facts, option, sizes, anywhere=False) for option in options):
        return None
    parts, last = facts.parts(options[0].choice, sizes), facts.roles[-1]
    if topology is not None and any(
        could_seat(empty, facts, option, sizes, anywhere=True) for option in options
    ):
        return _domain_reason(empty, ReasonCode.TOPOLOGY_TOO_LARGE, "empty", topology, parts)
    part = parts[-1]
    held, where = _most(empty, part)
    return Reason(
        code=ReasonCode.TOO_LARGE,
        sentence=f"{need_of(facts)}; cluster {where!r}, the largest that is ready, holds {held} even when empty",
        remedy="add nodes, or a larger cluster must become ready",
        blocker=where,
        change=_more_nodes(world, last.role, part, where, facts),
    )


def no_quota(world: World, facts: Facts) -> Reason | None:
    ledger, wanted = world.ledger, [option.request for option in least(world, facts)]
    if any(ledger.fits(facts.queue, request) for request in wanted):
        return None
    request = next(each for each in wanted if ledger.could_fit(facts.queue, each))
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
    reason = Reason(
        code=ReasonCode.NO_QUOTA,
        sentence=(
            f"needs {in_unit(name.resource, amount)} of flavor {name.flavor!r}; queue {queue.name!r} may use "
            f"{in_unit(name.resource, has)} more, by the {limit} quota of {blocker.name!r}"
        ),
        remedy=(
            f"starts when {in_unit(name.resource, missing)} of it are given back, or if that limit were "
            f"{in_unit(name.resource, now + missing)} instead of {in_unit(name.resource, now)}"
        ),
        blocker=blocker.name,
        change=QuotaRaised(queue_id=blocker.id, cell=name, limit=limit, to=now + missing),
    )
    until = protected_until(world, facts, request, cell, missing)
    return reason if until is None else _lent(reason, in_unit(name.resource, missing), until)


def _lent(reason: Reason, missing: str, until: int) -> Reason:
    """It only has to wait until who borrows has had its minimum runtime."""
    moment = f"{datetime.fromtimestamp(until / SECOND, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return replace(
        reason,
        sentence=f"{reason.sentence}; others borrow {missing} of it and are protected until {moment}",
        remedy=f"may take it back from {moment} on, when their minimum runtime is over, or when they end before",
        change=Until(moment=until),
    )


def no_room(world: World, facts: Facts) -> Reason | None:
    topology = facts.ask_class.topology
    ledger, sizes, open_fleet = world.ledger, facts.sizes(facts.slack), world.unpromised
    options = [option for option in least(world, facts) if ledger.fits(facts.queue, option.request)]
    if any(could_seat(open_fleet, facts, option, sizes, anywhere=False) for option in options):
        return None
    parts, last = facts.parts(options[0].choice, sizes), facts.roles[-1]
    if topology is not None and any(
        could_seat(open_fleet, facts, option, sizes, anywhere=True) for option in options
    ):
        return _domain_reason(open_fleet, ReasonCode.NO_DOMAIN, "free", topology, parts)
    part = parts[-1]
    now, where = _most(open_fleet, part)
    missing = max(1, part.tasks - now)
    return Reason(
        code=ReasonCode.NO_ROOM,
        sentence=f"{need_of(facts)}; {now} of {part.tasks} fit now, on cluster {where!r}",
        remedy=f"room for {missing} more on one cluster: other work must end, or nodes be added",
        blocker=where,
        change=_more_nodes(world, last.role, part, where, facts),
    )


def reserved(world: World, facts: Facts) -> Reason:
    others = tuple(each.ask_id for each in world.reserved if world.class_of(each.ask_id) != facts.id)
    names = ", ".join(others)
    return Reason(
        code=ReasonCode.RESERVED,
        sentence=f"would still run when what is reserved for {names or 'asks before it'} is due",
        remedy="declare a shorter max_runtime, or wait until they have started",
        blocker=names or None,
        change=AsksEnd(ask_ids=others),
    )


def _domain_reason(
    fleet: Fleet, code: ReasonCode, how: str, topology: Topology, parts: Sequence[Part]
) -> Reason:
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
    return Reason(
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
    mine: list[int] = np.unique(fleet.levels[CLUSTER][part.nodes]).tolist()
    open_here = [found[index] for index in mine]
    return max(sorted(open_here, key=lambda each: each[1]), key=lambda each: each[0])


def _more_nodes(world: World, role: Role, part: Part, where: str, facts: Facts) -> Change:
    """One more empty node, beside one that is there, for each task: as many as could ever be needed."""
    level = world.fleet.levels[CLUSTER]
    firsts = (np.flatnonzero(part.nodes & (level == index))[0] for index in np.unique(level[part.nodes]))
    like = next(
        node
        for node in (world.fleet.nodes[int(first)] for first in firsts)
        if cluster_name(world, node.cluster_id) == where
    )
    return NodesAdded(
        cluster_id=like.cluster_id,
        count=max(1, sum(facts.sizes(facts.slack))),
        like=None,
        amounts=role.amounts,
        accelerator=role.accelerator,
        flavor=like.flavor,
        domains=like.domains,
    )
