"""Quotas: what each node of a tree of queues may still use, exactly.

After Kueue's resource_node.go and fair_sharing.go. For a node n and a cell, with nominal N, lending limit L, borrowing
limit B and usage U:

    subtree(n)   = N + sum over children of (subtree - guaranteed)       what n and all below it own together
    guaranteed   = max(0, subtree - L), 0 without L                      never shown to the parent
    available(n) = max(0, guaranteed - U) + min(available(parent), (subtree - guaranteed) - max(0, U - guaranteed) + B)

A node passes on to its parent only the part of its usage that is not covered by what it is guaranteed. `available` may
be negative after a quota was cut; that alone evicts nobody. Every result is a plain int; with amounts that
`queues.check_tree` lets in, all of them fit an int64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

from controlplane.domain.ids import QueueId
from controlplane.domain.queues import WHOLE, Cell, Queue, Quota

ONE_SHARE: Final = 1_000_000
"""A share of one. Shares are whole numbers, so that they compare equal on every machine."""

LARGEST_RATIO: Final = 2**20 * ONE_SHARE
"""Nothing is lent a million times over; what says so counts as this much."""


class Share(NamedTuple):
    """What a node has borrowed of what there is to borrow, by its weight; the larger one is served later."""

    last: int
    """1: has weight zero and borrows, so it comes after all others."""

    size: int
    """In millionths of the borrowable; divided by the weight unless that is zero."""

    @classmethod
    def of(cls, ratio: int, weight_milli: int) -> Self:
        if ratio == 0:
            return cls(0, 0)
        return cls(0, ratio * WHOLE // weight_milli) if weight_milli else cls(1, ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """The limit that a request meets first."""

    queue_id: QueueId
    """The node that limits: the queue itself, or an ancestor that has no more to give."""

    cell: Cell
    limit: str
    """`nominal`, `borrowing` or `lending`."""

    has: int
    needs: int


@dataclass(slots=True)
class QuotaTree:
    """The trees of one fleet and what is used in them. A queue that is unknown has no limits."""

    queues: Mapping[QueueId, Queue]
    roots: Mapping[QueueId, QueueId]
    cells: Mapping[QueueId, tuple[Cell, ...]]
    """Of every root, what its tree counts; sorted."""

    quotas: Mapping[tuple[QueueId, Cell], Quota]
    used: dict[tuple[QueueId, Cell], int] = field(default_factory=dict)
    _subtree: dict[tuple[QueueId, Cell], int] = field(default_factory=dict)

    @classmethod
    def of(cls, queues: Sequence[Queue]) -> Self:
        nodes = {queue.id: queue for queue in sorted(queues, key=lambda queue: queue.id)}
        roots = {id_: _root(id_, nodes) for id_ in nodes}
        quotas = {(queue.id, quota.cell): quota for queue in nodes.values() for quota in queue.quotas}
        named: dict[QueueId, list[Cell]] = {}
        for id_, cell in quotas:
            named.setdefault(roots[id_], []).append(cell)
        cells = {root: tuple(sorted(frozenset(group))) for root, group in named.items()}
        tree = cls(queues=nodes, roots=roots, cells=cells, quotas=quotas)
        tree._add_up()
        return tree

    def counts(self, queue_id: QueueId, resource: str) -> bool:
        """Whether some node of its tree has a quota for this amount, in whatever flavor."""
        cells = self.cells.get(self.roots.get(queue_id, queue_id), ())
        return any(cell.resource == resource for cell in cells)

    def subtree(self, queue_id: QueueId, cell: Cell) -> int:
        """What the node and all below it own together, without what members keep to themselves."""
        return self._subtree.get((queue_id, cell), 0)

    def guaranteed(self, queue_id: QueueId, cell: Cell) -> int:
        """The part of it that nobody else may use."""
        quota = self.quotas.get((queue_id, cell))
        if quota is None or quota.lending is None:
            return 0
        return max(0, self.subtree(queue_id, cell) - quota.lending)

    def usage(self, queue_id: QueueId, cell: Cell) -> int:
        return self.used.get((queue_id, cell), 0)

    def available(self, queue_id: QueueId, cell: Cell) -> int:
        """What the node could still take now without anybody being preempted."""
        parent, subtree = self._parent(queue_id), self.subtree(queue_id, cell)
        used = self.usage(queue_id, cell)
        if parent is None:
            return subtree - used
        kept = self.guaranteed(queue_id, cell)
        lent = self.available(parent, cell)
        if (borrowing := self._borrowing(queue_id, cell)) is not None:
            lent = min(lent, (subtree - kept) - max(0, used - kept) + borrowing)
        return max(0, kept - used) + lent

    def potential(self, queue_id: QueueId, cell: Cell) -> int:
        """What it could take if nothing at all were running. A request above it never fits."""
        parent, subtree = self._parent(queue_id), self.subtree(queue_id, cell)
        if parent is None:
            return subtree
        most = self.guaranteed(queue_id, cell) + self.potential(parent, cell)
        borrowing = self._borrowing(queue_id, cell)
        return most if borrowing is None else min(most, subtree + borrowing)

    def add(self, queue_id: QueueId, request: Mapping[Cell, int]) -> None:
        for cell, amount in request.items():
            self._add(queue_id, cell, amount)

    def remove(self, queue_id: QueueId, request: Mapping[Cell, int]) -> None:
        """The inverse of `add`, in any order."""
        for cell, amount in request.items():
            self._remove(queue_id, cell, amount)

    def fits(self, queue_id: QueueId, request: Mapping[Cell, int]) -> bool:
        return self.shortage(queue_id, request) is None

    def shortage(self, queue_id: QueueId, request: Mapping[Cell, int]) -> Shortage | None:
        """The first cell, in order, that the request does not fit now, and the node that says so."""
        for cell, amount in sorted(request.items()):
            if queue_id in self.queues and amount > self.available(queue_id, cell):
                return self._limit(queue_id, cell, amount)
        return None

    def borrows(self, queue_id: QueueId, request: Mapping[Cell, int]) -> bool:
        """Whether the node would use more than its subtree owns of a cell in the request."""
        return any(
            amount > 0 and self.usage(queue_id, cell) + amount > self.subtree(queue_id, cell)
            for cell, amount in request.items()
        )

    def share(self, queue_id: QueueId, request: Mapping[Cell, int] | None = None) -> Share:
        """The dominant share of the node with the request added to it; a root has none.

        For each amount, all that is borrowed over all that the parent could lend; the largest of these counts.
        """
        parent = self._parent(queue_id)
        if parent is None:
            return Share(0, 0)
        borrowed: dict[str, int] = {}
        lendable: dict[str, int] = {}
        for cell in self._touched(queue_id, request or {}):
            extra = (request or {}).get(cell, 0)
            over = self.usage(queue_id, cell) + extra - self.subtree(queue_id, cell)
            borrowed[cell.resource] = borrowed.get(cell.resource, 0) + max(0, over)
            lendable[cell.resource] = lendable.get(cell.resource, 0) + self.potential(parent, cell)
        ratio = max((ratio_of(borrowed[name], lendable[name]) for name in borrowed), default=0)
        return Share.of(ratio, self.queues[queue_id].weight_milli)

    def path(self, queue_id: QueueId) -> tuple[QueueId, ...]:
        """The node and its ancestors, the root last."""
        nodes, at = [queue_id], self._parent(queue_id)
        while at is not None:
            nodes.append(at)
            at = self._parent(at)
        return tuple(nodes)

    def _touched(self, queue_id: QueueId, request: Mapping[Cell, int]) -> tuple[Cell, ...]:
        """What the tree counts, and flavors without quota of which there is some usage nevertheless."""
        cells = self.cells.get(self.roots[queue_id], ())
        used = [cell for node, cell in self.used if node == queue_id]
        strays = frozenset([*used, *request]).difference(cells)
        return (*cells, *sorted(cell for cell in strays if self.counts(queue_id, cell.resource)))

    def _limit(self, queue_id: QueueId, cell: Cell, amount: int) -> Shortage:
        """Walks up to the node whose own limit is what the request meets."""
        node, need = queue_id, amount
        while True:
            has = self.available(node, cell)
            parent = self._parent(node)
            free = max(0, self.guaranteed(node, cell) - self.usage(node, cell))
            if parent is None:
                return Shortage(queue_id=node, cell=cell, limit="nominal", has=has, needs=need)
            if free + self.available(parent, cell) >= need:
                return Shortage(queue_id=node, cell=cell, limit="borrowing", has=has, needs=need)
            node, need = parent, need - free

    def _add(self, queue_id: QueueId, cell: Cell, amount: int) -> None:
        free = max(0, self.guaranteed(queue_id, cell) - self.usage(queue_id, cell))
        self.used[queue_id, cell] = self.usage(queue_id, cell) + amount
        parent = self._parent(queue_id)
        if parent is not None and amount > free:
            self._add(parent, cell, amount - free)

    def _remove(self, queue_id: QueueId, cell: Cell, amount: int) -> None:
        passed_on = max(0, self.usage(queue_id, cell) - self.guaranteed(queue_id, cell))
        left = self.usage(queue_id, cell) - amount
        if left:
            self.used[queue_id, cell] = left
        else:
            self.used.pop((queue_id, cell), None)
        parent = self._parent(queue_id)
        if parent is not None and passed_on:
            self._remove(parent, cell, min(amount, passed_on))

    def _add_up(self) -> None:
        """Fills `_subtree`, children before their parents."""
        deepest_first = sorted(self.queues, key=lambda id_: (-len(self.path(id_)), id_))
        for id_ in deepest_first:
            parent = self._parent(id_)
            for cell in self.cells.get(self.roots[id_], ()):
                quota = self.quotas.get((id_, cell))
                own = self._subtree.get((id_, cell), 0) + (quota.nominal if quota else 0)
                self._subtree[id_, cell] = own
                if parent is not None:
                    shown = own - self.guaranteed(id_, cell)
                    self._subtree[parent, cell] = self._subtree.get((parent, cell), 0) + shown

    def _parent(self, queue_id: QueueId) -> QueueId | None:
        queue = self.queues.get(queue_id)
        return queue.parent_id if queue is not None and queue.parent_id in self.queues else None

    def _borrowing(self, queue_id: QueueId, cell: Cell) -> int | None:
        quota = self.quotas.get((queue_id, cell))
        return None if quota is None else quota.borrowing


def ratio_of(borrowed: int, lendable: int) -> int:
    """In millionths, rounded down; nothing to lend counts as nothing borrowed."""
    return min(LARGEST_RATIO, borrowed * ONE_SHARE // lendable) if lendable > 0 else 0


def _root(queue_id: QueueId, nodes: Mapping[QueueId, Queue]) -> QueueId:
    at = queue_id
    while (parent := nodes[at].parent_id) is not None and parent in nodes:
        at = parent
    return at
