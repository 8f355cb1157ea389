"""The order: whose turn it is next, decided anew after every placing.

Within a queue: tier, band, priority (raised by age), urgency of the deadline, then who came first. Between the members
of a cohort, on every level up to the fleet: tier and band of what each would send next, then who stays within what it
owns, then the smaller share with that work added, then priority, then who came first. Kueue's fair_sharing_iterator.go,
with whole queues instead of one head per cycle.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Final

from controlplane.domain.ids import AskId
from controlplane.domain.quotas import Share, ratio_of
from schedulers.base import Tier
from schedulers.fair.facts import SECOND, Facts
from schedulers.fair.ledger import Ledger, Request

TIERS: Final = {Tier.PINNED: 0, Tier.NORMAL: 1, Tier.SURPLUS: 2}
URGENT_SECONDS: Final = (3600, 86_400)
"""Slack before the deadline below which an ask is of the first and of the second urgency."""

Turn = tuple[int, int, int, int, int, AskId]
"""Tier, -band, -priority with age, urgency, submitted, id: the order within a queue, total."""

_Key = tuple[int, int, bool, Share, int, int, AskId]


@dataclass(slots=True)
class Line:
    """Asks of one class and priority that may go now, first come first."""

    facts: Facts
    priority: int
    asks: Sequence[tuple[int, AskId]]
    """(submitted, id), sorted."""

    request: Request
    """What one of them would add to its queue's usage, for the order; seated it may be something else."""

    at: int = 0
    """The first that has not had its turn."""

    def turn(self, ledger: Ledger, now: int) -> Turn:
        submitted, ask_id = self.asks[self.at]
        its = self.facts.ask_class
        aging = ledger.queues[self.facts.queue].aging_seconds
        raised = (now - submitted) // (aging * SECOND) if aging else 0
        urgency = _urgency(self.facts, now)
        return (TIERS[its.tier], -its.band, -(self.priority + max(0, raised)), urgency, submitted, ask_id)


@dataclass(slots=True)
class _Bout:
    """What one node of the tree would send next, and how that stands among its siblings."""

    turn: Turn
    line: Line
    key: _Key


@dataclass(slots=True)
class Tournament:
    """Every node of the tree sends its best; only the path of who was served has to be played again."""

    ledger: Ledger
    now: int
    fleet_totals: Sequence[int]
    """By amount, what all nodes have: the shares of roots are of this."""

    lines: dict[int, list[tuple[Turn, int, Line]]] = field(default_factory=dict)
    """Of every queue, a heap of its lines; the number tells equal turns apart, which there are none of."""

    bouts: dict[int, _Bout] = field(default_factory=dict)
    heaps: dict[int, list[tuple[_Key, int]]] = field(default_factory=dict)
    """Of every parent (-1: the fleet), its children by key. An entry counts while it is the child's present key."""

    @classmethod
    def of(
        cls, lines: Iterable[Line], *, ledger: Ledger, now: int, fleet_totals: Sequence[int]
    ) -> "Tournament":
        made = cls(ledger=ledger, now=now, fleet_totals=fleet_totals)
        for number, line in enumerate(lines):
            made.lines.setdefault(line.facts.queue, []).append((line.turn(ledger, now), number, line))
        for queue, heap in made.lines.items():
            heapify(heap)
            made.play(queue)
        return made

    def next(self) -> Line | None:
        best = self._best(-1)
        return None if best is None else self.bouts[best].line

    def advance(self, line: Line) -> None:
        """The head of the line had its turn and the next one comes up; whatever was used meanwhile counts."""
        heap = self.lines[line.facts.queue]
        _, number, _ = heappop(heap)
        line.at += 1
        if line.at < len(line.asks):
            heappush(heap, (line.turn(self.ledger, self.now), number, line))
        self.play(line.facts.queue)

    def drop(self, line: Line) -> None:
        """None of the line can be served any more in this plan."""
        heappop(self.lines[line.facts.queue])
        self.play(line.facts.queue)

    def play(self, queue: int) -> None:
        for node in self.ledger.paths[queue]:
            self._send(node)

    def _send(self, node: int) -> None:
        candidates = []
        if self.lines.get(node):
            turn, _, line = self.lines[node][0]
            candidates.append((self._key(node, turn, line), turn, line))
        if (child := self._best(node)) is not None:
            bout = self.bouts[child]
            candidates.append((self._key(node, bout.turn, bout.line), bout.turn, bout.line))
        if not candidates:
            self.bouts.pop(node, None)
            return
        key, turn, line = min(candidates, key=lambda each: each[0])
        self.bouts[node] = _Bout(turn, line, key)
        heappush(self.heaps.setdefault(self.ledger.parent[node], []), (key, node))

    def _best(self, parent: int) -> int | None:
        heap = self.heaps.get(parent, [])
        while heap:
            key, node = heap[0]
            bout = self.bouts.get(node)
            if bout is not None and bout.key == key:
                return node
            heappop(heap)
        return None

    def _key(self, node: int, turn: Turn, line: Line) -> _Key:
        ledger = self.ledger
        if ledger.parent[node] < 0:
            share, borrows = self._root_share(node, line), False
        else:
            share, borrows = ledger.share(node, line.request), ledger.borrows(node, line.request)
        return (turn[0], turn[1], borrows, share, -line.priority, turn[4], turn[5])

    def _root_share(self, root: int, line: Line) -> Share:
        """Of trees that share nothing but the fleet: all that they use of it, by weight."""
        sums = [0] * len(self.fleet_totals)
        for cell, used in enumerate(self.ledger.used[root]):
            sums[self.ledger.resource_of[cell]] += used + line.request.get(cell, 0)
        ratio = max(map(ratio_of, sums, self.fleet_totals), default=0)
        return Share.of(ratio, self.ledger.weights[root])


def _urgency(facts: Facts, now: int) -> int:
    deadline = facts.ask_class.deadline
    if deadline is None:
        return len(URGENT_SECONDS)
    expected = (facts.ask_class.runtime_seconds or 0) * SECOND
    left = deadline - now - expected
    return sum(1 for seconds in URGENT_SECONDS if left > seconds * SECOND)
