"""Decides: one pass over all who wait, in order, each seated, given somebody's seats, or told why not.

1. Promises are kept: heirs get the seats that their victims have left, and asks the machines that were bought for them;
   what lost tasks is mended.
2. Everybody else has a turn, in the order of `order`: seated in what is free; else given the seats of victims; else
   promised a start, so that nothing behind it takes the room; else machines are bought.
3. What nobody could use goes to tasks on nodes that are not healthy, then to elastic asks that run with fewer tasks
   than they could.
4. Every class that waits is told why.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Final

from controlplane.domain.ids import AskId, ClassId
from schedulers.base import Defer, Grow, Move, Place, Placement, Plan, Preempt, ReasonCode, Shrink
from schedulers.fair.books import Books
from schedulers.fair.buying import Market, machines_are_coming
from schedulers.fair.consolidating import Shuffle
from schedulers.fair.explaining import explain
from schedulers.fair.facts import Facts
from schedulers.fair.growing import grow
from schedulers.fair.hopes import Hopes
from schedulers.fair.mending import mend, moves
from schedulers.fair.order import Head, Tournament
from schedulers.fair.preempting import Court
from schedulers.fair.reserving import Calendar
from schedulers.fair.seating import rather_taken
from schedulers.fair.victims import Heir
from schedulers.fair.world import Promise, World, holds

REFUSALS: Final = 16
"""In a row, after which all who have nothing to hope for in this plan are told so at once."""


@dataclass(frozen=True, slots=True)
class Decision:
    plan: Plan
    wakes_at: int
    """If the plan moves nothing and nothing happens, the next one is the same until then (microseconds)."""


@dataclass(slots=True)
class _Draft:
    """The plan as far as it has come."""

    world: World
    version: int
    court: Court
    hopes: Hopes
    calendar: Calendar
    market: Market
    shuffle: Shuffle
    touched: frozenset[AskId] = frozenset()
    """Who is told to stop by this plan."""

    places: list[Place] = field(default_factory=list)
    preempts: list[Preempt] = field(default_factory=list)
    settled: dict[AskId, Facts] = field(default_factory=dict)
    """Of those for whom machines were bought, who has been seated there or waits for more of them: no turn is left."""

    grows: list[Grow] = field(default_factory=list)
    shrinks: list[Shrink] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    refused: dict[ClassId, Facts] = field(default_factory=dict)
    waiting: dict[ClassId, Defer] = field(default_factory=dict)
    """Classes of which an ask waits for something that is on its way, or that money would buy."""

    def plan(self) -> Plan:
        world = self.world
        world.reserved = self.calendar.reservations
        told = {id_: explain(world, facts) for id_, facts in self.refused.items()}
        defers = {**told, **{id_: _with_way_out(told.get(id_), defer) for id_, defer in self.waiting.items()}}
        return Plan(
            version=self.version,
            places=tuple(self.places),
            preempts=tuple(self.preempts),
            grows=tuple(self.grows),
            shrinks=tuple(self.shrinks),
            moves=tuple(self.moves),
            provisions=tuple(self.market.provisions),
            reserves=world.reserved,
            past_uses=world.past_uses,
            lapsed=tuple(world.lapsed),
            defers=tuple(defers[id_] for id_ in sorted(defers)),
        )


def _with_way_out(told: Defer | None, defer: Defer) -> Defer:
    """Where money does not help, what else would."""
    return defer if told is None else replace(defer, change=told.change, blocker=told.blocker)


def decide(books: Books, *, version: int, now: int) -> Decision:
    """`now` in microseconds since the epoch."""
    world = World.of(books, now)
    court = Court.of(world)
    draft = _Draft(world, version, court, Hopes(court), Calendar.of(world), Market(world), Shuffle(world))
    _hand_over(draft)
    _mend(draft)
    _hand_out_machines(draft)
    _take_turns(draft)
    draft.moves.extend(moves(world, draft.touched))
    moved = frozenset(move.ask_id for move in draft.moves)
    draft.grows.extend(grow(world, draft.calendar, draft.touched | moved))
    plan = draft.plan()
    return Decision(plan, world.clock.wakes_at)


def _hand_over(draft: _Draft) -> None:
    """Whom seats were promised gets them as soon as all of them are empty, before anybody else has a turn."""
    world = draft.world
    for ask_id, promise in sorted(world.promises.items()):
        if ask_id in world.books.running:
            continue  # it is its own heir, and has not stopped yet
        seats = [
            (world.fleet.number[node_id], role)
            for rank, node_id in promise.nomination.seats
            if (role := promise.facts.role_of(rank)) is not None
        ]
        if holds(world.empty_seats, seats):
            world.hand_over(seats)
            draft.places.append(_inherited(promise))
        else:
            draft.waiting[promise.facts.id] = _waits(promise.facts.id, ask_id, len(seats))


def _mend(draft: _Draft) -> None:
    """Who stops for its own sake is nobody's victim in the same plan."""
    mended = mend(draft.world)
    draft.grows.extend(mended.grows)
    draft.shrinks.extend(mended.shrinks)
    for ask_id in sorted(mended.asks):
        draft.court.leave_alone(draft.world.standing.holdings[ask_id])
    draft.touched |= mended.asks


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
    """Bought machines are for whom they were bought; who still waits for some is not looked at otherwise.

    Who does not fit although all are there has a turn as everybody else, and its machines are anybody's in this plan.
    """
    world = draft.world
    for ask_id, facts in sorted(world.buyers.items()):
        world.open_claims_of(ask_id)
        seating = world.floor.seat(facts)
        if seating is not None:
            world.floor.book(seating)
            draft.calendar.charge(seating)
            draft.places.append(seating.place(world.fleet, ask_id))
            draft.settled[ask_id] = facts
        elif world.is_waiting_for_machines(ask_id):
            world.close_claims_of(ask_id)
            draft.waiting[facts.id] = machines_are_coming(
                facts, f"machines were bought for {ask_id} and are starting"
            )
            draft.settled[ask_id] = facts


