"""Decides: one pass over all who wait, in order, each seated, given somebody's seats, or told why not."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from controlplane.domain.ids import AskId, ClassId
from schedulers.base import Defer, Place, Placement, Plan, Preempt, ReasonCode, Snapshot
from schedulers.fair.explaining import explain
from schedulers.fair.facts import Facts
from schedulers.fair.ledger import Request
from schedulers.fair.order import Line, Tournament
from schedulers.fair.preempting import Court
from schedulers.fair.victims import Heir
from schedulers.fair.world import Promise, World, holds, take


@dataclass(slots=True)
class _Draft:
    """The plan as far as it has come."""

    places: list[Place] = field(default_factory=list)
    preempts: list[Preempt] = field(default_factory=list)
    refused: dict[ClassId, Facts] = field(default_factory=dict)
    waiting: dict[ClassId, Defer] = field(default_factory=dict)
    """Classes of which an ask waits for something that is already on its way."""


def decide(snapshot: Snapshot) -> Plan:
    world, draft = World.of(snapshot), _Draft()
    _hand_over(world, draft)
    _take_turns(world, draft)
    defers = {id_: explain(world, facts) for id_, facts in draft.refused.items()}
    defers = {**draft.waiting, **defers}
    return Plan(
        version=snapshot.version,
        places=tuple(draft.places),
        preempts=tuple(draft.preempts),
        defers=tuple(defers[id_] for id_ in sorted(defers)),
    )


def _hand_over(world: World, draft: _Draft) -> None:
    """Whom seats were promised gets them as soon as all of them are empty, before anybody else has a turn."""
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


def _take_turns(world: World, draft: _Draft) -> None:
    totals = [0] * len(set(world.ledger.resource_of))
    for cell, amount in world.fleet.capacity().items():
        totals[world.ledger.resource_of[world.ledger.cell_number[cell]]] += amount
    turns = Tournament.of(
        _lines(world, draft), ledger=world.ledger, now=world.epoch_start, fleet_totals=totals
    )
    court = Court.of(world)
    while (line := turns.next()) is not None:
        submitted, ask_id = line.asks[line.at]
        seating = world.floor.seat(line.facts)
        if seating is not None:
            world.floor.book(seating)
            draft.places.append(seating.place(world.fleet, ask_id))
            turns.advance(line)
            continue
        preempt = court.preempt(Heir(ask_id, line.facts, line.priority, submitted))
        if preempt is not None:
            draft.preempts.append(preempt)
            draft.waiting[line.facts.id] = _waits(line.facts.id, ask_id, len(preempt.seats))
            turns.advance(line)
            continue
        draft.refused.setdefault(line.facts.id, line.facts)
        turns.drop(line)


def _lines(world: World, draft: _Draft) -> Iterator[Line]:
    asks = world.snapshot.asks
    groups: dict[tuple[ClassId, int], list[tuple[int, AskId]]] = {}
    for ask_id, class_id, priority, submitted, not_before in zip(
        asks.ids, asks.classes, asks.priorities, asks.submitted, asks.not_before, strict=True
    ):
        if not_before <= world.now and ask_id not in world.promises:
            groups.setdefault((class_id, priority), []).append((submitted, ask_id))
    for (class_id, priority), members in sorted(groups.items()):
        facts = world.facts(class_id)
        if world.ledger.queues[facts.queue].stopped:
            draft.refused.setdefault(class_id, facts)
            continue
        yield Line(facts, priority, sorted(members), _usual_request(world, facts))


def _usual_request(world: World, facts: Facts) -> Request:
    """What an ask of the class is taken to use while the order is made: its fewest tasks, on the first flavor."""
    if not all(role.masks for role in facts.roles):
        return {}
    return facts.request(world.ledger, (0,) * len(facts.roles), facts.sizes(facts.slack))
