"""The fleet: nodes as columns, and what of them is still free while a plan is being made."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from controlplane.domain.amounts import MILLI, Amounts
from controlplane.domain.ids import NodeId
from controlplane.domain.queues import Cell
from schedulers.base import ClusterView, NodeView

Columns = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

CLUSTER: Final = "cluster"
NODE: Final = "node"
NEVER: Final = 2**62
"""A moment after all others, and a count above all others."""

Need = tuple[tuple[int, int], ...]
"""(column, amount) of one task; a column of -1 is an amount that no node has."""


@dataclass(slots=True)
class Horizon:
    """What is free on each node at a moment that was promised to somebody; later work fits only beside that."""

    moment: int
    slack: Columns


@dataclass(slots=True)
class _Counted:
    counts: Columns
    seen: int
    """How far the log of bookings was read."""


_Span = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
"""Node numbers by their domain, and where each domain begins among them; those that are in none come first."""


@dataclass(slots=True)
class Fleet:
    nodes: tuple[NodeView, ...]
    """Sorted by id: a node's number is its place here."""

    number: Mapping[NodeId, int]
    clusters: tuple[ClusterView, ...]
    """Sorted by name."""

    resources: tuple[str, ...]
    total: Columns
    free: Columns
    """For anybody; what is promised to a nominated ask is taken off."""

    levels: Mapping[str, Columns]
    """For every level, the number of each node's domain; -1: it is in none. A number says nothing across levels."""

    level_names: tuple[str, ...]
    """From the cluster down to the node."""

    domain_names: Mapping[str, tuple[str, ...]]
    gpus: int
    """The column of milli-GPUs; -1: there are none."""

    has_gpus: Mask
    kinds: tuple[NodeView, ...]
    """One node for each combination of what asks may demand of a node."""

    kind_of: Columns
    horizons: list[Horizon] = field(default_factory=list)
    """By moment."""

    stamp: int = 0
    """Equal ones mean equal room. Who undoes all that it booked may put the old one back."""

    answers: dict[tuple[object, ...], tuple[int, bool]] = field(default_factory=dict)
    """What was asked about this room, with the stamp of that time."""

    _spans: dict[str, _Span] = field(default_factory=dict)
    """Of levels by whose domains something was added up."""

    _stamps: int = 0
    _log: list[int] = field(default_factory=list)
    _counts: dict[tuple[Need, int], _Counted] = field(default_factory=dict)

    @classmethod
    def of(cls, nodes: Iterable[NodeView], clusters: Iterable[ClusterView]) -> Self:
        ordered = tuple(sorted(nodes, key=lambda node: node.id))
        resources = tuple(sorted({name for node in ordered for name, _ in node.allocatable.named()}))
        column = {name: index for index, name in enumerate(resources)}
        places = tuple(sorted(clusters, key=lambda cluster: (cluster.name, cluster.id)))
        names = (CLUSTER, *_level_names(ordered), NODE)
        levels = {name: _domains(name, ordered) for name in names}
        gpus = column.get("gpu", -1)
        kinds, kind_of = _kinds(ordered)
        total = _matrix([node.allocatable for node in ordered], column)
        return cls(
            nodes=ordered,
            number={node.id: index for index, node in enumerate(ordered)},
            clusters=places,
            resources=resources,
            total=total,
            free=_matrix([node.free for node in ordered], column),
            levels={name: ids for name, (ids, _) in levels.items()},
            level_names=names,
            domain_names={name: labels for name, (_, labels) in levels.items()},
            gpus=gpus,
            has_gpus=total[:, gpus] > 0 if gpus >= 0 else np.zeros(len(ordered), np.bool_),
            kinds=kinds,
            kind_of=kind_of,
        )

    def emptied(self) -> Self:
        """As if nobody held or was promised anything, foreign work included."""
        return self.with_room(self.total.copy())

    def with_room(self, free: Columns) -> Self:
        """The same nodes with so much free on each, and nothing promised."""
        return replace(self, free=free, horizons=[], stamp=0, answers={}, _stamps=0, _log=[], _counts={})

    def set_free(self, node: NodeView) -> None:
        """What is free on it was changed from outside."""
        row = self.number[node.id]
        self.free[row] = 0
        for name, amount in node.free.named():
            if name in self.resources:
                self.free[row, self.resources.index(name)] = amount

    def need(self, amounts: Amounts) -> Need:
        columns = {name: index for index, name in enumerate(self.resources)}
        return tuple((columns.get(name, -1), amount) for name, amount in amounts.named())

    def capacity(self) -> dict[Cell, int]:
        """What all nodes have, by flavor."""
        sums: dict[Cell, int] = {}
        for node in self.nodes:
            for name, amount in node.allocatable.named():
                cell = Cell(node.flavor, name)
                sums[cell] = sums.get(cell, 0) + amount
        return sums

    def counts(self, need: Need, end: int = 0) -> Columns:
        """How many tasks of this shape each node takes now, if they run until `end`. Not to be written to."""
        near = sum(1 for horizon in self.horizons if horizon.moment < end)
        known = self._counts.get((need, near))
        if known is None:
            known = _Counted(counts=times(self._room(near), need, self.gpus), seen=len(self._log))
            self._counts[need, near] = known
        elif known.seen < len(self._log):
            changed = np.array(sorted(frozenset(self._log[known.seen :])), np.intp)
            known.counts[changed] = times(self._room(near, changed), need, self.gpus)
            known.seen = len(self._log)
        return known.counts

    def book(self, node: int, need: Need, tasks: int, end: int = NEVER) -> None:
        """Takes so many tasks off what is free; negative `tasks` give back. It may go below zero on trial."""
        for column, amount in need:
            if column >= 0:
                self.free[node, column] -= amount * tasks
                for horizon in self.horizons:
                    if horizon.moment < end:
                        horizon.slack[node, column] -= amount * tasks
        self._log.append(node)
        self._turn()

    def withhold(self, amounts: Columns) -> None:
        """Takes so much off what is free, node by node, for good; less than nothing gives back.

        What is given back may have been counted on for later already.
        """
        self.free -= amounts
        for horizon in self.horizons:
            horizon.slack -= np.maximum(0, amounts)
        self._log.extend(np.flatnonzero(amounts.any(axis=1)).tolist())
        self._turn()

    def reserve(self, moment: int, slack: Columns) -> None:
        """From now on nothing that runs beyond the moment takes more than `slack`."""
        self.horizons.append(Horizon(moment=moment, slack=slack))
        self.horizons.sort(key=lambda horizon: horizon.moment)
        self._counts.clear()
        self._turn()

    def _turn(self) -> None:
        self._stamps += 1
        self.stamp = self._stamps

    def _room(self, near: int, rows: npt.NDArray[np.intp] | None = None) -> Columns:
        room = self.free if rows is None else self.free[rows]
        for horizon in self.horizons[:near]:
            room = np.minimum(room, horizon.slack if rows is None else horizon.slack[rows])
        return room

    def summed(self, units: Columns, level: str) -> Columns:
        """Of a number for each node, the sum in each domain of the level. Not to be written to."""
        if level == NODE:
            return units
        if level not in self._spans:
            ids = self.levels[level]
            order = np.argsort(ids, kind="stable")
            begins = np.searchsorted(ids[order], np.arange(len(self.domain_names[level])))
            self._spans[level] = order, begins
        order, begins = self._spans[level]
        return np.add.reduceat(units[order], begins) if len(begins) else np.zeros(0, np.int64)

    def domain(self, level: str, node: int) -> str:
        """The node's domain of the level, for people."""
        return self.domain_names[level][int(self.levels[level][node])]