def _take_turns(draft: _Draft) -> None:
    world = draft.world
    turns = Tournament(
        ledger=world.ledger,
        epoch=world.clock.epoch(),
        fleet_totals=world.standing.totals,
        lines=_lines(draft),
    )
    turns.play_all()
    refusals = 0
    while (head := turns.next()) is not None:
        if _is_served(draft, _heir_of(head)):
            turns.advance(head)
            refusals = 0
            continue
        if _heir_of(head).ask_id in world.buyers:
            turns.advance(head)  # the next of its line may buy, which this one has done
            continue
        turns.drop(head)
        refusals += 1
        if refusals == REFUSALS:
            turns.sift(lambda each: _has_hope(draft, _heir_of(each)))
            refusals = 0


def _heir_of(head: Head) -> Heir:
    turn, _, line = head
    return Heir(line.facts, line.priority, turn)


def _has_hope(draft: _Draft, heir: Heir) -> bool:
    """Whether its turn could be of any use as things stand; if not, its class is refused."""
    facts = heir.facts
    if (
        draft.world.floor.seat(facts) is not None
        or (draft.court.is_in_session and draft.hopes.has_any(heir))
        or draft.calendar.is_in_sight(facts, heir.submitted)
        or draft.market.is_wanted(facts)
        or (not draft.calendar.entries and draft.shuffle.is_conceivable(heir))
    ):
        return True
    draft.refused.setdefault(facts.id, facts)
    return False


def _is_served(draft: _Draft, heir: Heir) -> bool:
    """Whether the next of its line should have a turn; if not, all of the line are refused."""
    seating = draft.world.floor.seat(heir.facts)
    better = () if seating is None else rather_taken(draft.world.ledger, seating)
    preempt = _preempt(draft, heir, better) if better or seating is None else None
    if preempt is not None:
        draft.preempts.append(preempt)
        draft.touched |= {victim.ask_id for victim in preempt.victims}
        draft.waiting.setdefault(heir.facts.id, _waits(heir.facts.id, heir.ask_id, len(preempt.seats)))
        return True
    if seating is not None and draft.calendar.allows(seating.facts, seating.request):
        draft.world.floor.book(seating)
        draft.calendar.charge(seating)
        draft.places.append(seating.place(draft.world.fleet, heir.ask_id))
        return True
    if seating is None and _is_moved_for(draft, heir):
        return True
    draft.refused.setdefault(heir.facts.id, heir.facts)
    starts_at = draft.calendar.reserve(heir.ask_id, heir.facts, heir.submitted)
    before = draft.market.of_use_before(heir.facts, heir.submitted, starts_at)
    if before is not None and heir.ask_id not in draft.world.buyers:
        bought = draft.market.buy(heir.ask_id, heir.facts, before)
        if bought is not None:
            draft.waiting[heir.facts.id] = bought
    return False


def _is_moved_for(draft: _Draft, heir: Heir) -> bool:
    """Only for whoever is first to be blocked: what is promised for later would be in the way of the others."""
    if draft.calendar.entries:
        return False
    found = draft.shuffle.make_room(heir, draft.touched)
    if found is None:
        return False
    preempt, movers = found
    draft.preempts.append(preempt)
    draft.touched |= movers
    for ask_id in sorted(movers):
        draft.court.leave_alone(draft.world.standing.holdings[ask_id])
    draft.waiting.setdefault(heir.facts.id, _waits(heir.facts.id, heir.ask_id, len(preempt.seats)))
    return True


def _preempt(draft: _Draft, heir: Heir, flavors: Collection[tuple[int, ...]]) -> Preempt | None:
    """On these flavors; none: on any."""
    is_worth_it = draft.court.is_in_session and draft.hopes.has_any(heir)
    return draft.court.preempt(heir, flavors) if is_worth_it else None


def _lines(draft: _Draft) -> dict[int, list[Head]]:
    """Of all but those who were promised or have got something; stopped queues are refused."""
    world = draft.world
    lines = world.standing.lines
    found = {queue: list(heads) for queue, heads in lines.by_queue.items()}
    promised = {ask_id: each.facts for ask_id, each in world.promises.items()} | draft.settled
    if promised:
        queues = frozenset(facts.queue for facts in promised.values())
        found.update(lines.without(frozenset(promised), queues, world.ledger))
    for queue in [queue for queue in found if world.is_stopped(queue)]:
        for _, _, line in found.pop(queue):
            draft.refused.setdefault(line.facts.id, line.facts)
    return found
