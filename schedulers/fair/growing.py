"""Growing: elastic asks that run with fewer tasks than they could use take what nobody else can, now or as promised.

Who grows starts again at its last checkpoint, so it has to be worth it: the time that the new tasks save exceeds the
work that is lost and the restart. It happens to nobody more than once in an epoch, nor within its protected time.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from controlplane.domain.ids import AskId
from schedulers.base import Grow, Placement, TopologyMode
from schedulers.fair.clock import MINUTE, SECOND, Clock
from schedulers.fair.facts import RoleFacts
from schedulers.fair.fleet import NEVER, Mask
from schedulers.fair.holdings import Held, Holding, end_of, flavor_of, seat_request
from schedulers.fair.outlook import GUESS
from schedulers.fair.packing import pick
from schedulers.fair.reserving import Calendar
from schedulers.fair.victims import lost_seconds
from schedulers.fair.world import World


def grow(world: World, calendar: Calendar, touched: frozenset[AskId]) -> Iterator[Grow]:
    """After everybody had a turn; higher bands and priorities first, then who was admitted first. Books all of it.

    `touched` are those who are told to stop by this plan anyway.
    """
    sick = sick_nodes(world)
    short = [world.holdings[id_] for id_ in world.standing.short if id_ in world.holdings]
    elastic = [
        holding
        for holding in short
        # Nobody starts again on a node that takes nothing new.
        if holding.ask.id not in touched and is_open(world, holding) and not sits_on(sick, holding)
    ]
    for holding in sorted(elastic, key=turn):
        if not may_start_again(holding, world.clock):
            continue
        added = book_more(world, holding, calendar)
        if _saves_time(holding, len(added), world.clock):
            yield Grow(ask_id=holding.ask.id, seats=placements(world, added))
        else:
            give_back(world, holding, added, calendar)


def turn(holding: Holding) -> tuple[int, int, int, AskId]:
    ask = holding.ask
    return (-holding.facts.band, -ask.priority, ask.admitted_at, ask.id)


def may_start_again(holding: Holding, clock: Clock) -> bool:
    """Its protected time is over, and it was not (re)started in this epoch."""
    ask = holding.ask
    return clock.is_past(ask.protected_until) and ask.admitted_at < clock.epoch()


def goes_on(holding: Holding) -> bool:
    """After a new start: it has saved something, or said that it may be resized."""
    return holding.ask.checkpoint_at is not None or holding.facts.slack > 0


def sick_nodes(world: World) -> Mask:
    """Of all nodes, those that are not healthy."""
    sick = [number for number, kind in enumerate(world.fleet.kinds) if not kind.healthy]
    return np.isin(world.fleet.kind_of, sick)


def sits_on(nodes: Mask, holding: Holding) -> bool:
    """Any of it."""
    return any(seat.node >= 0 and nodes[seat.node] for seat in holding.seats)


def is_open(world: World, holding: Holding) -> bool:
    """Nothing of it is leaving, its cluster takes tasks, and it has no slices that single tasks would break."""
    topology = holding.facts.ask_class.topology
    whole = topology is None or not topology.slices
    is_leaving = any(seat.leaving for seat in holding.ask.seats)
    return whole and not is_leaving and not world.is_stopped(holding.facts.queue)


def book_more(world: World, holding: Holding, calendar: Calendar | None = None) -> tuple[Held, ...]:
    """As many of the tasks that it lacks as fit now, beside the quota that is promised in the calendar."""
    return tuple(seat for role in holding.facts.roles for seat in _more(world, holding, role, calendar))


def give_back(
    world: World, holding: Holding, added: tuple[Held, ...], calendar: Calendar | None = None
) -> None:
    end, queue = world.floor.end(holding.facts), holding.facts.queue
    for seat in added:
        world.fleet.book(seat.node, seat.role.need, -1, end)
        request = seat_request(world.fleet, world.ledger, queue, seat)
        world.ledger.remove(queue, request)
        if calendar is not None:
            calendar.take(holding.facts, request, -1)


def placements(world: World, seats: tuple[Held, ...]) -> tuple[Placement, ...]:
    return tuple(Placement(rank=seat.rank, node_id=world.fleet.nodes[seat.node].id) for seat in seats)


def near(world: World, holding: Holding) -> Mask:
    """Nodes of its cluster, and of its own domain if all its tasks have to be in one."""
    level, topology = "cluster", holding.facts.ask_class.topology
    if topology is not None and topology.mode is TopologyMode.REQUIRED:
        level = topology.level
    ids = world.fleet.levels.get(level)
    first = holding.seats[0].node
    if ids is None or first < 0 or ids[first] < 0:
        return np.zeros(len(world.fleet.nodes), np.bool_)
    return np.asarray(ids == ids[first], np.bool_)


def _saves_time(holding: Holding, added: int, clock: Clock) -> bool:
    """Taking it that twice the tasks do the rest in half the time."""
    if not added:
        return False
    end = end_of(holding, clock)
    soon = clock.minute() + MINUTE
    left = max(GUESS, soon - holding.began) if end == NEVER else end - clock.minute()
    saved = left // SECOND * added // (len(holding.seats) + added)
    return saved > lost_seconds(holding, soon)


def _masks(world: World, holding: Holding, role: RoleFacts) -> Sequence[tuple[str, Mask]]:
    """Of the flavor that the role sits on; of a role that has no seat yet, of the first that it may use."""
    homes = [seat.node for seat in holding.seats if seat.role.first_rank == role.first_rank]
    if not homes:
        return role.masks[:1]
    flavor = flavor_of(world.fleet, role, homes[0])
    return [(name, mask) for name, mask in role.masks if name == flavor]


def _more(world: World, holding: Holding, role: RoleFacts, calendar: Calendar | None) -> list[Held]:
    held = frozenset(seat.rank for seat in holding.ask.seats)
    free_ranks = [
        rank for rank in range(role.first_rank, role.first_rank + role.role.tasks) if rank not in held
    ]
    end = world.floor.end(holding.facts)
    added: list[Held] = []
    for flavor, mask in _masks(world, holding, role):
        wanted = len(free_ranks) - len(added)
        if not wanted:
            break
        counts = np.where(mask & near(world, holding), world.fleet.counts(role.need, end), 0)
        one = world.ledger.request(holding.facts.queue, flavor, role.amounts, 1)
        affordable = min(
            (world.ledger.available(holding.facts.queue, cell) // amount for cell, amount in one.items()),
            default=wanted,
        )
        tasks = max(0, min(wanted, affordable, int(counts.sum())))
        if calendar is not None:
            tasks = calendar.most(holding.facts, one, tasks)
        for node, here in pick(counts, tasks) or () if tasks else ():
            world.fleet.book(node, role.need, here, end)
            ranks = free_ranks[len(added) : len(added) + here]
            added.extend(Held(rank, node, role) for rank in ranks)
        request = {cell: amount * tasks for cell, amount in one.items()}
        world.ledger.add(holding.facts.queue, request)
        if calendar is not None:
            calendar.take(holding.facts, request)
    return added