def times(room: Columns, need: Need, gpus: int) -> Columns:
    """How many tasks fit side by side into each row; `gpus` is the column of milli-GPUs, -1 if there is none."""
    counts: Columns | None = None
    for column, amount in need:
        if column < 0:
            return np.zeros(len(room), np.int64)
        free = room[:, column]
        fits = _gpu_times(free, amount) if column == gpus else free // amount
        counts = fits if counts is None else np.minimum(counts, fits)
    return np.full(len(room), NEVER, np.int64) if counts is None else np.maximum(counts, 0)


def _gpu_times(free: Columns, amount: int) -> Columns:
    """A task of less than a whole GPU shares one with others and never spans two; a larger one takes whole ones."""
    whole = free // MILLI
    if amount < MILLI:
        return whole * (MILLI // amount) + (free - whole * MILLI) // amount
    return whole // -(-amount // MILLI)


def _matrix(amounts: Sequence[Amounts], column: Mapping[str, int]) -> Columns:
    rows = np.zeros((len(amounts), len(column)), np.int64)
    for row, each in enumerate(amounts):
        for name, value in each.named():
            if name in column:
                rows[row, column[name]] = value
    return rows


def _kinds(nodes: Sequence[NodeView]) -> tuple[tuple[NodeView, ...], Columns]:
    first: dict[tuple[object, ...], int] = {}
    samples: list[NodeView] = []
    numbers = []
    for node in nodes:
        key = (node.cluster_id, node.flavor, node.accelerator, node.taints, node.healthy, node.closes_at)
        if key not in first:
            first[key] = len(samples)
            samples.append(node)
        numbers.append(first[key])
    return tuple(samples), np.array(numbers, np.int64)


def _level_names(nodes: Sequence[NodeView]) -> tuple[str, ...]:
    """Outermost first: by the deepest place at which a node names it."""
    depth: dict[str, int] = {}
    for node in nodes:
        for place, (level, _) in enumerate(node.domains):
            depth[level] = max(place, depth.get(level, 0))
    return tuple(sorted(depth, key=lambda level: (depth[level], level)))


def _domains(level: str, nodes: Sequence[NodeView]) -> tuple[Columns, tuple[str, ...]]:
    """A domain is known by its whole path, so two racks `r1` of different blocks are two. A node is its own number."""
    if level == NODE:
        return np.arange(len(nodes)), tuple(str(node.id) for node in nodes)
    paths = [_path(level, node) for node in nodes]
    known = sorted({path for path in paths if path})
    number = {path: index for index, path in enumerate(known)}
    ids = np.array([number[path] if path else -1 for path in paths], np.int64)
    return ids, tuple(path[-1] for path in known)


def _path(level: str, node: NodeView) -> tuple[str, ...]:
    names = [name for name, _ in node.domains]
    if level == CLUSTER:
        return (str(node.cluster_id),)
    if level not in names:
        return ()
    upto = names.index(level) + 1
    return (str(node.cluster_id), *(domain for _, domain in node.domains[:upto]))
