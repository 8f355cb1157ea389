"""Trials: the search for a set of victims that is legal, suffices, and of which nobody could stay.

After Kueue's preemption.go and fairsharing, with three changes: victims are chosen within one domain, so that the gang
really fits where they sat; guaranteed work never goes for somebody's borrowing; and who is put back at the end must
not make the others illegal (Kueue #14543). What is tried is booked and undone; a trial leaves no trace.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from controlplane.domain.queues import Reclaim, WithinQueue
from schedulers.base import Ground
from schedulers.fair.fleet import NODE, Columns, Fleet, Mask, times
from schedulers.fair.ledger import Ledger, Request
from schedulers.fair.packing import Part, Seats, pack, room_of, start_levels
from schedulers.fair.victims import Candidate, Heir, Newcomer, Register, Verdicts
from schedulers.fair.world import World

MOST_DOMAINS: Final = 8
"""Of one level that are tried for one ask, those with the most room first."""

Cost = tuple[int, int, int, int, int]
"""Whether more than surplus goes, highest band and priority among the victims, GPU-seconds lost, how many go."""


class Judge(Protocol):
    """What a trial has to ask of the court."""

    world: World
    register: Register
    verdicts: Verdicts
    steps: int
    """Candidates that were looked at so far."""

    def is_guaranteed(self, candidate: Candidate) -> bool: ...

    def would_be_guaranteed(self, heir: Heir, newcomer: Newcomer) -> bool: ...


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
    is_guaranteed: bool
    inside: Mask
    """The nodes that the heir may use in the present attempt."""

    groups: dict[int, list[Candidate]] = field(default_factory=dict)
    """By queue, those for whom it is not clear beforehand that they may stay."""

    gone: list[tuple[Candidate, Ground]] = field(default_factory=list)

    @classmethod
    def of(cls, court: Judge, heir: Heir, request: Request, parts: list[Part]) -> "Trial":
        band = heir.facts.ask_class.band
        newcomer = Newcomer(heir.ask_id, band, heir.priority, request)
        everywhere = np.ones(len(court.world.fleet.nodes), np.bool_)
        guaranteed = court.would_be_guaranteed(heir, newcomer)
        return cls(court, heir, request, parts, guaranteed, everywhere)

    @property
    def fleet(self) -> Fleet:
        return self.court.world.fleet

    @property
    def ledger(self) -> Ledger:
        return self.court.world.ledger

    def sentence(self) -> Sentence | None:
        """The cheapest over the domains that are tried; None: there is no legal set that suffices."""
        self.ledger.add(self.heir.facts.queue, self.request)
        self._summon()
        found: Sentence | None = None
        for domains in self._attempts() if self.groups else ():
            for inside in domains:
                self.inside = inside
                tried = self._attempt()
                if tried is not None and (found is None or tried.cost < found.cost):
                    found = tried
            if found is not None:
                break
        self.ledger.remove(self.heir.facts.queue, self.request)
        return found

    def _summon(self) -> None:
        """Keeps out whole queues that have nothing to fear, whatever else happens in the trial.

        A queue's share only falls while victims are taken, and that of the heir's side only by those on its side. So
        queues are looked at from the nearest to the farthest, each as if all candidates nearer by had gone.
        """
        way, rule = self._way, self.ledger.queues[self._way[0]].preemption.within_queue
        gone: list[Candidate] = []
        nearer, level = list[Candidate](), 0
        for queue, group in sorted(self.court.register.by_queue.items(), key=self._distance):
            if not group or self.ledger.paths[queue][-1] != way[-1]:
                continue
            if self._distance((queue, group))[0] > level:
                level = self._distance((queue, group))[0]
                for each in nearer:
                    self.ledger.remove(each.queue, each.request)
                gone, nearer = gone + nearer, []
            kept = self._own(group, rule) if queue == way[0] else group if self.may_lose(queue) else []
            if kept:
                self.groups[queue] = kept
                nearer += [each for each in kept if not each.is_part]
        for each in gone:
            self.ledger.add(each.queue, each.request)

    @property
    def _way(self) -> tuple[int, ...]:
        return self.ledger.paths[self.heir.facts.queue]

    def _distance(self, row: tuple[int, list[Candidate]]) -> tuple[int, int]:
        """How far up the common cohort is; the heir's own queue comes first."""
        its = self.ledger.paths[row[0]]
        return next((up for up, node in enumerate(self._way) if node in its), len(self._way)), row[0]

    def _own(self, group: Sequence[Candidate], rule: WithinQueue) -> list[Candidate]:
        return [
            each
            for each in group
            if self.heir.outranks_in_queue(each, rule)
            and (self.is_guaranteed or not self.court.is_guaranteed(each))
        ]

    def may_lose(self, queue: int) -> bool:
        mine, its = self.ledger.paths[self.heir.facts.queue], self.ledger.paths[queue]
        if mine[-1] != its[-1] or not all(
            self.ledger.is_above(node, list(self.request)) for node in its if node not in mine
        ):
            return False
        rules = self.ledger.queues[mine[0]].preemption
        if self._owns_it(queue):
            return rules.reclaim is not Reclaim.NEVER
        if rules.borrow_below is not None:
            return True
        ours, other = self._siblings(queue)
        return rules.fair_share and self.ledger.share(ours) <= self.ledger.share(other)

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
            for candidate in group:
                if candidate.is_part:
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
        line = _Line.of(self, spared)
        seats = self._seats()
        while seats is None:
            candidate = line.next()
            self.court.steps += 1
            if candidate is None:
                return self._take_one_of_each(spared)
            if not self._helps(candidate):
                continue
            ground = self._ground(candidate)
            if ground is None:
                spared.append(candidate)
                continue
            self._evict(candidate, ground)
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
            if queue != self._way[0] and not self.may_lose(queue):
                hopeless.add(queue)
            elif self._ground(candidate, old_share=True) is not None:
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
            if ground is Ground.RECLAIM and not self._owns_it(candidate.queue):
                return False
            if ground is not Ground.FAIR_SHARE:
                continue
            mine, its = self._siblings(candidate.queue)
            self.ledger.add(candidate.queue, candidate.request)
            old = self.ledger.share(its)
            self.ledger.remove(candidate.queue, candidate.request)
            share = self.ledger.share(mine)
            if not (share <= self.ledger.share(its) or share < old):
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

    def _ground(self, candidate: Candidate, *, old_share: bool = False) -> Ground | None:
        """Why it may go as things stand in the trial; None: it may not."""
        if candidate.queue == self.heir.facts.queue:
            return self._ground_within(candidate)
        if self.court.is_guaranteed(candidate) or not self._is_borrowed(candidate):
            return None
        rules = self.ledger.queues[self.heir.facts.queue].preemption
        if self._owns_it(candidate.queue):
            lower = candidate.holding.ask.priority < self.heir.priority
            allowed = rules.reclaim is Reclaim.ANY or (rules.reclaim is Reclaim.LOWER_PRIORITY and lower)
            return (
                Ground.RECLAIM if allowed and (self.is_guaranteed or self._never_lost_to(candidate)) else None
            )
        if candidate.holding.facts.ask_class.band > self.heir.facts.ask_class.band or not self._never_lost_to(
            candidate
        ):
            return None
        if rules.borrow_below is not None:
            its = candidate.holding.ask.priority
            return Ground.PRIORITY if its < self.heir.priority and its <= rules.borrow_below else None
        return (
            Ground.FAIR_SHARE if rules.fair_share and self._is_fair(candidate, old_share=old_share) else None
        )

    def _ground_within(self, candidate: Candidate) -> Ground | None:
        rule = self.ledger.queues[candidate.queue].preemption.within_queue
        if not self.heir.outranks_in_queue(candidate, rule):
            return None
        if self.court.is_guaranteed(candidate) and not self.is_guaranteed:
            return None
        return Ground.PRIORITY if self._never_lost_to(candidate) else None

    def _is_borrowed(self, candidate: Candidate) -> bool:
        """Every node from its queue up to the common cohort uses more than it owns of what both want."""
        cells = [cell for cell in self.request if candidate.request.get(cell)]
        mine = frozenset(self.ledger.paths[self.heir.facts.queue])
        way = [node for node in self.ledger.paths[candidate.queue] if node not in mine]
        common = len(way) < len(self.ledger.paths[candidate.queue])
        return common and all(self.ledger.is_above(node, cells) for node in way)

    def _owns_it(self, other: int) -> bool:
        """With the heir, some node on its side of the common cohort stays within what it owns of all it asks for."""
        theirs = frozenset(self.ledger.paths[other])
        mine = [node for node in self.ledger.paths[self.heir.facts.queue] if node not in theirs]
        return any(not self.ledger.is_above(node, list(self.request)) for node in mine)

    def _is_fair(self, candidate: Candidate, *, old_share: bool) -> bool:
        mine, its = self._siblings(candidate.queue)
        if old_share:
            return self.ledger.share(mine) < self.ledger.share(its)
        self.ledger.remove(candidate.queue, candidate.request)
        fair = self.ledger.share(mine) <= self.ledger.share(its)
        self.ledger.add(candidate.queue, candidate.request)
        return fair

    def _siblings(self, other: int) -> tuple[int, int]:
        """The two children of the common cohort, on the heir's side and on the other's."""
        mine, its = self.ledger.paths[self.heir.facts.queue], self.ledger.paths[other]
        common = next(node for node in mine if node in its)
        up, across = mine.index(common), its.index(common)
        return mine[max(0, up - 1)], its[max(0, across - 1)]

    def _never_lost_to(self, candidate: Candidate) -> bool:
        return not self.court.verdicts.outranks(candidate.ask_id, self.heir.ask_id)

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
        end = self.court.world.end_of(candidate.holding)
        for seat in candidate.seats:
            if seat.node >= 0:
                self.fleet.book(seat.node, seat.role.need, sign, end)


