"""Hopes: whether a search for victims could find any; a cheap look that never says no where there are some."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from controlplane.domain.ids import ClassId
from controlplane.domain.queues import PreemptionRules, Reclaim, WithinQueue
from controlplane.domain.quotas import Share
from schedulers.fair.facts import Facts
from schedulers.fair.grounds import Judge
from schedulers.fair.ledger import Ledger, Request
from schedulers.fair.victims import Heir


@dataclass(frozen=True, slots=True)
class _Rival:
    """A node of the tree below which somebody might go."""

    node: int
    share: Share
    above: frozenset[int]
    """Cells of which it uses more than it owns."""


@dataclass(slots=True)
class Hopes:
    judge: Judge
    _seen: int = -1
    """The ledger's stamp of when it was looked at."""

    _rivals: dict[int, list[_Rival]] = field(default_factory=dict)
    """By parent."""

    _loose: frozenset[int] = frozenset()
    """Nodes of the tree below which somebody is not guaranteed."""

    _elsewhere: dict[ClassId, bool] = field(default_factory=dict)

    def has_any(self, heir: Heir) -> bool:
        self._look_again()
        facts = heir.facts
        if facts.id not in self._elsewhere:
            requests = list(_requests(facts, self.ledger))
            self._elsewhere[facts.id] = any(self._has_elsewhere(facts.queue, each) for each in requests)
        return self._elsewhere[facts.id] or self._has_within(heir)

    @property
    def ledger(self) -> Ledger:
        return self.judge.world.ledger

    def _look_again(self) -> None:
        if self.ledger.stamp == self._seen:
            return
        self._seen = self.ledger.stamp
        self._rivals.clear()
        self._elsewhere.clear()
        loose = [queue for queue in self.judge.queues() if self.judge.stakes(queue).is_any_loose]
        self._loose = frozenset(node for queue in loose for node in self.ledger.paths[queue])

    def _has_within(self, heir: Heir) -> bool:
        queue, rule = heir.facts.queue, self.ledger.queues[heir.facts.queue].preemption.within_queue
        if rule is WithinQueue.NEVER:
            return False
        stakes, mine = self.judge.stakes(queue), heir.standing
        ties = rule is WithinQueue.LOWER_OR_NEWER_EQUAL
        if stakes.weakest_loose is not None and _beats(mine, stakes.weakest_loose, ties=ties):
            return True
        if stakes.weakest is None or not _beats(mine, stakes.weakest, ties=ties):
            return False
        own = self.ledger.subtree[queue]
        return any(stakes.with_newcomer(heir, request, own) for request in _requests(heir.facts, self.ledger))

    def _has_elsewhere(self, queue: int, request: Request) -> bool:
        """Level by level up the tree: whether some sibling of its own side has more than it owns, and may lose it."""
        ledger, rules, owns = self.ledger, self.ledger.queues[queue].preemption, False
        for at, part in ledger.passed_on(queue, request):
            if (parent := ledger.parent[at]) < 0:
                return False
            used, own = ledger.used[at], ledger.subtree[at]
            owns = owns or all(used[cell] + part.get(cell, 0) <= own[cell] for cell in request)
            share = ledger.share(at, part)
            for rival in self._rivals_below(parent):
                has_more = rival.node != at and not rival.above.isdisjoint(request)
                if has_more and _may_lose(rules, share, rival, owns=owns):
                    return True
        return False

    def _rivals_below(self, parent: int) -> list[_Rival]:
        known = self._rivals.get(parent)
        if known is None:
            known = self._rivals[parent] = list(self._made(parent))
        return known

    def _made(self, parent: int) -> Iterator[_Rival]:
        ledger = self.ledger
        for node in ledger.children.get(parent, ()):
            if node in self._loose:
                rows = zip(ledger.used[node], ledger.subtree[node], strict=True)
                above = frozenset(cell for cell, (used, own) in enumerate(rows) if used > own)
                yield _Rival(node, ledger.share(node), above)


def _may_lose(rules: PreemptionRules, share: Share, rival: _Rival, *, owns: bool) -> bool:
    if owns and rules.reclaim is not Reclaim.NEVER:
        return True
    return rules.borrow_below is not None or (rules.fair_share and share <= rival.share)


def _beats(mine: Sequence[int], its: Sequence[int], *, ties: bool) -> bool:
    return tuple(mine) < tuple(its) or (ties and tuple(mine) == tuple(its))


def _requests(facts: Facts, ledger: Ledger) -> Iterator[Request]:
    """Of the fewest tasks, on each choice of flavors that its queue could ever have."""
    sizes = facts.sizes(facts.slack)
    for option in facts.options(ledger, sizes) if any(sizes) else ():
        if ledger.could_fit(facts.queue, option.request):
            yield option.request
