"""The ledger: every quota tree of the fleet as columns, and what is used in them while a plan is being made.

The rules are those of `domain.quotas`, and a law holds both equal. Limits are added up with numpy, level by level; what
changes with every placing is kept in plain lists, where one number costs less to read.

A tree in which no node has a quota limits nothing; its queues share the fleet by weight, as if the root owned it all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from controlplane.domain.ids import QueueId
from controlplane.domain.queues import LARGEST, Cell, Queue
from controlplane.domain.quotas import Share, ratio_of

Columns = npt.NDArray[np.int64]
Request = dict[int, int]
"""Cell number -> amount; cells that the queue's tree does not count are left out."""

UNLIMITED: Final = 2 * LARGEST
FINE: Final = 10**6
"""Into how many parts a thousandth of a weight is divided, so that a little past use makes a difference."""


Claims = tuple[Share, Share]
"""A node's share by what it is entitled to, and by its weight alone."""


@dataclass(slots=True)
class Ledger:
    ids: tuple[QueueId, ...]
    """Of the tree's nodes, sorted: a node's number is its place here."""

    queues: tuple[Queue, ...]
    number: Mapping[QueueId, int]
    parent: list[int]
    """-1: a root."""

    paths: list[tuple[int, ...]]
    """Every node's way up, itself first."""

    children: Mapping[int, tuple[int, ...]]
    """Of those that have some."""

    cells: tuple[Cell, ...]
    cell_number: Mapping[Cell, int]
    limited: list[bool]
    """False in a tree without any quota."""

    counted: list[frozenset[str]]
    """Amounts that the node's tree counts."""

    subtree: list[list[int]]
    kept: list[list[int]]
    borrowing: list[list[int]]
    potential: list[list[int]]
    lendable: list[list[int]]
    """Of each node and amount, what its parent could lend."""

    resource_of: list[int]
    """Of every cell, the number of its amount."""

    weights: list[int]
    """In parts of which `FINE` are a thousandth."""

    used: list[list[int]] = field(default_factory=list)
    borrowed: list[list[int]] = field(default_factory=list)
    """Of each node and amount, what is used beyond its subtree's own, summed over flavors."""

    stamp: int = 0
    """Equal ones mean equal use. Who undoes all that it added may put the old one back."""

    _stamps: int = 0

    @classmethod
    def of(cls, queues: Sequence[Queue], fleet: Mapping[Cell, int], known: Sequence[QueueId] = ()) -> Self:
        """`fleet` is what all nodes have; `known` are queues that may be missing from the tree."""
        nodes = _complete(queues, known)
        ids = tuple(sorted(nodes))
        number = {id_: index for index, id_ in enumerate(ids)}
        rows = tuple(nodes[id_] for id_ in ids)
        parent = [number.get(queue.parent_id, -1) if queue.parent_id else -1 for queue in rows]
        paths = [_path(index, parent) for index in range(len(ids))]
        cells = tuple(sorted({*fleet, *(quota.cell for queue in rows for quota in queue.quotas)}))
        limits = _Limits.of(rows, parent, paths, cells, fleet)
        resources = sorted({cell.resource for cell in cells})
        resource_of = [resources.index(cell.resource) for cell in cells]
        return cls(
            ids=ids,
            queues=rows,
            number=number,
            parent=parent,
            paths=paths,
            children=_children(parent),
            cells=cells,
            cell_number={cell: index for index, cell in enumerate(cells)},
            limited=limits.limited,
            counted=limits.counted,
            subtree=limits.subtree.tolist(),
            kept=limits.kept.tolist(),
            borrowing=limits.borrowing.tolist(),
            potential=limits.potential.tolist(),
            lendable=_lendable(limits, parent, resource_of, len(resources)),
            resource_of=resource_of,
            weights=[queue.weight_milli * FINE for queue in rows],
            used=[[0] * len(cells) for _ in ids],
            borrowed=[[0] * len(resources) for _ in ids],
        )

    def fork(self) -> Self:
        """The same limits, and use that changes apart from this one's."""
        used, borrowed = [row.copy() for row in self.used], [row.copy() for row in self.borrowed]
        return replace(self, used=used, borrowed=borrowed)

    def request(self, node: int, flavor: str, amounts: Sequence[tuple[str, int]], tasks: int) -> Request:
        counted = self.counted[node]
        wanted = [(name, amount) for name, amount in amounts if name in counted]
        numbers = self.cell_number
        # A cell that nobody has: a flavor without nodes and without quota, which can hold nothing anyway.
        return {
            numbers[Cell(flavor, name)]: amount * tasks
            for name, amount in wanted
            if Cell(flavor, name) in numbers
        }

    def gives_any(self, node: int, flavor: str, amounts: Sequence[tuple[str, int]]) -> bool:
        """Whether its tree knows the flavor for all that it counts: without nodes and without quota it gives none."""
        counted = self.counted[node]
        return not self.limited[node] or all(
            Cell(flavor, name) in self.cell_number for name, amount in amounts if amount and name in counted
        )

    def available(self, node: int, cell: int) -> int:
        """May be negative, after a quota was cut or a request was added on trial."""
        way = self.paths[node]
        if not self.limited[node]:
            return UNLIMITED
        root = way[-1]
        free = self.subtree[root][cell] - self.used[root][cell]
        for at in way[-2::-1]:
            kept, used = self.kept[at][cell], self.used[at][cell]
            reach = self.subtree[at][cell] - max(used, kept) + self.borrowing[at][cell]
            free = min(free, reach)
            if used < kept:
                free += kept - used
        return free

    def fits(self, node: int, request: Request) -> bool:
        return all(amount <= self.available(node, cell) for cell, amount in request.items())

    def could_fit(self, node: int, request: Request) -> bool:
        """If nothing at all were running."""
        return not self.limited[node] or all(
            amount <= self.potential[node][cell] for cell, amount in request.items()
        )

    def limits(self, node: int, cell: int, amount: int) -> list[tuple[int, str, int]]:
        """Every limit that a request does not fit into, from the queue up: whose, which, and how much is missing."""
        found: list[tuple[int, str, int]] = []
        for at in self.paths[node]:
            kept, used, own = self.kept[at][cell], self.used[at][cell], self.subtree[at][cell]
            free = max(0, kept - used)
            is_root = self.parent[at] < 0
            room = own - used if is_root else own - max(used, kept) + self.borrowing[at][cell] + free
            if amount > room:
                found.append((at, "nominal" if is_root else "borrowing", amount - room))
            amount -= free
        return found

    def is_overdrawn(self, node: int, request: Request) -> bool:
        """After the request was added: whether it would not have fitted."""
        return any(self.available(node, cell) < 0 for cell in request)

    def borrows(self, node: int, request: Request) -> bool:
        """Whether the node would use more than its subtree owns. Nobody borrows where there are no limits."""
        used, own = self.used[node], self.subtree[node]
        return self.limited[node] and any(
            amount > 0 and used[cell] + amount > own[cell] for cell, amount in request.items()
        )

    def is_above(self, node: int, cells: Sequence[int]) -> bool:
        """Whether the node uses more than its subtree owns of one of the cells."""
        used, own = self.used[node], self.subtree[node]
        return any(used[cell] > own[cell] for cell in cells)

    def share(self, node: int, request: Request | None = None) -> Share:
        """With the request added, at this node alone; see `domain.quotas.QuotaTree.share`."""
        if self.parent[node] < 0:
            return Share(0, 0)
        sums = self.borrowed[node]
        if request:
            sums = sums.copy()
            used, own = self.used[node], self.subtree[node]
            for cell, amount in request.items():
                before = max(0, used[cell] - own[cell])
                sums[self.resource_of[cell]] += max(0, used[cell] + amount - own[cell]) - before
        return self.weighed(node, self._ratio(node, sums))

    def weighed(self, node: int, ratio: int) -> Share:
        return Share.of(ratio * FINE, weight) if (weight := self.weights[node]) else Share.of(ratio, 0)

    def claims(self, node: int) -> Claims:
        """Past use decides who is let in, but sends nobody away: for that the share by weight alone has to agree."""
        ratio = 0 if self.parent[node] < 0 else self._ratio(node, self.borrowed[node])
        return self.weighed(node, ratio), Share.of(ratio, self.queues[node].weight_milli)

    def _ratio(self, node: int, borrowed: Sequence[int]) -> int:
        return max(map(ratio_of, borrowed, self.lendable[node]), default=0)

    def passed_on(self, node: int, request: Request) -> list[tuple[int, Request]]:
        """(node, what of the request reaches it) up the path: each node keeps what it is guaranteed."""
        steps, part = [], request
        for at in self.paths[node]:
            steps.append((at, part))
            kept, used, rest = self.kept[at], self.used[at], {}
            for cell, amount in part.items():
                free = kept[cell] - used[cell]
                if amount > free > 0:
                    rest[cell] = amount - free
                elif amount > 0 >= free:
                    rest[cell] = amount
            part = rest
        return steps

    def add(self, node: int, request: Request) -> None:
        self._turn()
        for at, part in self.passed_on(node, request):
            for cell, amount in part.items():
                self._change(at, cell, amount)

    def remove(self, node: int, request: Request) -> None:
        """The inverse of `add`."""
        self._turn()
        for cell, amount in request.items():
            part = amount
            for at in self.paths[node]:
                stored = max(0, self.used[at][cell] - self.kept[at][cell])
                self._change(at, cell, -part)
                part = min(part, stored)
                if not part:
                    break

    def _turn(self) -> None:
        self._stamps += 1
        self.stamp = self._stamps

    def _change(self, node: int, cell: int, amount: int) -> None:
        used, own = self.used[node][cell], self.subtree[node][cell]
        now = self.used[node][cell] = used + amount
        if now > own or used > own:
            self.borrowed[node][self.resource_of[cell]] += max(now, own) - max(used, own)


