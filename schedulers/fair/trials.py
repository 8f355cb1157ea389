"""Trials: the search for a set of victims that is legal, suffices, and of which nobody could stay.

After Kueue's preemption.go and fairsharing, with three changes: victims are chosen within one domain, so that the gang
really fits where they sat; guaranteed work never goes for somebody's borrowing; and who is put back at the end must
not make the others illegal (Kueue #14543). What is tried is booked and undone; a trial leaves no trace.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from schedulers.base import Ground
from schedulers.fair.fleet import NODE, Columns, Fleet, Mask, times
from schedulers.fair.grounds import Grounds, Judge, is_below, is_within
from schedulers.fair.holdings import end_of
from schedulers.fair.ledger import Ledger, Request
from schedulers.fair.lineup import Lineup
from schedulers.fair.packing import Part, Seats, pack, room_of, start_levels
from schedulers.fair.victims import Candidate, Heir

MOST_DOMAINS: Final = 8
"""Of one level that are tried for one ask, those with the most room first."""

Cost = tuple[int, int, int, int, int]
"""Whether more than surplus goes, highest band and priority among the victims, GPU-seconds lost, how many go."""


@dataclass(frozen=True, slots=True)
class Sentence:
    victims: tuple[Candidate, ...]
    grounds: tuple[Ground, ...]
    seats: Seats
    cost: Cost


@dataclass(slots=True)
class Trial:
    """Of one heir on one choice of flavors."""

    court: Judge
    heir: Heir
    request: Request
    parts: list[Part]
    grounds: Grounds
    fleet: Fleet
    """As it will be when all have gone that were told to before, in this plan or an earlier one."""

    inside: Mask
    """The nodes that the heir may use in the present attempt."""

    groups: dict[int, list[Candidate]] = field(default_factory=dict)
    """By queue, in the order in which they would go, those for whom it is not clear beforehand that they may stay."""

    gone: list[tuple[Candidate, Ground]] = field(default_factory=list)

    @classmethod
    def of(cls, court: Judge, heir: Heir, request: Request, parts: list[Part]) -> "Trial":
        world = court.world
        everywhere = np.ones(len(world.fleet.nodes), np.bool_)
        own = world.ledger.subtree[heir.facts.queue]
        guaranteed = court.stakes(heir.facts.queue).with_newcomer(heir, request, own)
        grounds = Grounds(court, heir, request, guaranteed)
        return cls(court, heir, request, parts, grounds, world.with_what_leaves() or world.fleet, everywhere)

    @property
    def ledger(self) -> Ledger:
        return self.court.world.ledger

    def sentence(self) -> Sentence | None:
        """The cheapest over the domains that are tried; None: there is no legal set that suffices.

        Nobody goes whole where surplus tasks are enough.
        """
        stamps = self.fleet.stamp, self.ledger.stamp
        self.ledger.add(self.heir.facts.queue, self.request)
        self._summon()
        everybody, spare = self.groups, _spare(self.groups)
        found: Sentence | None = None
        for self.groups in (spare, everybody) if spare and spare != everybody else (everybody,):
            if (found := self._cheapest()) is not None:
                break
        self.ledger.remove(self.heir.facts.queue, self.request)
        self.fleet.stamp, self.ledger.stamp = stamps
        return found

    def _cheapest(self) -> Sentence | None:
        found: Sentence | None = None
        for domains in self._attempts() if self.groups else ():
            for inside in domains:
                self.inside = inside
                tried = self._attempt()
                if tried is not None and (found is None or tried.cost < found.cost):
                    found = tried
            if found is not None:
                break
        return found

    def _summon(self) -> None:
        """Keeps out whole queues that have nothing to fear, whatever else happens in the trial.

        A queue's share only falls while victims are taken, and that of the heir's side only by those on its side. So
        queues are looked at from the nearest to the farthest, each as if all candidates nearer by had gone.
        """
        gone: list[Candidate] = []
        nearer, level = list[Candidate](), 0
        for distance, queue in sorted((self._distance(queue), queue) for queue in self.court.queues()):
            if self.ledger.paths[queue][-1] != self._way[-1]:
                continue
            if distance > level:
                level = distance
                for each in nearer:
                    self.ledger.remove(each.queue, each.request)
                gone, nearer = gone + nearer, []
            kept = self._conceivable(queue)
            if kept:
                self.groups[queue] = kept
                nearer += [each for each in kept if not each.is_part]
        for each in gone:
            self.ledger.add(each.queue, each.request)

    def _conceivable(self, queue: int) -> list[Candidate]:
        """What is guaranteed goes for nobody but guaranteed work of its own queue."""
        group = self.court.candidates(queue)
        own = queue == self.heir.facts.queue
        if own:
            rule = self.ledger.queues[queue].preemption.within_queue
            group = [each for each in group if self.heir.outranks_in_queue(each, rule)]
        elif not self.grounds.may_lose(queue):
            return []
        if own and self.grounds.is_guaranteed:
            return list(group)
        return [each for each in group if not self.court.is_guaranteed(each)]

    @property
    def _way(self) -> tuple[int, ...]:
        return self.ledger.paths[self.heir.facts.queue]

    def _distance(self, queue: int) -> int:
        """How far up the common cohort is; the heir's own queue comes first."""
        its = self.ledger.paths[queue]
        return next((up for up, node in enumerate(self._way) if node in its), len(self._way))

    def _attempts(self) -> Iterator[list[Mask]]:
        """Level by level, the domains in which the heir could fit if all candidates went."""
        fleet, topology = self.fleet, self.heir.facts.ask_class.topology
        everywhere = np.ones(len(fleet.nodes), np.bool_)
        if pack(fleet, self.parts, topology, 0) is not None:
            yield [everywhere]  # only the quota is short, so nobody has to make room anywhere in particular
            return
        at_most = self._room_if_all_went()
        single = topology is None and sum(part.tasks for part in self.parts) == 1
        for level in (NODE,) if single else start_levels(fleet, topology):
            enough = np.ones(len(fleet.domain_names[level]), np.bool_)
            now = np.zeros(len(enough), np.int64)
            for part in self.parts:
                counts = np.where(part.nodes, times(at_most, part.need, fleet.gpus), 0)
                wide = topology if part is self.parts[-1] else None
                enough &= room_of(fleet, counts, wide, level) >= part.tasks
                free = np.where(part.nodes, fleet.counts(part.need), 0)
                now += room_of(fleet, free, None, level)
            candidates = np.flatnonzero(enough)
            roomiest = candidates[np.argsort(-now[candidates], kind="stable")][:MOST_DOMAINS]
            yield [fleet.levels[level] == domain for domain in roomiest.tolist()]

    def _room_if_all_went(self) -> Columns:
        room = self.fleet.free.copy()
        for group in self.groups.values():
            whole = frozenset(each.ask_id for each in group if not each.is_part)
            for candidate in group:
                if candidate.is_part and candidate.ask_id in whole:
                    continue
                for seat in candidate.seats:
                    for column, amount in seat.role.need:
                        if seat.node >= 0 and column >= 0:
                            room[seat.node, column] += amount
        return room

    def _attempt(self) -> Sentence | None:
        seats = self._take_until_it_fits()
        if seats is not None and self.gone:
            seats = self._put_back(seats)
        sentence = self._sentence(seats) if seats is not None and self.gone else None
        for candidate, _ in self.gone:
            self._restore(candidate)
        self.gone.clear()
        return sentence

    def _take_until_it_fits(self) -> Seats | None:
        spared: list[Candidate] = []
        line = Lineup.of(self.grounds, self.groups, spared)
        seats = self._seats()
        while seats is None:
            candidate = line.next()
            self.court.steps += 1
            if candidate is None:
                return self._take_one_of_each(spared)
            if not self._helps(candidate):
                continue
            ground = self.grounds.of(candidate)
            if ground is None:
                spared.append(candidate)
                continue
            self._evict(candidate, ground)
            line.somebody_went()
            seats = self._seats()
        return seats

    def _take_one_of_each(self, spared: Sequence[Candidate]) -> Seats | None:
        """The second rule of fair shares: the heir's new share only has to be smaller than the old one of the queue."""
        asked: list[int] = []
        hopeless: set[int] = set()
        for candidate in spared:
            queue = candidate.queue
            if queue in asked or queue in hopeless or not self._helps(candidate):
                continue
            if queue != self._way[0] and not self.grounds.may_lose(queue):
                hopeless.add(queue)
            elif self.grounds.of(candidate, old_share=True) is not None:
                asked.append(queue)
                hopeless.clear()
                self._evict(candidate, Ground.FAIR_SHARE)
                if (seats := self._seats()) is not None:
                    return seats
        return None

    def _put_back(self, seats: Seats) -> Seats:
        """From the last but one to the first: who can stay, stays, unless that makes another one's going illegal."""
        for candidate, ground in reversed(self.gone[:-1]):
            place = self.gone.index((candidate, ground))
            self._restore(candidate)
            del self.gone[place]
            again = self._seats()
            if again is not None and self._all_legal():
                seats = again
                continue
            self._release(candidate)
            self.gone.insert(place, (candidate, ground))
        return seats

    def _all_legal(self) -> bool:
        """Whether every victim of another queue still goes by the rule that it went by."""
        for candidate, ground in self.gone:
            if ground is Ground.RECLAIM and not self.grounds.owns_it(candidate.queue):
                return False
            if ground is not Ground.FAIR_SHARE:
                continue
            mine, its = self.grounds.siblings(candidate.queue)
            self.ledger.add(candidate.queue, candidate.request)
            old = self.ledger.claims(its)
            self.ledger.remove(candidate.queue, candidate.request)
            claims = self.ledger.claims(mine)
            if not (is_within(claims, self.ledger.claims(its)) or is_below(claims, old)):
                return False
        return True

    def _sentence(self, seats: Seats) -> Sentence:
        rows = [(candidate.rank, candidate) for candidate, _ in self.gone]
        standing = max(rank[:3] for rank, _ in rows)
        gpu_seconds = sum(
            rank[3] * max(1, sum(dict(seat.role.need).get(self.fleet.gpus, 0) for seat in candidate.seats))
            for rank, candidate in rows
        )
        cost = (*standing, gpu_seconds, len(rows))
        victims, grounds = zip(*self.gone, strict=True)
        return Sentence(victims, grounds, seats, cost)

    def _seats(self) -> Seats | None:
        """Of the heir as things stand in the trial; None: it does not fit yet."""
        if self.ledger.is_overdrawn(self.heir.facts.queue, self.request):
            return None
        parts = [
            Part(need=part.need, nodes=part.nodes & self.inside, tasks=part.tasks) for part in self.parts
        ]
        return pack(self.fleet, parts, self.heir.facts.ask_class.topology, 0)

    def _helps(self, candidate: Candidate) -> bool:
        """It uses what is short: some of an overdrawn cell, or room on a node that the heir could use."""
        if any(
            self.ledger.available(self.heir.facts.queue, cell) < 0
            for cell in self.request
            if candidate.request.get(cell)
        ):
            return True
        usable = [part.nodes & self.inside for part in self.parts]
        return any(seat.node >= 0 and mask[seat.node] for seat in candidate.seats for mask in usable)

    def _evict(self, candidate: Candidate, ground: Ground) -> None:
        if not candidate.is_part:  # its surplus tasks that have gone already go with it
            for earlier in [each for each in self.gone if each[0].ask_id == candidate.ask_id]:
                self._restore(earlier[0])
                self.gone.remove(earlier)
        self._release(candidate)
        self.gone.append((candidate, ground))

    def _release(self, candidate: Candidate) -> None:
        self._book(candidate, -1)
        self.ledger.remove(candidate.queue, candidate.request)

    def _restore(self, candidate: Candidate) -> None:
        self._book(candidate, 1)
        self.ledger.add(candidate.queue, candidate.request)

    def _book(self, candidate: Candidate, sign: int) -> None:
        end = end_of(candidate.holding, self.court.world.clock)
        for seat in candidate.seats:
            if seat.node >= 0:
                self.fleet.book(seat.node, seat.role.need, sign, end)


def _spare(groups: Mapping[int, Sequence[Candidate]]) -> dict[int, list[Candidate]]:
    parts = {queue: [each for each in group if each.is_part] for queue, group in groups.items()}
    return {queue: group for queue, group in parts.items() if group}
