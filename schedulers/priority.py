"""Highest priority first, then oldest first, on the first cluster and nodes that fit; gangs whole or not at all.

A class that does not fit is passed over, so smaller work behind it goes on. All asks of a class get the same answer,
so after the first refusal the rest of the class is not tried again: a plan costs what it places plus one try per class,
however long the queue is.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heapify, heappop, heappush

from controlplane.domain.amounts import Amounts
from controlplane.domain.ids import AskId, ClassId, ClusterId, NodeId
from schedulers.base import (
    AskClass,
    AskLeft,
    AskQueued,
    CapacityChanged,
    ClusterView,
    Defer,
    Delta,
    NodeView,
    Place,
    Plan,
    Snapshot,
    microseconds,
)
from schedulers.seating import refusal, seat

Turn = tuple[int, int, AskId]
"""(-priority, submitted, id): the id makes the order total."""


class Priority:
    """The policy. Stateless; the engine holds what changes."""

    name = "priority"

    def plan(self, snapshot: Snapshot) -> Plan:
        """The meaning: every queued ask in turn, against what is free."""
        floor = Floor.of(snapshot.nodes, snapshot.clusters)
        now = microseconds(snapshot.now)
        places: list[Place] = []
        refused: dict[ClassId, Defer] = {}
        for row in sorted(range(len(snapshot.asks)), key=lambda row: _turn(snapshot, row)):
            ask_class = snapshot.classes[snapshot.asks.classes[row]]
            if snapshot.asks.not_before[row] > now or ask_class.id in refused:
                continue
            answer = floor.place(snapshot.asks.ids[row], ask_class)
            if isinstance(answer, Place):
                places.append(answer)
            else:
                refused[ask_class.id] = answer
        return Plan(version=snapshot.version, places=tuple(places), defers=_sorted(refused))

    def start(self, snapshot: Snapshot) -> "PriorityEngine":
        engine = PriorityEngine()
        asks = snapshot.asks
        queued = [
            AskQueued(
                id=asks.ids[row],
                ask_class=snapshot.classes[asks.classes[row]],
                priority=asks.priorities[row],
                submitted=asks.submitted[row],
                not_before=asks.not_before[row],
            )
            for row in range(len(asks))
        ]
        engine.apply(
            [*queued, CapacityChanged(nodes=tuple(snapshot.nodes), clusters=tuple(snapshot.clusters))]
        )
        return engine


@dataclass(slots=True)
class Floor:
    """What is free while one plan is being made; every placing books from it."""

    clusters: tuple[ClusterView, ...]
    nodes: dict[ClusterId, list[NodeView]]
    free: dict[NodeId, Amounts]

    @classmethod
    def of(cls, nodes: Sequence[NodeView], clusters: Sequence[ClusterView]) -> "Floor":
        grouped: dict[ClusterId, list[NodeView]] = {}
        for node in sorted(nodes, key=lambda node: node.id):
            grouped.setdefault(node.cluster_id, []).append(node)
        ordered = tuple(sorted(clusters, key=lambda cluster: (cluster.name, cluster.id)))
        return cls(clusters=ordered, nodes=grouped, free={node.id: node.free for node in nodes})

    def place(self, ask_id: AskId, ask_class: AskClass) -> Place | Defer:
        """Seats the whole ask on the first cluster that holds it and books that, or books nothing."""
        for cluster in self.clusters:
            if cluster.blocked is not None:
                continue
            if seats := seat(ask_class, self.nodes.get(cluster.id, ()), self.free):
                for each in seats:
                    self.free[each.node_id] = self.free[each.node_id].minus(ask_class.amounts)
                return Place(ask_id=ask_id, cluster_id=cluster.id, seats=seats)
        return refusal(ask_class, self.clusters, self.nodes, self.free)


@dataclass(slots=True)
class _Line:
    """The asks of one class that may go now, in turn."""

    ask_class: AskClass
    turns: list[Turn] = field(default_factory=list)


class PriorityEngine:
    """Keeps one sorted line per class and merges their heads, so a plan never walks the queue."""

    def __init__(self) -> None:
        self._lines: dict[ClassId, _Line] = {}
        self._asks: dict[AskId, AskQueued] = {}
        self._waiting: list[tuple[int, AskId]] = []
        """Heap of (not_before, id): back-off. An entry counts only while `_asks` still says the same."""

        self._nodes: tuple[NodeView, ...] = ()
        self._clusters: tuple[ClusterView, ...] = ()

    def apply(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            match delta:
                case AskQueued():
                    self._leave(delta.id)
                    self._asks[delta.id] = delta
                    heappush(self._waiting, (delta.not_before, delta.id))
                case AskLeft():
                    self._leave(delta.id)
                case CapacityChanged():
                    self._nodes, self._clusters = delta.nodes, delta.clusters

    def plan(self, *, version: int, now: datetime) -> Plan:
        self._join_lines(microseconds(now))
        floor = Floor.of(self._nodes, self._clusters)
        places: list[Place] = []
        refused: dict[ClassId, Defer] = {}
        heads = [(line.turns[0], class_id, 0) for class_id, line in self._lines.items() if line.turns]
        heapify(heads)
        while heads:
            turn, class_id, index = heappop(heads)
            line = self._lines[class_id]
            answer = floor.place(turn[2], line.ask_class)
            if isinstance(answer, Defer):
                refused[class_id] = answer
                continue
            places.append(answer)
            if index + 1 < len(line.turns):
                heappush(heads, (line.turns[index + 1], class_id, index + 1))
        return Plan(version=version, places=tuple(places), defers=_sorted(refused))

    def _join_lines(self, now: int) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            not_before, ask_id = heappop(self._waiting)
            ask = self._asks.get(ask_id)
            if ask is None or ask.not_before != not_before:
                continue  # left, or its back-off was changed since
            line = self._lines.setdefault(ask.ask_class.id, _Line(ask.ask_class))
            turn = (-ask.priority, ask.submitted, ask.id)
            if _position(line.turns, turn) is None:
                insort(line.turns, turn)

    def _leave(self, ask_id: AskId) -> None:
        ask = self._asks.pop(ask_id, None)
        line = self._lines.get(ask.ask_class.id) if ask else None
        if ask is None or line is None:
            return
        position = _position(line.turns, (-ask.priority, ask.submitted, ask.id))
        if position is not None:
            del line.turns[position]
        if not line.turns:
            del self._lines[ask.ask_class.id]


def _turn(snapshot: Snapshot, row: int) -> Turn:
    asks = snapshot.asks
    return (-asks.priorities[row], asks.submitted[row], asks.ids[row])


def _position(turns: list[Turn], turn: Turn) -> int | None:
    index = bisect_left(turns, turn)
    return index if index < len(turns) and turns[index] == turn else None


def _sorted(refused: dict[ClassId, Defer]) -> tuple[Defer, ...]:
    return tuple(refused[class_id] for class_id in sorted(refused))
