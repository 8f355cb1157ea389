"""Seating: the flavors, the size and the nodes of one ask, within what its queue may use and what is free."""

from dataclasses import dataclass, field

from controlplane.domain.ids import AskId
from controlplane.domain.queues import Appetite
from schedulers.base import Place, Placement
from schedulers.fair.clock import Clock
from schedulers.fair.facts import Facts, Option
from schedulers.fair.fleet import NEVER, Fleet
from schedulers.fair.ledger import Ledger, Request
from schedulers.fair.packing import Seats, pack


@dataclass(frozen=True, slots=True)
class Seating:
    """An answer that fits; nothing of it is booked yet."""

    facts: Facts
    choice: tuple[int, ...]
    """For each role, the place of its flavor."""

    sizes: tuple[int, ...]
    seats: Seats
    request: Request

    def placements(self, fleet: Fleet) -> tuple[Placement, ...]:
        return tuple(
            Placement(rank=role.first_rank + index, node_id=fleet.nodes[node].id)
            for role, nodes in zip(self.facts.roles, self.seats, strict=True)
            for index, node in enumerate(nodes)
        )

    def place(self, fleet: Fleet, ask_id: AskId) -> Place:
        first = next(nodes[0] for nodes in self.seats if nodes)
        cluster = fleet.nodes[first].cluster_id
        return Place(ask_id=ask_id, cluster_id=cluster, seats=self.placements(fleet))


@dataclass(frozen=True, slots=True)
class Floor:
    """Where asks are seated: what is free, what may be used, and the time."""

    fleet: Fleet
    ledger: Ledger
    clock: Clock
    _refused: dict[tuple[object, ...], int] = field(default_factory=dict)
    """What did not fit, and the fleet's stamp of that time."""

    def seat(self, facts: Facts) -> Seating | None:
        """With as many tasks as possible; None: not even the fewest fit now."""
        if (whole := self._seat_without(facts, 0)) is not None or not (slack := facts.slack):
            return whole
        best = self._seat_without(facts, slack)
        lowest, highest = 0, slack  # without `lowest` tasks it does not fit, without `highest` it does
        while best is not None and highest - lowest > 1:
            middle = (lowest + highest) // 2
            found = self._seat_without(facts, middle)
            if found is None:
                lowest = middle
            else:
                best, highest = found, middle
        return best

    def book(self, seating: Seating, sign: int = 1) -> None:
        """Takes it off what is free and adds it to what is used; -1 undoes that."""
        facts, end = seating.facts, self.end(seating.facts)
        for role, nodes in zip(facts.roles, seating.seats, strict=True):
            for node in nodes:
                self.fleet.book(node, role.need, sign, end)
        if sign > 0:
            self.ledger.add(facts.queue, seating.request)
        else:
            self.ledger.remove(facts.queue, seating.request)

    def end(self, facts: Facts) -> int:
        return NEVER if facts.runs_for == NEVER else self.clock.now + facts.runs_for

    def _seat_without(self, facts: Facts, without: int) -> Seating | None:
        sizes = facts.sizes(without)
        if not any(sizes):
            return None  # an ask of no tasks at all is not seated, it waits for room for one
        borrowing: list[Option] = []
        patient = self.ledger.queues[facts.queue].when_can_borrow is Appetite.TRY_NEXT
        for option in facts.options(self.ledger, sizes):
            if not self.ledger.fits(facts.queue, option.request):
                continue
            if patient and self.ledger.borrows(facts.queue, option.request):
                borrowing.append(option)
                continue
            if (found := self._packed(facts, option, sizes)) is not None:
                return found
        for option in borrowing:
            if (found := self._packed(facts, option, sizes)) is not None:
                return found
        return None

    def _packed(self, facts: Facts, option: Option, sizes: tuple[int, ...]) -> Seating | None:
        shape = (*option.shape, self._horizon(facts))
        if self._refused.get(shape) == self.fleet.stamp:
            return None
        parts = facts.parts(option.choice, sizes)
        seats = pack(self.fleet, parts, facts.ask_class.topology, self.end(facts))
        if seats is None:
            self._refused[shape] = self.fleet.stamp
            return None
        return Seating(facts, option.choice, sizes, seats, option.request)

    def _horizon(self, facts: Facts) -> int:
        """How many of the promises for later it would run into."""
        if facts.runs_for == NEVER:
            return len(self.fleet.horizons)
        starts = [horizon.moment - facts.runs_for + 1 for horizon in self.fleet.horizons]
        return sum(1 for start in starts if self.clock.is_past(start))


def rather_taken(ledger: Ledger, seating: Seating) -> tuple[tuple[int, ...], ...]:
    """Choices of flavors that its queue would rather preempt on than sit where it could at once."""
    facts, queue = seating.facts, ledger.queues[seating.facts.queue]
    if queue.when_can_preempt is not Appetite.TAKE:
        return ()
    patient = queue.when_can_borrow is Appetite.TRY_NEXT
    options = facts.options(ledger, facts.sizes(facts.slack))
    place = next(place for place, option in enumerate(options) if option.choice == seating.choice)
    here = patient and ledger.borrows(facts.queue, seating.request), place
    return tuple(
        option.choice
        for place, option in enumerate(options)
        if (patient and ledger.borrows(facts.queue, option.request), place) < here
    )


def could_seat(fleet: Fleet, facts: Facts, option: Option, sizes: tuple[int, ...], *, anywhere: bool) -> bool:
    """Whether it fits by nodes alone, on its level or `anywhere`; asked again only when the room has changed."""
    key = (anywhere, *option.shape)
    stamp, fits = fleet.answers.get(key, (-1, False))
    if stamp != fleet.stamp:
        topology = None if anywhere else facts.ask_class.topology
        fits = pack(fleet, facts.parts(option.choice, sizes), topology, 0) is not None
        fleet.answers[key] = fleet.stamp, fits
    return fits
