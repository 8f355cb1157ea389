"""Packing: which nodes the tasks of a gang take, all or none.

After Kueue's tas_flavor_snapshot.go. Of the domains that hold the whole gang the one with the least room to spare is
taken; where several are needed, the roomiest first and the tightest last. The same rule leads from level to level down
to the nodes, so few domains are opened and large holes stay whole for large gangs. Ties go by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from schedulers.base import Slice, Topology, TopologyMode
from schedulers.fair.fleet import CLUSTER, NEVER, NODE, Columns, Fleet, Mask, Need


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """So many tasks of one shape, on the nodes of a mask."""

    need: Need
    nodes: Mask
    tasks: int


Seats = tuple[tuple[int, ...], ...]
"""For each part, the node number of each of its tasks."""


def pack(fleet: Fleet, parts: Sequence[Part], topology: Topology | None, end: int) -> Seats | None:
    """Seats for all parts within one cluster; books nothing. `end`: when the tasks are expected to be done."""
    for level in start_levels(fleet, topology):
        seats = _pack_at(fleet, parts, topology, level, end)
        if seats is not None:
            return seats
    return None


def start_levels(fleet: Fleet, topology: Topology | None) -> tuple[str, ...]:
    """The levels on which one domain may hold the whole gang, in the order in which they are tried."""
    if topology is None:
        return (CLUSTER,)
    if topology.level not in fleet.levels:
        return () if topology.mode is TopologyMode.REQUIRED else (CLUSTER,)
    if topology.mode is TopologyMode.REQUIRED:
        return (topology.level,)
    upto = fleet.level_names.index(topology.level) + 1
    return fleet.level_names[:upto][::-1]


def room(fleet: Fleet, part: Part, topology: Topology | None, level: str, end: int) -> Columns:
    """How many tasks each domain of the level takes, slices whole."""
    return room_of(fleet, np.where(part.nodes, fleet.counts(part.need, end), 0), topology, level)


def room_of(fleet: Fleet, counts: Columns, topology: Topology | None, level: str) -> Columns:
    """The same for counts that somebody else made."""
    return _sums(fleet, counts, _slices(fleet, topology), level)


def _pack_at(
    fleet: Fleet, parts: Sequence[Part], topology: Topology | None, level: str, end: int
) -> Seats | None:
    slices = _slices(fleet, topology)
    if slices is None:
        return None
    counts = [np.where(part.nodes, fleet.counts(part.need, end), 0) for part in parts]
    have = _sums(fleet, counts[-1], slices, level)
    enough = have >= _whole(parts[-1].tasks, slices)
    for part, each in zip(parts[:-1], counts[:-1], strict=True):
        enough &= fleet.summed(each, level) >= part.tasks
    candidates = enough.nonzero()[0]
    if not len(candidates):
        return None
    way = _Way.of(fleet, topology, level, slices)
    for domain in candidates[have[candidates].argsort(kind="stable")].tolist():
        inside = fleet.levels[level] == domain
        seats = _fill_all(fleet, parts, way, inside, end)
        if seats is not None:
            return seats
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """The levels still to descend, outermost first and the node last, and the slices to keep whole on them."""

    levels: tuple[str, ...]
    slices: tuple[Slice, ...]
    even: str = ""
    """The level over whose domains tasks are spread evenly, if any."""

    @classmethod
    def of(cls, fleet: Fleet, topology: Topology | None, level: str, slices: Sequence[Slice]) -> "_Way":
        below = fleet.level_names[fleet.level_names.index(level) + 1 :]
        # Nobody asked for racks, so they are not looked at: the nodes of the cluster are as good as each other.
        even = topology.level if topology is not None and topology.balanced else ""
        return cls(levels=below if topology is not None else below[-1:], slices=tuple(slices), even=even)

    def without_slices(self) -> "_Way":
        return replace(self, slices=())


def _fill_all(fleet: Fleet, parts: Sequence[Part], way: _Way, inside: Mask, end: int) -> Seats | None:
    """One part after the other, each beside what the ones before it took."""
    booked: list[tuple[int, Need]] = []
    seats: list[tuple[int, ...]] = []
    for part in parts:
        last = part is parts[-1]
        counts = np.where(part.nodes & inside, fleet.counts(part.need, end), 0)
        tasks = _whole(part.tasks, way.slices if last else ())
        taken = _fill(fleet, counts, way if last else way.without_slices(), _Quest(part.need, tasks))
        if taken is None:
            break
        seats.append(tuple(taken[: part.tasks]))
        if not last:
            for node in seats[-1]:
                fleet.book(node, part.need, 1, end)
                booked.append((node, part.need))
    for node, need in booked:
        fleet.book(node, need, -1, end)
    return tuple(seats) if len(seats) == len(parts) else None


@dataclass(frozen=True, slots=True)
class _Quest:
    need: Need
    tasks: int


def _fill(fleet: Fleet, counts: Columns, way: _Way, quest: _Quest) -> list[int] | None:
    """Node numbers for so many tasks below one domain, level by level."""
    if not quest.tasks:
        return []
    level = way.levels[0] if way.levels else NODE
    have = _sums(fleet, counts, way.slices, level)
    if level == NODE:
        spares_gpus = fleet.gpus >= 0 and all(column != fleet.gpus for column, _ in quest.need)
        picked = pick(have, quest.tasks, fleet.has_gpus if spares_gpus else None)
        return None if picked is None else [node for node, tasks in picked for _ in range(tasks)]
    picked = _spread(have, quest.tasks, way) if level == way.even else pick(have, quest.tasks)
    if picked is None:
        return _fill(fleet, counts, _deeper(way), quest)  # some nodes stand outside the domains of this level
    seats: list[int] = []
    for domain, tasks in picked:
        inside = np.where(fleet.levels[level] == domain, counts, 0)
        part = _fill(fleet, inside, _deeper(way), _Quest(quest.need, tasks))
        if part is None:
            return None
        seats.extend(part)
    return seats


def _deeper(way: _Way) -> _Way:
    return replace(way, levels=way.levels[1:])


def _spread(have: Columns, tasks: int, way: _Way) -> list[tuple[int, int]] | None:
    """Evenly over the fewest domains, as far as they have room and slices stay whole."""
    roomiest = np.argsort(-have, kind="stable")
    enough = np.flatnonzero(np.cumsum(have[roomiest]) >= tasks)
    if not len(enough) or not enough[0]:
        return pick(have, tasks)
    chosen = roomiest[: int(enough[0]) + 1].tolist()
    size = way.slices[0].tasks if way.slices else 1
    each = min(tasks // len(chosen), int(have[chosen[-1]])) // size * size
    left = tasks - each * len(chosen)
    picked = []
    for domain in chosen:
        more = min(left, int(have[domain]) - each)
        picked.append((domain, each + more))
        left -= more
    return picked


def pick(have: Columns, tasks: int, avoid: Mask | None = None) -> list[tuple[int, int]] | None:
    """(domain, tasks): the tightest domain that holds all, else the roomiest ones and the tightest for the rest.

    Domains to avoid come last: work without GPUs leaves nodes with GPUs to others while it can.
    """
    order = have if avoid is None else np.where(avoid, have + NEVER // 2, have)
    fitting = np.where(have >= tasks, order, NEVER)
    best = int(fitting.argmin()) if len(have) else -1
    if best >= 0 and fitting[best] < NEVER:
        return [(best, tasks)]
    if int(have.sum()) < tasks:
        return None
    roomiest = np.argsort(
        -have if avoid is None else np.where(avoid, -have, -have - NEVER // 2), kind="stable"
    )
    picked: list[tuple[int, int]] = []
    left = tasks
    for place, domain in enumerate(roomiest.tolist()):
        here = min(left, int(have[domain]))
        if here == left:
            rest = roomiest[place:]
            tight = np.where(have[rest] >= left, order[rest], NEVER)
            domain = int(rest[int(tight.argmin())])  # noqa: PLW2901 - the last one is chosen for being tight
        picked.append((domain, here))
        left -= here
        if not left:
            break
    return picked


def _slices(fleet: Fleet, topology: Topology | None) -> tuple[Slice, ...] | None:
    """Outermost first; None: one of them is of a level that nobody knows."""
    slices = topology.slices if topology is not None else ()
    return slices if all(each.level in fleet.levels for each in slices) else None


def _whole(tasks: int, slices: Sequence[Slice]) -> int:
    """Rounded up to whole slices."""
    size = slices[0].tasks if slices else 1
    return -(-tasks // size) * size


def _sums(fleet: Fleet, counts: Columns, slices: Sequence[Slice] | None, level: str) -> Columns:
    """Tasks per domain of the level; what does not fill a slice within the slice's own domain does not count."""
    if slices is None:
        return np.zeros(len(fleet.domain_names[level]), np.int64)
    if not slices:
        return fleet.summed(counts, level)
    units, at = counts, np.arange(len(counts))
    depth = fleet.level_names.index
    for each in reversed(slices):
        if depth(each.level) < depth(level):
            break  # a slice that is wider than the level is none of its business
        units, at = _grouped(fleet, units, at, each.level)
        units = units // each.tasks * each.tasks
    return _grouped(fleet, units, at, level)[0]


def _grouped(fleet: Fleet, units: Columns, at: Columns, level: str) -> tuple[Columns, Columns]:
    """Sums by domain, and for each domain one node that lies in it."""
    ids = fleet.levels[level][at]
    known = ids >= 0
    sums = np.zeros(len(fleet.domain_names[level]), np.int64)
    np.add.at(sums, ids[known], units[known])
    first = np.zeros(len(sums), np.int64)
    first[ids[known][::-1]] = at[known][::-1]
    return sums, first
