"""The order: whose turn it is next, decided anew after every placing.

Within a queue: tier, band, priority (raised by age), urgency of the deadline, then who came first. Between the members
of a cohort, on every level up to the fleet: tier and band of what each would send next (what is pinned and would borrow
is like any other), then who stays within what it owns, then the smaller share with that work added (of equal ones the
smaller share a level below, as in Slurm's Fair Tree), then priority, then who came first. Kueue's
fair_sharing_iterator.go, with whole queues instead of one head per cycle.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Final

from controlplane.domain.ids import AskId
from controlplane.domain.quotas import Share, ratio_of
from schedulers.base import Tier
from schedulers.fair.clock import SECOND
from schedulers.fair.facts import Facts
from schedulers.fair.ledger import Ledger, Request

TIERS: Final = {Tier.PINNED: 0, Tier.NORMAL: 1, Tier.SURPLUS: 2}
URGENT_SECONDS: Final = (3600, 86_400)
"""Slack before the deadline below which an ask is of the first and of the second urgency."""

Turn = tuple[int, int, int, int, int, AskId]
"""Tier, -band, -priority with age, urgency, submitted, id: the order within a queue, total."""

_Key = tuple[int, int, bool, tuple[Share, ...], int, int, AskId]


@dataclass(frozen=True, slots=True)
class Line:
    """Asks of one class and priority that may go now, first come first."""

    facts: Facts
    priority: int
    asks: Sequence[tuple[int, AskId]]
    """(submitted, id), sorted."""

    request: Request
    """What one of them would add to its queue's usage, for the order; seated it may be something else."""

    def turn(self, at: int, ledger: Ledger, epoch: int) -> Turn:
        """Of the ask at this place of the line."""
        return turn_of(self.facts, self.priority, self.asks[at], ledger, epoch)

    def without(self, gone: Collection[AskId]) -> "Line":
        return replace(self, asks=[ask for ask in self.asks if ask[1] not in gone])


Head = tuple[Turn, int, Line]
"""The ask at that place of a line; turns differ, so heads can be compared."""


@dataclass(slots=True)
class _Bout:
    """What one node of the tree would send next, and how that stands among its siblings."""

    head: Head
    key: _Key


@dataclass(slots=True)
class Tournament:
    """Every node of the tree sends its best; only the path of who was served has to be played again."""

    ledger: Ledger
    epoch: int
    fleet_totals: Sequence[int]
    """By amount, what all nodes have: the shares of roots are of this."""

    lines: dict[int, list[Head]]
    """Of every queue, a heap of the heads of its lines."""

    bouts: dict[int, _Bout] = field(default_factory=dict)
    heaps: dict[int, list[tuple[_Key, int]]] = field(default_factory=dict)
    """Of every parent (-1: the fleet), its children by key. An entry counts while it is the child's present key."""

    def play_all(self) -> None:
        """From the queues up, every node once."""
        self.bouts.clear()
        self.heaps.clear()
        nodes = frozenset(node for queue in self.lines for node in self.ledger.paths[queue])
        for node in sorted(nodes, key=lambda node: (-len(self.ledger.paths[node]), node)):
            self._send(node)

    def next(self) -> Head | None:
        best = self._best(-1)
        return None if best is None else self.bouts[best].head

    def advance(self, head: Head) -> None:
        """The ask had its turn and the next one of its line comes up; whatever was used meanwhile counts."""
        _, at, line = head
        heap = self.lines[line.facts.queue]
        heappop(heap)
        if at + 1 < len(line.asks):
            heappush(heap, (line.turn(at + 1, self.ledger, self.epoch), at + 1, line))
        self.play(line.facts.queue)

    def drop(self, head: Head) -> None:
        """None of the line can be served any more in this plan."""
        heappop(self.lines[head[2].facts.queue])
        self.play(head[2].facts.queue)

    def sift(self, is_kept: Callable[[Head], bool]) -> None:
        """Drops every line that need not be kept."""
        for queue in sorted(self.lines):
            self.lines[queue] = [head for head in sorted(self.lines[queue]) if is_kept(head)]
        self.play_all()

    def play(self, queue: int) -> None:
        for node in self.ledger.paths[queue]:
            self._send(node)

    def _send(self, node: int) -> None:
        candidates = []
        if self.lines.get(node):
            head = self.lines[node][0]
            candidates.append((self._key(node, head, ()), head))
        if (child := self._best(node)) is not None:
            bout = self.bouts[child]
            candidates.append((self._key(node, bout.head, bout.key[3]), bout.head))
        if not candidates:
            self.bouts.pop(node, None)
            return
        key, head = min(candidates, key=lambda each: each[0])
        self.bouts[node] = _Bout(head, key)
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

    def _key(self, node: int, head: Head, below: tuple[Share, ...]) -> _Key:
        """`below`: the shares on the way down to the head. They decide between nodes of equal shares."""
        ledger, (turn, _, line) = self.ledger, head
        if ledger.parent[node] < 0:
            share, borrows = self._root_share(node, line), False
        else:
            share, borrows = ledger.share(node, line.request), ledger.borrows(node, line.request)
        tier = max(turn[0], TIERS[Tier.NORMAL]) if borrows else turn[0]
        return (tier, turn[1], borrows, (share, *below), -line.priority, turn[4], turn[5])

    def _root_share(self, root: int, line: Line) -> Share:
        """Of trees that share nothing but the fleet: all that they use of it, by weight."""
        sums = [0] * len(self.fleet_totals)
        for cell, used in enumerate(self.ledger.used[root]):
            sums[self.ledger.resource_of[cell]] += used + line.request.get(cell, 0)
        ratio = max(map(ratio_of, sums, self.fleet_totals), default=0)
        return self.ledger.weighed(root, ratio)


def turn_of(facts: Facts, priority: int, ask: tuple[int, AskId], ledger: Ledger, epoch: int) -> Turn:
    """Of an ask (submitted, id) that waits as of one that runs: who is let in first is the last to be told to go."""
    submitted, ask_id = ask
    aging = ledger.queues[facts.queue].aging_seconds
    raised = (epoch - submitted) // (aging * SECOND) if aging else 0
    tier = TIERS[facts.ask_class.tier]
    return (tier, -facts.band, -(priority + max(0, raised)), _urgency(facts, epoch), submitted, ask_id)


def _urgency(facts: Facts, now: int) -> int:
    deadline = facts.ask_class.deadline
    if deadline is None:
        return len(URGENT_SECONDS)
    expected = (facts.ask_class.runtime_seconds or 0) * SECOND
    left = deadline - now - expected
    return sum(1 for seconds in URGENT_SECONDS if left > seconds * SECOND)
