"""Decides: one pass over all who wait, in order, each seated, given somebody's seats, or told why not.

1. Promises are kept: heirs get the seats that their victims have left, and asks the machines that were bought for them.
2. Everybody else has a turn, in the order of `order`: seated in what is free; else given the seats of victims; else
   promised a start, so that nothing behind it takes the room; else machines are bought.
3. What nobody could use goes to elastic asks that run with fewer tasks than they could.
4. Idle machines go back, and every class that waits is told why.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from controlplane.domain.ids import AskId, ClassId
from schedulers.base import Defer, Grow, Place, Placement, Plan, Preempt, ReasonCode, Snapshot
from schedulers.fair.buying import Market, machines_are_coming, releases
from schedulers.fair.explaining import explain
from schedulers.fair.facts import Facts
from schedulers.fair.growing import grow
from schedulers.fair.ledger import Request
from schedulers.fair.order import Line, Tournament
from schedulers.fair.preempting import Court
from schedulers.fair.reserving import Calendar
from schedulers.fair.victims import Heir
from schedulers.fair.world import Promise, World, holds, take


@dataclass(slots=True)
class _Draft:
    """The plan as far as it has come."""

    world: World
    court: Court
    calendar: Calendar
    market: Market
    places: list[Place] = field(default_factory=list)
    preempts: list[Preempt] = field(default_factory=list)
    grows: list[Grow] = field(default_factory=list)
    refused: dict[ClassId, Facts] = field(default_factory=dict)
    waiting: dict[ClassId, Defer] = field(default_factory=dict)
    """Classes of which an ask waits for something that is on its way, or that money would buy."""

    def plan(self) -> Plan:
        world = self.world
        world.reserved = self.calendar.reservations
        told = {id_: explain(world, facts) for id_, facts in self.refused.items()}
        defers = {**told, **{id_: _with_way_out(told.get(id_), defer) for id_, defer in self.waiting.items()}}
        taken = [seat for place in self.places for seat in place.seats]
        taken += [seat for growth in self.grows for seat in growth.seats]
        used = frozenset(world.fleet.number[seat.node_id] for seat in taken)
        return Plan(
            version=world.snapshot.version,
            places=tuple(self.places),
            preempts=tuple(self.preempts),
            grows=tuple(self.grows),
            provisions=tuple(self.market.provisions),
            releases=tuple(releases(world, used)),
            reserves=world.reserved,
            defers=tuple(defers[id_] for id_ in sorted(defers)),
        )


def _with_way_out(told: Defer | None, defer: Defer) -> Defer:
    """Where money does not help, what else would."""
    return defer if told is None else replace(defer, change=told.change, blocker=told.blocker)


def decide(snapshot: Snapshot) -> Plan:
    world = World.of(snapshot)
    draft = _Draft(world, Court.of(world), Calendar(world), Market(world))
    _hand_over(draft)
    _hand_out_machines(draft)
    _take_turns(draft)
    touched = {victim.ask_id for preempt in draft.preempts for victim in preempt.victims}
    draft.grows.extend(grow(world, frozenset(id_ for id_ in world.holdings if id_ not in touched)))
    return draft.plan()


def _hand_over(draft: _Draft) -> None:
    """Whom seats were promised gets them as soon as all of them are empty, before anybody else has a turn."""
    world = draft.world
    for ask_id, promise in sorted(world.promises.items()):
        seats = [
            (world.fleet.number[node_id], role)
            for rank, node_id in promise.nomination.seats
            if (role := promise.facts.role_of(rank)) is not None
        ]
        if holds(world.empty_seats, seats):
            take(world.empty_seats, seats)
            draft.places.append(_inherited(promise))
        else:
            draft.waiting[promise.facts.id] = _waits(promise.facts.id, ask_id, len(seats))


def _inherited(promise: Promise) -> Place:
    nomination = promise.nomination
    return Place(
        ask_id=nomination.ask_id,
        cluster_id=nomination.cluster_id,
        seats=tuple(Placement(rank=rank, node_id=node_id) for rank, node_id in nomination.seats),
    )


def _waits(class_id: ClassId, ask_id: AskId, seats: int) -> Defer:
    return Defer(
        class_id=class_id,
        code=ReasonCode.WAITING_FOR_SEATS,
        sentence=f"{seats} seats are promised to {ask_id}; who sits there is stopping",
        remedy="starts when they have stopped; nothing needs to be done",
    )


def _hand_out_machines(draft: _Draft) -> None:
    """Bought machines are for whom they were bought; who still waits for some is not looked at otherwise."""
    world = draft.world
    for ask_id, facts in sorted(world.buyers.items()):
        world.open_claims_of(ask_id)
        seating = world.floor.seat(facts)
        if seating is not None:
            world.floor.book(seating)
            draft.calendar.charge(seating)
            draft.places.append(seating.place(world.fleet, ask_id))
        elif world.is_waiting_for_machines(ask_id):
            world.close_claims_of(ask_id)
            draft.waiting[facts.id] = machines_are_coming(
                facts, f"machines were bought for {ask_id} and are starting"
            )
        else:
            draft.refused.setdefault(facts.id, facts)


def _take_turns(draft: _Draft) -> None:
    world = draft.world
    turns = Tournament.of(
        _lines(draft), ledger=world.ledger, now=world.epoch_start, fleet_totals=world.fleet_totals()
    )
    while (line := turns.next()) is not None:
        submitted, ask_id = line.asks[line.at]
        if _is_served(draft, Heir(ask_id, line.facts, line.priority, submitted)):
            turns.advance(line)
        else:
            turns.drop(line)


def _is_served(draft: _Draft, heir: Heir) -> bool:
    """Whether the next of its line should have a turn; if not, all of the line are refused."""
    seating = draft.world.floor.seat(heir.facts)
    if seating is not None and draft.calendar.allows(seating):
        draft.world.floor.book(seating)
        draft.calendar.charge(seating)
        draft.places.append(seating.place(draft.world.fleet, heir.ask_id))
        return True
    preempt = draft.court.preempt(heir) if seating is None else None
    if preempt is not None:
        draft.preempts.append(preempt)
        draft.waiting.setdefault(heir.facts.id, _waits(heir.facts.id, heir.ask_id, len(preempt.seats)))
        return True
    draft.refused.setdefault(heir.facts.id, heir.facts)
    starts_at = draft.calendar.reserve(heir.ask_id, heir.facts, heir.submitted)
    if draft.market.wants(heir.facts, heir.submitted, starts_at):
        bought = draft.market.buy(heir.ask_id, heir.facts)
        if bought is not None:
            draft.waiting[heir.facts.id] = bought
    return False


def _lines(draft: _Draft) -> Iterator[Line]:
    world = draft.world
    asks = world.snapshot.asks
    groups: dict[tuple[ClassId, int], list[tuple[int, AskId]]] = {}
    for ask_id, class_id, priority, submitted, not_before in zip(
        asks.ids, asks.classes, asks.priorities, asks.submitted, asks.not_before, strict=True
    ):
        if not_before <= world.now and ask_id not in world.promises and ask_id not in world.buyers:
            groups.setdefault((class_id, priority), []).append((submitted, ask_id))
    for (class_id, priority), members in sorted(groups.items()):
        facts = world.facts(class_id)
        if world.is_stopped(facts.queue):
            draft.refused.setdefault(class_id, facts)
            continue
        yield Line(facts, priority, sorted(members), _usual_request(world, facts))


def _usual_request(world: World, facts: Facts) -> Request:
    """What an ask of the class is taken to use while the order is made: its fewest tasks, on the first flavor."""
    if not all(role.masks for role in facts.roles):
        return {}
    return facts.request(world.ledger, (0,) * len(facts.roles), facts.sizes(facts.slack))