@dataclass(slots=True, kw_only=True)
class _Limits:
    """What follows from the tree alone."""

    limited: list[bool]
    counted: list[frozenset[str]]
    subtree: Columns
    kept: Columns
    borrowing: Columns
    potential: Columns

    @classmethod
    def of(
        cls,
        rows: Sequence[Queue],
        parent: Sequence[int],
        paths: Sequence[tuple[int, ...]],
        cells: Sequence[Cell],
        fleet: Mapping[Cell, int],
    ) -> Self:
        column = {cell: index for index, cell in enumerate(cells)}
        shape = (len(rows), len(cells))
        nominal, lending = np.zeros(shape, np.int64), np.full(shape, UNLIMITED, np.int64)
        borrowing = np.full(shape, UNLIMITED, np.int64)
        named: dict[int, set[str]] = {}
        for row, queue in enumerate(rows):
            for quota in queue.quotas:
                at = row, column[quota.cell]
                nominal[at] = quota.nominal
                lending[at] = UNLIMITED if quota.lending is None else quota.lending
                borrowing[at] = UNLIMITED if quota.borrowing is None else quota.borrowing
                named.setdefault(paths[row][-1], set()).add(quota.cell.resource)
        everything = frozenset(cell.resource for cell in cells)
        for row, up in enumerate(parent):
            if up < 0 and row not in named:
                nominal[row] = [fleet.get(cell, 0) for cell in cells]
        subtree, kept = _added_up(nominal, lending, parent, paths)
        return cls(
            limited=[path[-1] in named for path in paths],
            counted=[frozenset(named.get(path[-1], everything)) for path in paths],
            subtree=subtree,
            kept=kept,
            borrowing=borrowing,
            potential=_potential(subtree, kept, borrowing, parent, paths),
        )


