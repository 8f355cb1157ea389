"""The outlook: what will be free, and what may be used, whenever something that runs now has ended.

Where nobody said how long running work takes it is expected to take as long again as it has run, an hour at least.
However much runs, all of its endings count: they are sorted once, and of only those that somebody looks at it is added
up what is free by then.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

import numpy as np

from schedulers.fair.clock import MINUTE, SECOND
from schedulers.fair.facts import Facts
from schedulers.fair.fleet import NEVER, Columns, Fleet
from schedulers.fair.holdings import add_to, columns_of, end_of
from schedulers.fair.ledger import Ledger, Request
from schedulers.fair.packing import Seats, pack
from schedulers.fair.seating import Seating
from schedulers.fair.world import World

MOST_MOMENTS: Final = 64
"""That are remembered at a time, so that memory does not grow with what runs; others are added up each time."""

WINDOW: Final = 7 * 86_400 * SECOND
GUESS: Final = 3600 * SECOND


@dataclass(frozen=True, slots=True)
class Moment:
    moment: int
    freed: Columns
    """Beyond what is free now, promises apart."""

    ledger: Ledger
    fleet: Fleet
    """With all of that room."""

    known: dict[tuple[object, ...], Seats | None] = field(default_factory=dict)
    """Seats of the shapes that were looked for."""

    beside: list[tuple[tuple[int, ...], "Moment"]] = field(default_factory=list)
    """Of the last time that something was taken off: what it was, and what that left."""


@dataclass(frozen=True, slots=True)
class _Stay:
    """Seats that are in use until a moment."""

    end: int
    began: int
    nodes: Columns
    amounts: Columns
    """What is held on each of the nodes."""

    queue: int
    request: Request


@dataclass(slots=True)
class Endings:
    """In order, as things stand."""

    world: World
    moments: list[int]
    stays: list[list[_Stay]]
    """What ends at each of the moments."""

    _known: dict[int, Moment] = field(default_factory=dict)
    """By place among the moments."""

    @classmethod
    def of(cls, world: World, stays: dict[int, list[_Stay]]) -> Self:
        moments = sorted(stays)
        return cls(world, moments, [stays[moment] for moment in moments])

    def when(self, moment: int) -> Moment:
        """That moment, which is not before the first ending."""
        found = self.at(bisect_right(self.moments, moment) - 1)
        return found if found.moment == moment else replace(found, moment=moment)

    def at(self, place: int) -> Moment:
        known = self._known.get(place)
        if known is None:
            known = self._added_up(place)
            if len(self._known) < MOST_MOMENTS:
                self._known[place] = known
        return known

    def _added_up(self, place: int) -> Moment:
        """From the nearest one before it that is known."""
        world = self.world
        before = max((each for each in self._known if each < place), default=-1)
        base = self._known.get(before)
        freed = np.zeros_like(world.fleet.free) if base is None else base.freed.copy()
        ledger = world.ledger.fork() if base is None else base.ledger.fork()
        _end([stay for stays in self.stays[before + 1 : place + 1] for stay in stays], freed, ledger)
        return Moment(self.moments[place], freed, ledger, world.fleet.with_room(world.fleet.free + freed))


@dataclass(slots=True)
class Outlook:
    world: World
    fresh: list[_Stay] = field(default_factory=list)
    """What this plan seats."""

    _stamp: int = -1
    _made: dict[bool, Endings] = field(default_factory=dict)

    def add(self, seating: Seating) -> None:
        roles = zip(seating.facts.roles, seating.seats, strict=True)
        seats = [(node, role.need) for role, nodes in roles for node in nodes]
        end, now = self.world.floor.end(seating.facts), self.world.clock.now
        nodes, amounts = columns_of(seats, self.world.fleet)
        self.fresh.append(_Stay(end, now, nodes, amounts, seating.facts.queue, seating.request))

    def endings(self, *, is_guessing: bool) -> Endings:
        """Guesses are made for those who have waited for a while, to the minute."""
        if self.world.ledger.stamp != self._stamp:  # nobody is seated without it
            self._stamp = self.world.ledger.stamp
            self._made.clear()
        if is_guessing not in self._made:
            self._made[is_guessing] = self._endings(is_guessing=is_guessing)
        return self._made[is_guessing]

    def _endings(self, *, is_guessing: bool) -> Endings:
        last = self.world.clock.epoch() + WINDOW
        stays: dict[int, list[_Stay]] = {}
        for stay in self._stays():
            end = self._guess(stay) if is_guessing and stay.end == NEVER else stay.end
            if end <= last:
                stays.setdefault(end, []).append(stay)
        return Endings.of(self.world, stays)

    def _guess(self, stay: _Stay) -> int:
        soon = self.world.clock.minute() + MINUTE
        return soon + max(GUESS, soon - stay.began)

    def _stays(self) -> Iterator[_Stay]:
        """Of all that runs: what was taken from an ask in this plan no longer counts as its own."""
        world = self.world
        for ask_id, holding in world.holdings.items():
            nodes, amounts = world.standing.columns(ask_id, holding)
            end, began = end_of(holding, world.clock), holding.ask.admitted_at
            yield _Stay(end, began, nodes, amounts, holding.facts.queue, holding.request)
        yield from self.fresh


def _end(stays: Sequence[_Stay], freed: Columns, ledger: Ledger) -> None:
    by_queue: dict[int, Request] = {}
    for stay in stays:
        add_to(by_queue.setdefault(stay.queue, {}), stay.request)
    nodes = np.concatenate([stay.nodes for stay in stays])
    np.add.at(freed, nodes, np.concatenate([stay.amounts for stay in stays]))
    for queue, request in sorted(by_queue.items()):
        ledger.remove(queue, request)


def seat_at(moment: Moment, facts: Facts, sizes: tuple[int, ...]) -> Seating | None:
    """Of an ask at that moment."""
    for option in facts.options(moment.ledger, sizes):
        if moment.ledger.fits(facts.queue, option.request):
            if option.shape not in moment.known:
                parts = facts.parts(option.choice, sizes)
                moment.known[option.shape] = pack(moment.fleet, parts, facts.ask_class.topology, 0)
            seats = moment.known[option.shape]
            if seats is not None:
                return Seating(facts, option.choice, sizes, seats, option.request)
    return None