@dataclass(slots=True)
class _Line:
    """Candidates in the order in which they are asked: always from where the share is largest at that moment."""

    trial: Trial
    spared: list[Candidate]
    """Those of whom it is clear that they may stay, unless the second rule has them."""

    groups: dict[int, list[Candidate]]
    """Of every queue, the last one is next."""

    children: dict[int, list[int]]
    """Of every node, those below which there still are candidates."""

    asked: int | None = None
    """The queue that was asked last, as long as nobody has gone since: shares have not moved."""

    gone: int = 0

    @classmethod
    def of(cls, trial: Trial, spared: list[Candidate]) -> "_Line":
        ledger = trial.ledger
        groups = {queue: group[::-1] for queue, group in sorted(trial.groups.items())}
        children: dict[int, list[int]] = {}
        for queue in groups:
            for node in ledger.paths[queue][:-1]:
                siblings = children.setdefault(ledger.parent[node], [])
                if node not in siblings:
                    siblings.append(node)
        return cls(trial, spared, groups, children)

    def next(self) -> Candidate | None:
        while (queue := self._next_queue()) is not None:
            group, self.asked, self.gone = self.groups[queue], queue, len(self.trial.gone)
            if queue == self.trial.heir.facts.queue or self.trial.may_lose(queue):
                return group.pop()
            self.spared.extend(reversed(group))
            group.clear()
        return None

    def _next_queue(self) -> int | None:
        if self.asked is not None and self.gone == len(self.trial.gone) and self.groups[self.asked]:
            return self.asked
        return self._largest()

    def _largest(self) -> int | None:
        """Down from the root, always to the child that claims most."""
        root = self.trial.ledger.paths[self.trial.heir.facts.queue][-1]
        at = root
        while below := self.children.get(at):
            child = max(below, key=self._claim)
            if self._has_any(child):
                at = child
            else:
                below.remove(child)
                at = root
        return at if self.groups.get(at) else None

    def _has_any(self, node: int) -> bool:
        return bool(self.groups.get(node)) or any(
            self._has_any(child) for child in self.children.get(node, ())
        )

    def _claim(self, node: int) -> tuple[object, ...]:
        """The largest share goes first; of equal ones a cohort, then the queue whose first candidate goes first."""
        group = self.groups.get(node)
        first = tuple(-part for part in group[-1].rank[:5]) if group else ()
        return (self.trial.ledger.share(node), bool(self.children.get(node)), first, -node)