def _complete(queues: Sequence[Queue], known: Sequence[QueueId]) -> dict[QueueId, Queue]:
    """The tree, and each queue that it lacks as a tree of its own."""
    nodes = {id_: Queue(id=id_, name=str(id_)) for id_ in known}
    nodes.update((queue.id, queue) for queue in queues)
    return nodes


def _children(parent: Sequence[int]) -> dict[int, tuple[int, ...]]:
    below: dict[int, list[int]] = {}
    for node, up in enumerate(parent):
        below.setdefault(up, []).append(node)
    return {up: tuple(nodes) for up, nodes in sorted(below.items()) if up >= 0}


def _path(index: int, parent: Sequence[int]) -> tuple[int, ...]:
    way = [index]
    while (up := parent[way[-1]]) >= 0:
        way.append(up)
    return tuple(way)


def _added_up(
    nominal: Columns, lending: Columns, parent: Sequence[int], paths: Sequence[tuple[int, ...]]
) -> tuple[Columns, Columns]:
    subtree, kept = nominal.copy(), np.zeros_like(nominal)
    for level in _levels(paths)[::-1]:
        own = subtree[level]
        kept[level] = np.where(lending[level] >= UNLIMITED, 0, np.maximum(0, own - lending[level]))
        ups = np.array([parent[node] for node in level])
        below = ups >= 0
        np.add.at(subtree, ups[below], (own - kept[level])[below])
    return subtree, kept


def _potential(
    subtree: Columns,
    kept: Columns,
    borrowing: Columns,
    parent: Sequence[int],
    paths: Sequence[tuple[int, ...]],
) -> Columns:
    most = subtree.copy()
    for level in _levels(paths)[1:]:
        ups = np.array([parent[node] for node in level])
        limit = subtree[level] + np.minimum(borrowing[level], UNLIMITED)
        most[level] = np.minimum(kept[level] + most[ups], limit)
    return most


def _levels(paths: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Node numbers by depth, the roots first."""
    levels: list[list[int]] = [[] for _ in range(max(map(len, paths), default=0))]
    for node, path in enumerate(paths):
        levels[len(path) - 1].append(node)
    return levels


def _lendable(
    limits: _Limits, parent: Sequence[int], resource_of: Sequence[int], resources: int
) -> list[list[int]]:
    """In Python's integers: the largest quota of many flavors together does not fit into 64 bits."""
    sums = [[0] * resources for _ in parent]
    for node, potential in enumerate(limits.potential.tolist()):
        for cell, amount in enumerate(potential):
            sums[node][resource_of[cell]] += amount
    return [list(sums[up]) if up >= 0 else [0] * resources for up in parent]
