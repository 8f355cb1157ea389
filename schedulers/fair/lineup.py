"""The lineup: candidates in the order in which they are asked to go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schedulers.fair.grounds import Grounds
from schedulers.fair.victims import Candidate


@dataclass(slots=True)
class Lineup:
    """Candidates in the order in which they are asked: always from where the share is largest at that moment."""

    grounds: Grounds
    spared: list[Candidate]
    """Those of whom it is clear that they may stay, unless the second rule has them."""

    groups: dict[int, list[Candidate]]
    """Of every queue, the last one is next."""

    children: dict[int, list[int]]
    """Of every node, those below which there still are candidates."""

    asked: int | None = None
    """The queue that was asked last, as long as nobody has gone since: shares have not moved."""

    @classmethod
    def of(
        cls, grounds: Grounds, candidates: Mapping[int, Sequence[Candidate]], spared: list[Candidate]
    ) -> "Lineup":
        ledger = grounds.ledger
        groups = {queue: list(reversed(group)) for queue, group in sorted(candidates.items())}
        children: dict[int, list[int]] = {}
        for queue in groups:
            for node in ledger.paths[queue][:-1]:
                siblings = children.setdefault(ledger.parent[node], [])
                if node not in siblings:
                    siblings.append(node)
        return cls(grounds, spared, groups, children)

    def next(self) -> Candidate | None:
        while (queue := self._next_queue()) is not None:
            group, self.asked = self.groups[queue], queue
            if queue == self.grounds.heir.facts.queue or self.grounds.may_lose(queue):
                return group.pop()
            self.spared.extend(reversed(group))
            group.clear()
        return None

    def somebody_went(self) -> None:
        self.asked = None

    def _next_queue(self) -> int | None:
        if self._goes_by_rank:
            return max((queue for queue, group in self.groups.items() if group), key=self._rank, default=None)
        return self.asked if self.asked is not None and self.groups[self.asked] else self._largest()

    @property
    def _goes_by_rank(self) -> bool:
        """Where a queue that borrows preempts by priority, shares say nothing: the lowest goes first, whose it is."""
        queue = self.grounds.ledger.queues[self.grounds.heir.facts.queue]
        return queue.preemption.borrow_below is not None

    def _rank(self, queue: int) -> tuple[object, ...]:
        """Of equals those of other queues go first."""
        rank = [-part for part in self.groups[queue][-1].rank[:5]]
        return rank[:3], queue != self.grounds.heir.facts.queue, rank[3:], -queue

    def _largest(self) -> int | None:
        """Down from the root, always to the child that claims most."""
        root = self.grounds.ledger.paths[self.grounds.heir.facts.queue][-1]
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
        return (self.grounds.ledger.share(node), bool(self.children.get(node)), first, -node)
