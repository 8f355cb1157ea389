"""Shortages: of quota or of room, for good or only now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from schedulers.fair.ledger import Ledger, Request
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
    parts = facts.parts(options[0].choice, sizes)
    if topology is not None and any(
        could_seat(empty, facts, option, sizes, anywhere=True) for option in options
    ):
        return _domain_reason(empty, ReasonCode.TOPOLOGY_TOO_LARGE, "empty", topology, parts)
    short = _short(empty, facts, parts)
    return Reason(
        code=ReasonCode.TOO_LARGE,
        sentence=(
            f"{need_of(facts)}; cluster {short.where!r}, the largest that is ready, holds {short.held} even when empty"
        ),
        remedy="add nodes, or a larger cluster must become ready",
        blocker=short.where,
        change=_more_nodes(world, short, facts),
    )


def no_quota(world: World, facts: Facts) -> Reason | None:
    ledger, wanted = world.ledger, least(world, facts)
    if any(ledger.fits(facts.queue, option.request) for option in wanted):
        return None
    option = next(each for each in wanted if ledger.could_fit(facts.queue, each.request))
    met = list(_limits_met(ledger, facts.queue, option.request))
    cell, at, limit, missing = met[0]
    name, queue, blocker = ledger.cells[cell], ledger.queues[facts.queue], ledger.queues[at]
    has = max(0, ledger.available(facts.queue, cell))
    is_all = len(met) == 1 and could_seat(
        world.unpromised, facts, option, facts.sizes(facts.slack), anywhere=True
    )
    reason = Reason(
        code=ReasonCode.NO_QUOTA,
        sentence=(
            f"needs {in_unit(name.resource, option.request[cell])} of flavor {name.flavor!r}; "
            f"queue {queue.name!r} may use {in_unit(name.resource, has)} more, "
            f"by the {limit} quota of {blocker.name!r}"
        ),
        remedy=_what_would_do(ledger, met, is_all=is_all),
        blocker=blocker.name,
        change=QuotaRaised(
            queue_id=blocker.id, cell=name, limit=limit, to=_present(ledger, cell, at, limit) + missing
        ),
    )
    until = protected_until(world, facts, option.request, cell, missing) if len(met) == 1 else None
    return reason if until is None else _lent(reason, in_unit(name.resource, missing), until)


_Met = tuple[int, int, str, int]
"""A cell, and of which node which limit lacks how much of it."""


def _limits_met(ledger: Ledger, queue: int, request: Request) -> Iterator[_Met]:
    """By cell; of each, those from the root down."""
    for cell, amount in sorted(request.items()):
        for at, limit, missing in reversed(ledger.limits(queue, cell, amount)):
            yield cell, at, limit, missing


def _present(ledger: Ledger, cell: int, at: int, limit: str) -> int:
    own = next((quota for quota in ledger.queues[at].quotas if quota.cell == ledger.cells[cell]), None)
    return 0 if own is None else (own.borrowing or 0) if limit == "borrowing" else own.nominal


def _what_would_do(ledger: Ledger, met: Sequence[_Met], *, is_all: bool) -> str:
    steps = []
    for cell, at, limit, missing in met:
        name, now = ledger.cells[cell], _present(ledger, cell, at, limit)
        whose = "that limit" if len(met) == 1 else f"the {limit} quota of {ledger.queues[at].name!r}"
        steps.append(
            f"{in_unit(name.resource, missing)} of it are given back, or if {whose} were "
            f"{in_unit(name.resource, now + missing)} instead of {in_unit(name.resource, now)}"
        )
    if is_all:
        return f"starts when {steps[0]}"
    if len(met) == 1:
        return f"may start when {steps[0]}, and room is made on nodes"
    return f"may start when all of this is so: {'; '.join(steps)}"


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
    parts = facts.parts(options[0].choice, sizes)
    if topology is not None and any(
        could_seat(open_fleet, facts, option, sizes, anywhere=True) for option in options
    ):
        return _domain_reason(open_fleet, ReasonCode.NO_DOMAIN, "free", topology, parts)
    short = _short(open_fleet, facts, parts)
    return Reason(
        code=ReasonCode.NO_ROOM,
        sentence=f"{need_of(facts)}; {short.held} fit now, on cluster {short.where!r}",
        remedy=f"room for {short.missing} more on one cluster: other work must end, or nodes be added",
        blocker=short.where,
        change=_more_nodes(world, short, facts),
    )


@dataclass(frozen=True, slots=True)
class _Short:
    """The first role of which no cluster holds enough; the last one where it is only all together that do not fit."""

    role: Role
    part: Part
    where: str
    held: str
    missing: str


def _short(fleet: Fleet, facts: Facts, parts: Sequence[Part]) -> _Short:
    rows = [(each.role, part, *_most(fleet, part)) for each, part in zip(facts.roles, parts, strict=True)]
    role, part, most, where = next((row for row in rows if row[2] < row[1].tasks), rows[-1])
    of_it = f" of role {role.name!r}" if len(parts) > 1 else ""
    if most < part.tasks or not of_it:
        return _Short(
            role, part, where, f"{most} of {part.tasks}{of_it}", f"{max(1, part.tasks - most)}{of_it}"
        )
    return _Short(role, part, where, "each role alone, not all of them together,", f"1{of_it}")


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
    columns = [(part, room(fleet, part, topology, level, 0)) for part in parts]
    part, rooms = next(
        (each for each in columns if max(each[1].tolist(), default=0) < each[0].tasks), columns[-1]
    )
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
        sentence=f"all tasks in one {topology.level}: {known}, the most {how}, fits {most} of {part.tasks}",
        remedy=f"a {topology.level} with room for {part.tasks}, or a wider level",
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


def _more_nodes(world: World, short: _Short, facts: Facts) -> Change:
    """One more empty node, beside one that is there, for each task: as many as could ever be needed."""
    role, part = short.role, short.part
    level = world.fleet.levels[CLUSTER]
    firsts = (np.flatnonzero(part.nodes & (level == index))[0] for index in np.unique(level[part.nodes]))
    like = next(
        node
        for node in (world.fleet.nodes[int(first)] for first in firsts)
        if cluster_name(world, node.cluster_id) == short.where
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
