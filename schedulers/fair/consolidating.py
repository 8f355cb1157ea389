"""Consolidating: running work moves together, so that a blocked gang finds a whole node, rack or block.

Who moves loses what it did since its last checkpoint and nothing else. So nobody moves who has saved none and never
said that it may be resized, nor for whoever is of a lower tier, band or priority. It is looked for only when no victims
were found for the first of those who have waited for a while, and done only if the movers lose less than the heir has
to do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from controlplane.domain.ids import AskId
from schedulers.base import PROMISE_SECONDS, Move, Preempt, Tier
from schedulers.fair.clock import SECOND
from schedulers.fair.facts import Facts, Option
from schedulers.fair.fleet import NEVER, NODE, Fleet, Mask
from schedulers.fair.growing import goes_on, is_open, may_start_again
from schedulers.fair.holdings import Held, Holding
from schedulers.fair.order import TIERS
from schedulers.fair.outlook import GUESS
from schedulers.fair.packing import Part, Seats, pack, start_levels
from schedulers.fair.seating import Seating
from schedulers.fair.victims import Heir, lost_seconds
from schedulers.fair.world import World, holds

PATIENCE: Final = 600 * SECOND
"""How long an ask has waited before anybody moves for it."""

MOST_SEARCHES: Final = 2
"""Of one plan."""

MOST_DOMAINS: Final = 4
MOST_MOVERS: Final = 8


@dataclass(frozen=True, slots=True)
class Mover:
    holding: Holding
    seats: tuple[Held, ...]
    """Those that change: where they go."""


@dataclass(slots=True)
class Shuffle:
    """Of one plan."""

    world: World
    searches: int = 0
    _free: tuple[int, Sequence[int]] = (-1, ())
    """The fleet's stamp, and what is free of each amount, wherever it lies."""

    def make_room(self, heir: Heir, touched: frozenset[AskId]) -> tuple[Preempt, frozenset[AskId]] | None:
        """A promise to the heir and the moves that keep it, with who moves; books all of it. None: nobody could.

        `touched` are those who stop anyway.
        """
        world, facts = self.world, heir.facts
        sizes = facts.sizes(facts.slack)
        if not self.is_conceivable(heir):
            return None
        for option in facts.options(world.ledger, sizes):
            if world.ledger.fits(facts.queue, option.request):
                self.searches += 1
                found = self._found(heir, option, sizes, touched)
                if found is not None:
                    movers, seats = found
                    seating = Seating(facts, option.choice, sizes, seats, option.request)
                    return self._carry_out(heir, seating, movers), _asks(movers)
        return None

    def is_conceivable(self, heir: Heir) -> bool:
        """Whether it is worth a look."""
        world, facts = self.world, heir.facts
        sizes = facts.sizes(facts.slack)
        return (
            self.searches < MOST_SEARCHES
            and any(sizes)
            and world.clock.is_past(heir.submitted + PATIENCE)
            and self._is_enough(facts, sizes)
        )

    def _is_enough(self, facts: Facts, sizes: tuple[int, ...]) -> bool:
        """There is as much free as it needs, wherever that lies."""
        fleet = self.world.fleet
        if self._free[0] != fleet.stamp:
            self._free = fleet.stamp, fleet.free.clip(min=0).sum(axis=0).tolist()
        needed: dict[int, int] = {}
        for role, tasks in zip(facts.roles, sizes, strict=True):
            for column, amount in role.need:
                needed[column] = needed.get(column, 0) + amount * tasks
        return all(column >= 0 and amount <= self._free[1][column] for column, amount in needed.items())

    def _found(
        self, heir: Heir, option: Option, sizes: tuple[int, ...], touched: frozenset[AskId]
    ) -> tuple[tuple[Mover, ...], Seats] | None:
        """Domain by domain, the roomiest first, with more and more of those who sit there."""
        fleet, facts = self.world.fleet, heir.facts
        parts = facts.parts(option.choice, sizes)
        for inside in _domains(fleet, facts, parts):
            near = sorted(self._movable(heir, inside, touched), key=self._loss)[:MOST_MOVERS]
            for count in range(1, len(near) + 1):
                found = _rearranged(fleet, _within(parts, inside), facts, near[:count])
                if found is not None and found[0] and self._is_worth_it(facts, sizes, found[0]):
                    return found
        return None

    def _movable(self, heir: Heir, inside: Mask, touched: frozenset[AskId]) -> Iterator[Holding]:
        world, least = self.world, _standing(heir.facts, heir.priority)
        for ask_id, holding in world.holdings.items():
            if ask_id in touched or not any(seat.node >= 0 and inside[seat.node] for seat in holding.seats):
                continue
            is_free = holding.facts.ask_class.tier is not Tier.PINNED and is_open(world, holding)
            is_weak = _standing(holding.facts, holding.ask.priority) >= least
            is_known = all(seat.node >= 0 for seat in holding.seats)
            if (
                is_free
                and is_weak
                and is_known
                and goes_on(holding)
                and may_start_again(holding, world.clock)
            ):
                yield holding

    def _loss(self, holding: Holding) -> tuple[int, int, AskId]:
        ask = holding.ask
        return lost_seconds(holding, self.world.clock.minute()), -ask.admitted_at, ask.id

    def _is_worth_it(self, facts: Facts, sizes: tuple[int, ...], movers: Sequence[Mover]) -> bool:
        """In GPU-seconds, or in task-seconds where there are no GPUs."""
        gpus, minute = self.world.fleet.gpus, self.world.clock.minute()
        lost = sum(
            lost_seconds(mover.holding, minute)
            * sum(max(1, dict(seat.role.need).get(gpus, 0)) for seat in mover.holding.seats)
            for mover in movers
        )
        size = sum(
            tasks * max(1, dict(role.need).get(gpus, 0))
            for role, tasks in zip(facts.roles, sizes, strict=True)
        )
        work = GUESS if facts.runs_for == NEVER else facts.runs_for
        return lost < size * (work // SECOND)

    def _carry_out(self, heir: Heir, seating: Seating, movers: Sequence[Mover]) -> Preempt:
        world = self.world
        old = [seat for mover in movers for seat in mover.holding.seats]
        world.inherit(seating, old, [seat for mover in movers for seat in _after(mover)])
        for mover in movers:
            del world.holdings[mover.holding.ask.id]
        place = seating.place(world.fleet, heir.ask_id)
        return Preempt(
            ask_id=heir.ask_id,
            cluster_id=place.cluster_id,
            seats=place.seats,
            victims=(),
            moves=tuple(
                Move(ask_id=mover.holding.ask.id, rank=seat.rank, node_id=world.fleet.nodes[seat.node].id)
                for mover in movers
                for seat in mover.seats
            ),
            until=world.now + PROMISE_SECONDS * SECOND,
        )


def _standing(facts: Facts, priority: int) -> tuple[int, int, int]:
    return TIERS[facts.ask_class.tier], -facts.band, -priority


def _asks(movers: Sequence[Mover]) -> frozenset[AskId]:
    return frozenset(mover.holding.ask.id for mover in movers)


def _after(mover: Mover) -> tuple[Held, ...]:
    changed = {seat.rank: seat for seat in mover.seats}
    return tuple(changed.get(seat.rank, seat) for seat in mover.holding.seats)


def _domains(fleet: Fleet, facts: Facts, parts: Sequence[Part]) -> Iterator[Mask]:
    """On the narrowest level on which it may sit; a single task takes one node."""
    topology = facts.ask_class.topology
    single = sum(part.tasks for part in parts) == 1
    for level in (NODE,) if single else start_levels(fleet, topology)[:1]:
        room = np.zeros(len(fleet.domain_names[level]), np.int64)
        ids = fleet.levels[level]
        for part in parts:
            column = part.need[0][0] if fleet.gpus not in dict(part.need) else fleet.gpus
            known = part.nodes & (ids >= 0)
            np.add.at(room, ids[known], fleet.free[known, column])
        for domain in np.argsort(-room, kind="stable")[:MOST_DOMAINS].tolist():
            if room[domain]:
                yield ids == domain


def _within(parts: Sequence[Part], inside: Mask) -> list[Part]:
    return [Part(need=part.need, nodes=part.nodes & inside, tasks=part.tasks) for part in parts]


def _rearranged(
    fleet: Fleet, parts: Sequence[Part], facts: Facts, movers: Sequence[Holding]
) -> tuple[tuple[Mover, ...], Seats] | None:
    """The heir inside, and all movers seated again beside it; None: not all of them find a place."""
    trial = fleet.with_room(fleet.free.copy())
    for holding in movers:
        _book(trial, holding.seats, -1)
    seats = pack(trial, parts, facts.ask_class.topology, 0)
    if seats is None:
        return None
    for part, nodes in zip(parts, seats, strict=True):
        for node in nodes:
            trial.book(node, part.need, 1)
    moved = []
    for holding in movers:
        there = _seated_again(trial, holding)
        if there is None:
            return None
        _book(trial, there, 1)
        new = tuple(seat for seat, old in zip(there, holding.seats, strict=True) if seat.node != old.node)
        if new:
            moved.append(Mover(holding, new))
    return tuple(moved), seats


def _book(fleet: Fleet, seats: Sequence[Held], sign: int) -> None:
    for seat in seats:
        fleet.book(seat.node, seat.role.need, sign)


def _seated_again(fleet: Fleet, holding: Holding) -> tuple[Held, ...] | None:
    """Where it sat if it still can; else anew in its cluster, on the flavors that it has. By rank, as before."""
    if holds(fleet.free, [(seat.node, seat.role) for seat in holding.seats]):
        return holding.seats
    cluster = fleet.levels["cluster"]
    parts, rows = [], []
    for role in holding.facts.roles:
        mine = [seat for seat in holding.seats if seat.role.first_rank == role.first_rank]
        masks = dict(role.masks)
        flavor = fleet.nodes[mine[0].node].flavor if mine else ""
        if mine and flavor not in masks:
            return None
        home = cluster == cluster[holding.seats[0].node]
        nodes = masks[flavor] & home if mine else home
        parts.append(Part(need=role.need, nodes=nodes, tasks=len(mine)))
        rows.append(mine)
    seats = pack(fleet, parts, holding.facts.ask_class.topology, 0)
    if seats is None:
        return None
    again = [seat for mine, nodes in zip(rows, seats, strict=True) for seat in _matched(mine, list(nodes))]
    return tuple(sorted(again, key=lambda seat: seat.rank))


def _matched(seats: Sequence[Held], nodes: list[int]) -> Iterator[Held]:
    """Whoever may stay stays."""
    leaving = []
    for seat in seats:
        if seat.node in nodes:
            nodes.remove(seat.node)
            yield seat
        else:
            leaving.append(seat)
    for seat, node in zip(leaving, nodes, strict=True):
        yield Held(seat.rank, node, seat.role)
