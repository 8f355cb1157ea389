"""Mending: gangs that lost tasks get them back or let go of the rest, and tasks leave nodes that are not healthy.

A gang below its least size has the first claim on a replacement, before anybody else has a turn. A move comes after all
turns: its task goes on where it is, so nobody waits longer, or is sent away, for the seat that it goes to. Only who can
go on where it stopped is moved: a cordon ends nobody's work.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from controlplane.domain.ids import AskId
from schedulers.base import Grow, Move, Shrink
from schedulers.fair.growing import (
    book_more,
    give_back,
    goes_on,
    is_open,
    may_start_again,
    near,
    placements,
    sick_nodes,
    sits_on,
    turn,
)
from schedulers.fair.holdings import Held, Holding
from schedulers.fair.packing import pick
from schedulers.fair.world import World


@dataclass(slots=True)
class Mended:
    grows: list[Grow] = field(default_factory=list)
    shrinks: list[Shrink] = field(default_factory=list)

    @property
    def asks(self) -> frozenset[AskId]:
        rows: list[Grow | Shrink] = [*self.grows, *self.shrinks]
        return frozenset(each.ask_id for each in rows)


def mend(world: World) -> Mended:
    """Books what is taken; what is let go of is free only when it has been left."""
    made = Mended()
    short = [world.holdings[id_] for id_ in world.standing.short]
    for holding in sorted((each for each in short if _is_broken(each)), key=turn):
        if any(seat.leaving for seat in holding.ask.seats):
            continue
        added = book_more(world, holding) if is_open(world, holding) else ()
        if _is_broken(holding, added):
            give_back(world, holding, added)
            made.shrinks.append(_all_of(holding))
            world.let_go(holding)
        else:
            made.grows.append(Grow(ask_id=holding.ask.id, seats=placements(world, added)))
    return made


def moves(world: World, touched: frozenset[AskId]) -> Iterator[Move]:
    """Off nodes that are not healthy; books the new seats. `touched` are those who stop by this plan anyway."""
    for holding in sorted(_on_sick_nodes(world, touched), key=turn):
        yield from _moves(world, holding)


def _is_broken(holding: Holding, added: tuple[Held, ...] = ()) -> bool:
    ranks = [seat.rank for seat in (*holding.seats, *added)]
    return any(
        sum(1 for rank in ranks if role.first_rank <= rank < role.first_rank + role.role.tasks)
        < role.role.tasks_min
        for role in holding.facts.roles
    )


def _all_of(holding: Holding) -> Shrink:
    return Shrink(ask_id=holding.ask.id, ranks=tuple(sorted(seat.rank for seat in holding.seats)))


def _on_sick_nodes(world: World, touched: frozenset[AskId]) -> Iterator[Holding]:
    sick = sick_nodes(world)
    if not sick.any():
        return
    for ask_id, holding in world.holdings.items():
        is_ill = sits_on(sick, holding) and goes_on(holding)
        may_move = is_ill and ask_id not in touched and is_open(world, holding)
        if may_move and may_start_again(holding, world.clock):
            yield holding


def _moves(world: World, holding: Holding) -> Iterator[Move]:
    """All of its tasks leave nodes that are not healthy, or none of them."""
    sick, end = sick_nodes(world), world.floor.end(holding.facts)
    moved: list[Held] = []
    for seat in holding.seats:
        if seat.node < 0 or not sick[seat.node]:
            continue
        there = _replacement(world, holding, seat)
        if there is None:
            for each in moved:
                world.fleet.book(each.node, each.role.need, -1, end)
            return
        world.fleet.book(there, seat.role.need, 1, end)
        moved.append(Held(seat.rank, there, seat.role))
    for each in moved:
        yield Move(ask_id=holding.ask.id, rank=each.rank, node_id=world.fleet.nodes[each.node].id)


def _replacement(world: World, holding: Holding, seat: Held) -> int | None:
    """A node of the same flavor, so that nothing changes in any quota."""
    flavor = world.fleet.nodes[seat.node].flavor
    masks = [mask for name, mask in seat.role.masks if name == flavor]
    if not masks:
        return None
    counts = world.fleet.counts(seat.role.need, world.floor.end(holding.facts))
    picked = pick(np.where(masks[0] & near(world, holding), counts, 0), 1)
    return picked[0][0] if picked else None
