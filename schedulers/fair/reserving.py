"""Reserving: blocked gangs are promised a start, and what comes after them fits in only beside it.

After Slurm's backfill.c, with the first few blocked asks of a plan instead of one. Where nobody said how long running
work takes it is expected to take as long again as it has run, an hour at least; new work of unknown length is taken to
run for ever, so it cannot slip in. Such guesses are made only for those who have waited for a while.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from controlplane.domain.ids import AskId
from schedulers.base import Reservation
from schedulers.fair.facts import SECOND, Facts, RoleFacts
from schedulers.fair.fleet import NEVER, Columns
from schedulers.fair.ledger import Request
from schedulers.fair.packing import pack
from schedulers.fair.seating import Seating
from schedulers.fair.world import Holding, World

DEPTH: Final = 8
"""Reservations of one plan."""

MOST_MOMENTS: Final = 64
"""At which running work ends, that are looked at for one reservation."""

WINDOW: Final = 7 * 86_400 * SECOND
GUESS: Final = 3600 * SECOND
PATIENCE: Final = 600 * SECOND
"""How long an ask has waited before seats are kept for it on a guess."""


@dataclass(frozen=True, slots=True)
class _Stay:
    """Seats that are in use until a moment."""

    end: int
    began: int
    seats: tuple[tuple[int, RoleFacts], ...]
    queue: int
    request: Request


@dataclass(slots=True)
class Calendar:
    """What is promised for later in one plan."""

    world: World
    entries: list[tuple[Reservation, Facts, Request]] = field(default_factory=list)
    spare: list[tuple[int, int, dict[int, int]]] = field(default_factory=list)
    """(moment, queue, what it leaves of each cell): of quota that is promised."""

    fresh: list[_Stay] = field(default_factory=list)
    """What this plan seats."""

    _held: dict[AskId, _Stay] = field(default_factory=dict)

    @property
    def reservations(self) -> tuple[Reservation, ...]:
        return tuple(sorted((entry for entry, _, _ in self.entries), key=lambda entry: entry.ask_id))

    def allows(self, seating: Seating) -> bool:
        """Whether the quota that is promised is left alone, as far as this one borrows or is of the same queue."""
        facts, end = seating.facts, self.world.floor.end(seating.facts)
        ledger = self.world.ledger
        for moment, queue, spare in self.spare:
            related = facts.queue == queue or (
                ledger.paths[queue][-1] == ledger.paths[facts.queue][-1]
                and ledger.borrows(facts.queue, seating.request)
            )
            if (
                related
                and moment < end
                and any(amount > spare.get(cell, amount) for cell, amount in seating.request.items())
            ):
                return False
        return True

    def charge(self, seating: Seating) -> None:
        self.fresh.append(self._stay_of(seating))
        end = self.world.floor.end(seating.facts)
        for moment, _, spare in self.spare:
            for cell, amount in seating.request.items() if moment < end else ():
                if cell in spare:
                    spare[cell] -= amount

    def reserve(self, ask_id: AskId, facts: Facts, submitted: int) -> int | None:
        """The earliest start that is in sight for the fewest tasks; None: there is none, or enough are reserved."""
        sizes = facts.sizes(facts.slack)
        if len(self.entries) >= DEPTH or not any(sizes):
            return None
        guessing = self.world.now - submitted >= PATIENCE
        ledger, free, ended = self.world.ledger, self.world.fleet.free.copy(), list[_Stay]()
        start: int | None = None
        for moment, group in self._endings(guessing=guessing):
            for stay in group:
                _give_back(free, stay)
                ledger.remove(stay.queue, stay.request)
            ended.extend(group)
            found = self._seat_at(moment, free, facts, sizes)
            if found is not None:
                self._enter(ask_id, found, moment, free)
                start = moment
                break
        for stay in ended:
            ledger.add(stay.queue, stay.request)
        return start

    def _endings(self, *, guessing: bool) -> list[tuple[int, list[_Stay]]]:
        """Moments at which something ends, and what ends there, in order."""
        endings: dict[int, list[_Stay]] = {entry.ends_at: [] for entry, _, _ in self.entries}
        for stay in self._stays():
            guess = self.world.now + max(GUESS, self.world.now - stay.began)
            end = guess if guessing and stay.end == NEVER else stay.end
            endings.setdefault(end, []).append(stay)
        last = self.world.now + WINDOW
        return [(moment, endings[moment]) for moment in sorted(endings) if moment <= last][:MOST_MOMENTS]

    def _stays(self) -> Iterator[_Stay]:
        """Of all that runs: what was taken from an ask in this plan no longer counts as its own."""
        for ask_id, holding in self.world.holdings.items():
            known = self._held.get(ask_id)
            if known is None or len(known.seats) > len(holding.seats):
                known = self._held[ask_id] = self._stay_in(holding)
            yield known
        yield from self.fresh

    def _stay_in(self, holding: Holding) -> _Stay:
        seats = tuple((seat.node, seat.role) for seat in holding.seats if seat.node >= 0)
        end, began = self.world.end_of(holding), holding.ask.admitted_at
        return _Stay(end, began, seats, holding.facts.queue, holding.request)

    def _stay_of(self, seating: Seating) -> _Stay:
        roles = zip(seating.facts.roles, seating.seats, strict=True)
        seats = tuple((node, role) for role, nodes in roles for node in nodes)
        end = self.world.floor.end(seating.facts)
        return _Stay(end, self.world.now, seats, seating.facts.queue, seating.request)

    def _seat_at(self, moment: int, free: Columns, facts: Facts, sizes: Sequence[int]) -> Seating | None:
        """Beside what others were promised for the same time."""
        world, end = self.world, NEVER if facts.runs_for == NEVER else moment + facts.runs_for
        left = free.copy()
        for entry, its, _ in self.entries:
            if entry.starts_at < end and moment < entry.ends_at:
                _take(left, world, entry, its)
        later = replace(world.fleet, free=left, horizons=[], _log=[], _counts={})
        for choice in facts.combinations():
            request = facts.request(world.ledger, choice, sizes)
            if world.ledger.fits(facts.queue, request):
                seats = pack(later, facts.parts(choice, sizes), facts.ask_class.topology, 0)
                if seats is not None:
                    return Seating(facts, choice, tuple(sizes), seats, request)
        return None

    def _enter(self, ask_id: AskId, seating: Seating, moment: int, free: Columns) -> None:
        """While the ledger still stands as it will at that moment."""
        world, facts = self.world, seating.facts
        place = seating.place(world.fleet, ask_id)
        end = NEVER if facts.runs_for == NEVER else moment + facts.runs_for
        entry = Reservation(
            ask_id=ask_id,
            cluster_id=place.cluster_id,
            seats=tuple((seat.rank, seat.node_id) for seat in place.seats),
            starts_at=moment,
            ends_at=end,
        )
        slack = free.copy()
        for each, its in [*((known, its) for known, its, _ in self.entries), (entry, facts)]:
            if each.starts_at <= moment < each.ends_at:
                _take(slack, world, each, its)
        world.fleet.reserve(moment, slack)
        spare = {
            cell: world.ledger.available(facts.queue, cell) - amount
            for cell, amount in seating.request.items()
        }
        self.spare.append((moment, facts.queue, spare))
        self.entries.append((entry, facts, seating.request))


def _give_back(free: Columns, stay: _Stay) -> None:
    for node, role in stay.seats:
        for column, amount in role.need:
            if column >= 0:
                free[node, column] += amount


def _take(room: Columns, world: World, entry: Reservation, facts: Facts) -> None:
    for rank, node_id in entry.seats:
        role = facts.role_of(rank)
        for column, amount in role.need if role is not None else ():
            room[world.fleet.number[node_id], column] -= amount
