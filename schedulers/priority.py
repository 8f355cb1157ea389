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
from operator import neg

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
    NodesChanged,
    NodeView,
    Place,
    Plan,
    Snapshot,
    microseconds,
)
from schedulers.seating import refusal, seat

Turn = tuple[int, int, AskId, int, ClassId]
"""(-priority, submitted, id, not_before, class): the id makes the order total, the rest comes along.

All of a turn's parts are plain values, so a million of them cost the garbage collector nothing.
"""


class Priority:
    """The policy. Stateless; the engine holds what changes."""

    name = "priority"
    is_simple = True

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
        return PriorityEngine.of(snapshot)


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
            if cluster.blocked is not None or not cluster.lets_in(ask_class):
                continue
            if seats := seat(ask_class, self.nodes.get(cluster.id, ()), self.free):
                sizes = (role.amounts for role in ask_class.all_roles for _ in range(role.tasks))
                for each, amounts in zip(seats, sizes, strict=True):
                    self.free[each.node_id] = self.free[each.node_id].minus(amounts)
                return Place(ask_id=ask_id, cluster_id=cluster.id, seats=seats)
        return refusal(ask_class, self.clusters, self.nodes, self.free)


@dataclass(slots=True)
class _Line:
    """The asks of one class."""

    ask_class: AskClass
    members: int = 0
    """All of them, also those that may not go yet."""

    turns: list[Turn] = field(default_factory=list)
    """Those that may go now, in turn."""


class PriorityEngine:
    """Keeps one sorted line per class and merges their heads, so a plan never walks the queue."""

    def __init__(self) -> None:
        self._lines: dict[ClassId, _Line] = {}
        self._asks: dict[AskId, Turn] = {}
        self._waiting: list[tuple[int, AskId]] = []
        """Heap of (not_before, id): back-off. An entry counts only while `_asks` still says the same."""

        self._nodes: tuple[NodeView, ...] = ()
        self._clusters: tuple[ClusterView, ...] = ()

    @classmethod
    def of(cls, snapshot: Snapshot) -> "PriorityEngine":
        """As if every ask had come as a delta, but from whole columns."""
        engine, asks = cls(), snapshot.asks
        turns = list(
            zip(
                map(neg, asks.priorities),
                asks.submitted,
                asks.ids,
                asks.not_before,
                asks.classes,
                strict=True,
            )
        )
        engine._asks = dict(zip(asks.ids, turns, strict=True))
        engine._lines = {id_: _Line(snapshot.classes[id_]) for id_ in dict.fromkeys(asks.classes)}
        for turn in turns:
            line = engine._lines[turn[4]]
            line.members += 1
            if turn[3]:
                engine._waiting.append((turn[3], turn[2]))
            else:
                line.turns.append(turn)
        for line in engine._lines.values():
            line.turns.sort()
        heapify(engine._waiting)
        engine._nodes, engine._clusters = tuple(snapshot.nodes), tuple(snapshot.clusters)
        return engine

    def apply(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            match delta:
                case AskQueued():
                    self._leave(delta.id)
                    self._come(delta)
                case AskLeft():
                    self._leave(delta.id)
                case CapacityChanged():
                    self._nodes, self._clusters = delta.nodes, delta.clusters
                case NodesChanged():
                    by_id = {node.id: node for node in (*self._nodes, *delta.nodes)}
                    self._nodes = tuple(by_id.values())
                case _:
                    continue  # of no account here: nodes say what is free, and queues have no quotas

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
            turn = self._asks.get(ask_id)
            if turn is None or turn[3] != not_before:
                continue  # left, or its back-off was changed since
            turns = self._lines[turn[4]].turns
            if _position(turns, turn) is None:
                insort(turns, turn)

    def _come(self, ask: AskQueued) -> None:
        class_id = ask.ask_class.id
        self._asks[ask.id] = (-ask.priority, ask.submitted, ask.id, ask.not_before, class_id)
        self._lines.setdefault(class_id, _Line(ask.ask_class)).members += 1
        heappush(self._waiting, (ask.not_before, ask.id))

    def _leave(self, ask_id: AskId) -> None:
        turn = self._asks.pop(ask_id, None)
        if turn is None:
            return
        line = self._lines[turn[4]]
        position = _position(line.turns, turn)
        if position is not None:
            del line.turns[position]
        line.members -= 1
        if not line.members:
            del self._lines[turn[4]]


def _turn(snapshot: Snapshot, row: int) -> tuple[int, int, AskId]:
    asks = snapshot.asks
    return (-asks.priorities[row], asks.submitted[row], asks.ids[row])


def _position(turns: list[Turn], turn: Turn) -> int | None:
    index = bisect_left(turns, turn)
    return index if index < len(turns) and turns[index] == turn else None


def _sorted(refused: dict[ClassId, Defer]) -> tuple[Defer, ...]:
    return tuple(refused[class_id] for class_id in sorted(refused))
