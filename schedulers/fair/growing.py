"""Growing: elastic asks that run with fewer tasks than they could use take what nobody else can."""

from collections.abc import Iterator

import numpy as np

from controlplane.domain.ids import AskId
from schedulers.base import Grow, Placement, TopologyMode
from schedulers.fair.facts import RoleFacts
from schedulers.fair.fleet import Mask
from schedulers.fair.holdings import Holding
from schedulers.fair.packing import pick
from schedulers.fair.world import World


def grow(world: World, touched: frozenset[AskId]) -> Iterator[Grow]:
    """After everybody had a turn; higher bands and priorities first, then who was admitted first. Books all of it.

    `touched` are those of whom something was taken in this plan: who just gave seats away is not given others.
    """
    short = [world.holdings[id_] for id_ in world.standing.short if id_ not in touched]
    elastic = [holding for holding in short if _is_open(world, holding)]
    for holding in sorted(elastic, key=_turn):
        seats = [seat for role in holding.facts.roles for seat in _more(world, holding, role)]
        if seats:
            yield Grow(ask_id=holding.ask.id, seats=tuple(seats))


def _turn(holding: Holding) -> tuple[int, int, int, AskId]:
    ask = holding.ask
    return (-holding.facts.ask_class.band, -ask.priority, ask.admitted_at, ask.id)


def _is_open(world: World, holding: Holding) -> bool:
    """Nothing of it is leaving, its cluster takes tasks, and it has no slices that single tasks would break."""
    topology = holding.facts.ask_class.topology
    whole = topology is None or not topology.slices
    stopped = any(world.ledger.queues[node].stopped for node in world.ledger.paths[holding.facts.queue])
    return whole and not stopped and not any(seat.leaving for seat in holding.ask.seats)


def _more(world: World, holding: Holding, role: RoleFacts) -> list[Placement]:
    held = frozenset(seat.rank for seat in holding.ask.seats)
    free_ranks = [
        rank for rank in range(role.first_rank, role.first_rank + role.role.tasks) if rank not in held
    ]
    end = world.floor.end(holding.facts)
    placed: list[Placement] = []
    for flavor, mask in role.masks:
        wanted = len(free_ranks) - len(placed)
        if not wanted:
            break
        counts = np.where(mask & _near(world, holding), world.fleet.counts(role.need, end), 0)
        one = world.ledger.request(holding.facts.queue, flavor, role.amounts, 1)
        affordable = min(
            (world.ledger.available(holding.facts.queue, cell) // amount for cell, amount in one.items()),
            default=wanted,
        )
        tasks = max(0, min(wanted, affordable, int(counts.sum())))
        for node, here in pick(counts, tasks) or () if tasks else ():
            world.fleet.book(node, role.need, here, end)
            ranks = free_ranks[len(placed) : len(placed) + here]
            placed.extend(Placement(rank=rank, node_id=world.fleet.nodes[node].id) for rank in ranks)
        world.ledger.add(holding.facts.queue, {cell: amount * tasks for cell, amount in one.items()})
    return placed


def _near(world: World, holding: Holding) -> Mask:
    """Nodes of its cluster, and of its own domain if all its tasks have to be in one."""
    level, topology = "cluster", holding.facts.ask_class.topology
    if topology is not None and topology.mode is TopologyMode.REQUIRED:
        level = topology.level
    ids = world.fleet.levels.get(level)
    first = holding.seats[0].node
    if ids is None or first < 0 or ids[first] < 0:
        return np.zeros(len(world.fleet.nodes), np.bool_)
    return np.asarray(ids == ids[first], np.bool_)
