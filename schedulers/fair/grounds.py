"""Grounds: why running work may be told to go for an heir, as things stand in a trial; or why it may not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from controlplane.domain.queues import Reclaim
from schedulers.base import Ground
from schedulers.fair.ledger import Claims, Ledger, Request
from schedulers.fair.victims import Candidate, Heir, Stakes, Verdicts
from schedulers.fair.world import World


class Judge(Protocol):
    """What a trial has to ask of the court."""

    world: World
    verdicts: Verdicts
    steps: int
    """Candidates that were looked at so far."""

    def queues(self) -> Sequence[int]:
        """Those in which somebody holds seats."""
        ...

    def candidates(self, queue: int) -> Sequence[Candidate]: ...

    def stakes(self, queue: int) -> Stakes: ...

    def is_guaranteed(self, candidate: Candidate) -> bool: ...


def is_within(mine: Claims, its: Claims) -> bool:
    """Neither share is larger."""
    return mine[0] <= its[0] and mine[1] <= its[1]


def is_below(mine: Claims, its: Claims) -> bool:
    """Both shares are smaller."""
    return mine[0] < its[0] and mine[1] < its[1]


@dataclass(frozen=True, slots=True)
class Grounds:
    """Of one heir, whose request the ledger holds already."""

    judge: Judge
    heir: Heir
    request: Request
    is_guaranteed: bool

    @property
    def ledger(self) -> Ledger:
        return self.judge.world.ledger

    def may_lose(self, queue: int) -> bool:
        """Whether any work of another queue may go at all."""
        mine, its = self.ledger.paths[self.heir.facts.queue], self.ledger.paths[queue]
        if mine[-1] != its[-1] or not all(
            self.ledger.is_above(node, list(self.request)) for node in its if node not in mine
        ):
            return False
        rules = self.ledger.queues[mine[0]].preemption
        if self.owns_it(queue):
            return rules.reclaim is not Reclaim.NEVER
        if rules.borrow_below is not None:
            return True
        ours, other = self.siblings(queue)
        return rules.fair_share and is_within(self.ledger.claims(ours), self.ledger.claims(other))

    def of(self, candidate: Candidate, *, old_share: bool = False) -> Ground | None:
        """Why it may go as things stand in the trial; None: it may not."""
        if candidate.queue == self.heir.facts.queue:
            return self._ground_within(candidate)
        if self.judge.is_guaranteed(candidate) or not self._is_borrowed(candidate):
            return None
        rules = self.ledger.queues[self.heir.facts.queue].preemption
        if self.owns_it(candidate.queue):
            lower = candidate.holding.ask.priority < self.heir.priority
            allowed = rules.reclaim is Reclaim.ANY or (rules.reclaim is Reclaim.LOWER_PRIORITY and lower)
            return (
                Ground.RECLAIM if allowed and (self.is_guaranteed or self.never_lost_to(candidate)) else None
            )
        if candidate.holding.facts.band > self.heir.facts.band or not self.never_lost_to(candidate):
            return None
        if rules.borrow_below is not None:
            its = candidate.holding.ask.priority
            return Ground.PRIORITY if its < self.heir.priority and its <= rules.borrow_below else None
        return (
            Ground.FAIR_SHARE if rules.fair_share and self._is_fair(candidate, old_share=old_share) else None
        )

    def owns_it(self, other: int) -> bool:
        """With the heir, some node on its side of the common cohort stays within what it owns of all it asks for."""
        theirs = frozenset(self.ledger.paths[other])
        mine = [node for node in self.ledger.paths[self.heir.facts.queue] if node not in theirs]
        return any(not self.ledger.is_above(node, list(self.request)) for node in mine)

    def siblings(self, other: int) -> tuple[int, int]:
        """The two children of the common cohort, on the heir's side and on the other's."""
        mine, its = self.ledger.paths[self.heir.facts.queue], self.ledger.paths[other]
        common = next(node for node in mine if node in its)
        up, across = mine.index(common), its.index(common)
        return mine[max(0, up - 1)], its[max(0, across - 1)]

    def _ground_within(self, candidate: Candidate) -> Ground | None:
        rule = self.ledger.queues[candidate.queue].preemption.within_queue
        if not self.heir.outranks_in_queue(candidate, rule):
            return None
        if self.judge.is_guaranteed(candidate) and not self.is_guaranteed:
            return None
        return Ground.PRIORITY if self.never_lost_to(candidate) else None

    def _is_borrowed(self, candidate: Candidate) -> bool:
        """Every node from its queue up to the common cohort uses more than it owns of what both want."""
        cells = [cell for cell in self.request if candidate.request.get(cell)]
        mine = frozenset(self.ledger.paths[self.heir.facts.queue])
        way = [node for node in self.ledger.paths[candidate.queue] if node not in mine]
        common = len(way) < len(self.ledger.paths[candidate.queue])
        return common and all(self.ledger.is_above(node, cells) for node in way)

    def _is_fair(self, candidate: Candidate, *, old_share: bool) -> bool:
        mine, its = self.siblings(candidate.queue)
        if old_share:
            return is_below(self.ledger.claims(mine), self.ledger.claims(its))
        self.ledger.remove(candidate.queue, candidate.request)
        fair = is_within(self.ledger.claims(mine), self.ledger.claims(its))
        self.ledger.add(candidate.queue, candidate.request)
        return fair

    def never_lost_to(self, candidate: Candidate) -> bool:
        return not self.judge.verdicts.outranks(candidate.ask_id, self.heir.ask_id)
