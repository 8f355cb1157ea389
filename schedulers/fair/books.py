"""The books: the rows of a picture by id, kept up by deltas, and what follows from them between two plans."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Final, Self, assert_never

from controlplane.domain.ids import AskId, ClassId, NodeId
from schedulers.base import (
    AskClass,
    AskLeft,
    AskQueued,
    AskRuns,
    AskStopped,
    CapacityChanged,
    Delta,
    MarketChanged,
    MemoryChanged,
    NodesChanged,
    NodeView,
    QueuedAsks,
    QueuesChanged,
    RunningAsk,
    Snapshot,
)
from schedulers.fair.standing import Standing
from schedulers.fair.waiting import Waiting

_LASTING: Final = attrgetter(
    *("cluster_id", "allocatable", "accelerator", "flavor", "domains", "taints", "healthy", "closes_at"),
    "claim_id",
)
"""All of a node that changes seldom: everything but what is free."""


_NOBODY: Final = QueuedAsks(ids=(), classes=(), priorities=(), submitted=(), not_before=())


@dataclass(slots=True)
class Books:
    base: Snapshot
    """Of which nothing counts that stands below."""

    waiting: Waiting
    classes: dict[ClassId, AskClass]
    nodes: dict[NodeId, NodeView]
    running: dict[AskId, RunningAsk] = field(default_factory=dict)
    is_news: bool = True
    """Something is not as it was at the last plan."""

    _idle: dict[ClassId, None] = field(default_factory=dict)
    """Classes that perhaps nobody asks or runs as any more."""

    _runners: dict[ClassId, int] = field(default_factory=dict)
    """How many run of each class."""

    _standing: Standing | None = None
    _now: int = -1

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        nodes = {node.id: node for node in snapshot.nodes}
        base = replace(snapshot, asks=_NOBODY, classes={}, nodes=(), running=())
        made = cls(base, Waiting.of(snapshot.asks), dict(snapshot.classes), nodes)
        made._idle.update(dict.fromkeys(made.classes))
        for ask in snapshot.running:
            made._run(ask)
        return made

    def apply(self, deltas: Iterable[Delta]) -> None:
        for delta in deltas:
            match delta:
                case AskQueued():
                    self._queue(delta)
                case AskLeft():
                    self._leave(delta.id)
                case AskRuns():
                    self._know(delta.ask_class)
                    self._run(delta.ask)
                case AskStopped():
                    self._stop(delta.id)
                case CapacityChanged():
                    self._supply(delta)
                case NodesChanged():
                    self._change_nodes(delta.nodes)
                case _:
                    self._turn(delta)

    def standing(self, now: int) -> Standing:
        """Made anew when what everything hangs on has changed, or when time has gone back."""
        self._forget_idle()
        known = self._standing
        if now < self._now:
            self.waiting, known = Waiting.from_rows(self.waiting.rows), None
        if known is None or known.clock.wakes_at <= now:
            known = self._made(now)
        self._standing, self._now = known, now
        return known

    def _made(self, now: int) -> Standing:
        supply = (self.nodes.values(), self.base.clusters)
        made = Standing.of(supply, self.base.queues, self.classes, now)
        for id_ in sorted(self.running):
            made.hold(self.running[id_])
        self.waiting.changed.update(self.waiting.groups)
        return made

    def _queue(self, ask: AskQueued) -> None:
        self._know(ask.ask_class)
        row = (ask.ask_class.id, ask.priority, ask.submitted, ask.not_before)
        old = self.waiting.rows.get(ask.id)
        if old != row:
            self.is_news = True
            self.waiting.come(ask.id, row)
            if old is not None:
                self._idle[old[0]] = None

    def _leave(self, ask_id: AskId) -> None:
        row = self.waiting.rows.get(ask_id)
        if row is not None:
            self.is_news = True
            self.waiting.leave(ask_id)
            self._idle[row[0]] = None

    def _run(self, ask: RunningAsk) -> None:
        if self.running.get(ask.id) == ask:
            return
        self._stop(ask.id)
        self.is_news = True
        self.running[ask.id] = ask
        self._runners[ask.ask_class] = self._runners.get(ask.ask_class, 0) + 1
        if self._standing is not None:
            self._standing.hold(ask)

    def _stop(self, ask_id: AskId) -> None:
        ask = self.running.pop(ask_id, None)
        if ask is None:
            return
        self.is_news = True
        if self._standing is not None:
            self._standing.let_go(ask_id)
        self._runners[ask.ask_class] -= 1
        if not self._runners[ask.ask_class]:
            del self._runners[ask.ask_class]
            self._idle[ask.ask_class] = None

    def _know(self, ask_class: AskClass) -> None:
        known = self.classes.get(ask_class.id)
        if known is ask_class or known == ask_class:
            return
        self.classes[ask_class.id] = ask_class
        if known is not None or not self._has_queue(ask_class):
            self._standing = None

    def _has_queue(self, ask_class: AskClass) -> bool:
        return self._standing is not None and ask_class.queue_id in self._standing.ledger.number

    def _forget_idle(self) -> None:
        """Memory is bounded by who waits and runs."""
        for class_id in self._idle:
            if class_id in self.waiting.sizes or class_id in self._runners:
                continue
            self.classes.pop(class_id, None)
            if self._standing is not None:
                self._standing.forget(class_id)
        self._idle.clear()

    def _supply(self, delta: CapacityChanged) -> None:
        """A node that came, went or is not what it was changes everything; what is free changes only itself."""
        nodes, known = {node.id: node for node in delta.nodes}, self.nodes
        lasting = len(nodes) == len(known) and all(
            id_ in known and (known[id_] is node or _LASTING(known[id_]) == _LASTING(node))
            for id_, node in nodes.items()
        )
        clusters = tuple(sorted(delta.clusters, key=lambda cluster: cluster.id))
        if lasting and clusters == tuple(sorted(self.base.clusters, key=lambda cluster: cluster.id)):
            self._change_nodes(delta.nodes)
            return
        self.is_news, self._standing, self.nodes = True, None, nodes
        self.base = replace(self.base, clusters=delta.clusters)

    def _change_nodes(self, nodes: Sequence[NodeView]) -> None:
        for node in nodes:
            known = self.nodes.get(node.id)
            if known is node or known == node:
                continue
            self.is_news = True
            self.nodes[node.id] = node
            if known is None or _LASTING(known) != _LASTING(node):
                self._standing = None
            elif self._standing is not None:
                self._standing.fleet.set_free(node)

    def _turn(self, delta: QueuesChanged | MarketChanged | MemoryChanged) -> None:
        base = self.base
        match delta:
            case QueuesChanged():
                new = replace(base, queues=delta.queues)
                if _by_id(new.queues) != _by_id(base.queues):
                    self.is_news, self._standing = True, None
            case MarketChanged():
                new = replace(
                    base,
                    offers=delta.offers,
                    claims=delta.claims,
                    budgets=delta.budgets,
                    is_uniform=delta.is_uniform,
                )
                self.is_news = self.is_news or new != base
            case MemoryChanged():
                new = replace(base, memory=delta.memory)
                self.is_news = self.is_news or _counting(new) != _counting(base)
            case _:
                assert_never(delta)
        self.base = new


def _by_id(queues: Sequence[object]) -> list[object]:
    return sorted(queues, key=attrgetter("id"))


def _counting(snapshot: Snapshot) -> tuple[tuple[object, ...], ...]:
    """What is remembered, but for reservations: those are made anew by every plan."""
    memory = snapshot.memory
    return tuple(memory.nominations), tuple(memory.verdicts), tuple(memory.past_uses)
