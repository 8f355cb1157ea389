"""Reserving: blocked gangs are promised a start, and what comes after them fits in only beside it.

After Slurm's backfill.c, with the first few blocked asks of a plan instead of one. Where nobody said how long running
work takes it is expected to take as long again as it has run, an hour at least; new work of unknown length is taken to
run for ever, so it cannot slip in. Such guesses are made only for those who have waited for a while.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from controlplane.domain.ids import AskId
from schedulers.base import Reservation
from schedulers.fair.clock import SECOND
from schedulers.fair.facts import Facts
from schedulers.fair.fleet import NEVER, Columns
from schedulers.fair.holdings import columns_of
from schedulers.fair.ledger import Request
from schedulers.fair.outlook import WINDOW, Endings, Moment, Outlook, seat_at
from schedulers.fair.seating import Seating
from schedulers.fair.world import World

DEPTH: Final = 8
"""Reservations of one plan."""

MOST_SEARCHES: Final = 32
"""Of one plan: asks that are looked for a start for."""

PATIENCE: Final = 600 * SECOND
"""How long an ask has waited before seats are kept for it on a guess."""


@dataclass(frozen=True, slots=True)
class _Entry:
    reservation: Reservation
    facts: Facts
    request: Request
    nodes: Columns
    amounts: Columns
    """What it takes of each of the nodes."""


@dataclass(slots=True)
class Calendar:
    """What is promised for later in one plan."""

    world: World
    outlook: Outlook
    entries: list[_Entry] = field(default_factory=list)
    spare: list[tuple[int, int, dict[int, int]]] = field(default_factory=list)
    """(moment, queue, what it leaves of each cell): of quota that is promised."""

    searches: int = 0

    @classmethod
    def of(cls, world: World) -> "Calendar":
        return cls(world, Outlook(world))

    @property
    def is_full(self) -> bool:
        return len(self.entries) >= DEPTH or self.searches >= MOST_SEARCHES

    @property
    def reservations(self) -> tuple[Reservation, ...]:
        return tuple(sorted((each.reservation for each in self.entries), key=lambda entry: entry.ask_id))

    def allows(self, facts: Facts, request: Request) -> bool:
        """Whether the quota that is promised is left alone, as far as this one borrows or is of the same queue."""
        end, ledger = self.world.floor.end(facts), self.world.ledger
        for moment, queue, spare in self.spare:
            related = facts.queue == queue or (
                ledger.paths[queue][-1] == ledger.paths[facts.queue][-1]
                and ledger.borrows(facts.queue, request)
            )
            if (
                related
                and moment < end
                and any(amount > spare.get(cell, amount) for cell, amount in request.items())
            ):
                return False
        return True

    def most(self, facts: Facts, one: Request, tasks: int) -> int:
        """How many of so many tasks leave it alone, each of which counts for `one`."""
        return bisect_left(
            range(1, tasks + 1),
            1,
            key=lambda some: not self.allows(facts, {cell: amount * some for cell, amount in one.items()}),
        )

    def charge(self, seating: Seating) -> None:
        self.outlook.add(seating)
        self.take(seating.facts, seating.request)

    def take(self, facts: Facts, request: Request, sign: int = 1) -> None:
        """Of the quota that is promised for later; -1 undoes that."""
        end, paths = self.world.floor.end(facts), self.world.ledger.paths
        for moment, queue, spare in self.spare:
            counts = moment < end and paths[queue][-1] == paths[facts.queue][-1]
            for cell, amount in request.items() if counts else ():
                if cell in spare:
                    spare[cell] -= amount * sign

    def is_in_sight(self, facts: Facts, submitted: int) -> bool:
        """Whether a start could be promised at all, if nobody else were promised one."""
        sizes = facts.sizes(facts.slack)
        if self.is_full or not any(sizes):
            return False
        endings = self.outlook.endings(is_guessing=self._is_guessing(submitted))
        return (
            bool(endings.moments) and seat_at(endings.at(len(endings.moments) - 1), facts, sizes) is not None
        )

    def reserve(self, ask_id: AskId, facts: Facts, submitted: int) -> int | None:
        """The earliest start that is in sight for the fewest tasks; None: there is none, or enough are reserved."""
        if not self.is_in_sight(facts, submitted):
            return None
        endings = self.outlook.endings(is_guessing=self._is_guessing(submitted))
        self.searches += 1
        for moments in self._stretches(self._moments(endings, facts), facts):
            # Within a stretch room only grows: its last moment says whether any will do, halving finds the first.
            if self._seated(endings, moments[-1], facts) is None:
                continue
            first = bisect_left(
                moments, 1, hi=len(moments) - 1, key=lambda each: self._is_enough(endings, each, facts)
            )
            found = self._seated(endings, moments[first], facts)
            if found is not None:
                self._enter(ask_id, *found)
                return moments[first]
        return None

    def _is_guessing(self, submitted: int) -> bool:
        return self.world.clock.is_past(submitted + PATIENCE)

    def _moments(self, endings: Endings, facts: Facts) -> list[int]:
        """From the first that would do if nobody else were promised anything.

        With the ends of what was promised to others: their seats are free again then, and nothing else is new.
        """
        sizes = facts.sizes(facts.slack)
        first = bisect_left(
            range(len(endings.moments)),
            1,
            key=lambda at: int(seat_at(endings.at(at), facts, sizes) is not None),
        )
        moments, last = endings.moments[first:], self.world.clock.now + WINDOW
        ends = [each.reservation.ends_at for each in self.entries]
        return sorted({*moments, *(end for end in ends if moments and moments[0] < end <= last)})

    def _stretches(self, moments: Sequence[int], facts: Facts) -> Iterator[Sequence[int]]:
        """In which what others were promised leaves the same room."""
        cuts = {0, len(moments)}
        for each in self.entries:
            cuts.add(bisect_left(moments, each.reservation.ends_at))
            if facts.runs_for != NEVER:  # later than that it would run into it
                cuts.add(bisect_right(moments, each.reservation.starts_at - facts.runs_for))
        for begin, end in pairwise(sorted(cuts)):
            yield moments[begin:end]

    def _is_enough(self, endings: Endings, moment: int, facts: Facts) -> int:
        return int(self._seated(endings, moment, facts) is not None)

    def _seated(self, endings: Endings, moment: int, facts: Facts) -> tuple[Seating, Moment] | None:
        beside = self._beside(endings.when(moment), facts)
        found = seat_at(beside, facts, facts.sizes(facts.slack))
        return None if found is None else (found, beside)

    def _beside(self, moment: Moment, facts: Facts) -> Moment:
        """Without what others were promised for the same time."""
        end = NEVER if facts.runs_for == NEVER else moment.moment + facts.runs_for
        others = tuple(
            place
            for place, each in enumerate(self.entries)
            if each.reservation.starts_at < end and moment.moment < each.reservation.ends_at
        )
        found = self._without(moment, others)
        return found if found.moment == moment.moment else replace(found, moment=moment.moment)

    def _without(self, moment: Moment, others: tuple[int, ...]) -> Moment:
        """Without what the entries at these places take: mostly one more than the last time."""
        if not others:
            return moment
        done, found = moment.beside[0] if moment.beside else ((), moment)
        if done != others:
            if others[: len(done)] != done:
                done, found = (), moment
            room, ledger = found.fleet.free.copy(), found.ledger.fork()
            for entry in (self.entries[place] for place in others[len(done) :]):
                room[entry.nodes] -= entry.amounts
                ledger.add(entry.facts.queue, entry.request)
            found = replace(moment, ledger=ledger, fleet=moment.fleet.with_room(room), known={})
            moment.beside[:] = [(others, found)]
        return found

    def _enter(self, ask_id: AskId, seating: Seating, beside: Moment) -> None:
        world, facts, moment = self.world, seating.facts, beside.moment
        place = seating.place(world.fleet, ask_id)
        end = NEVER if facts.runs_for == NEVER else moment + facts.runs_for
        entry = Reservation(
            ask_id=ask_id,
            cluster_id=place.cluster_id,
            seats=tuple((seat.rank, seat.node_id) for seat in place.seats),
            starts_at=moment,
            ends_at=end,
        )
        seats = [
            (node, role.need)
            for role, nodes in zip(facts.roles, seating.seats, strict=True)
            for node in nodes
        ]
        self.entries.append(_Entry(entry, facts, seating.request, *columns_of(seats, world.fleet)))
        slack = world.fleet.free + beside.freed
        for each in self.entries:
            if each.reservation.starts_at <= moment < each.reservation.ends_at:
                slack[each.nodes] -= each.amounts
        world.fleet.reserve(moment, slack)
        spare = {
            cell: beside.ledger.available(facts.queue, cell) - amount
            for cell, amount in seating.request.items()
        }
        self.spare.append((moment, facts.queue, spare))


def _when(moment: Moment) -> int:
    return moment.moment
