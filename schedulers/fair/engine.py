"""The engine: the picture as it is now, kept up to date by deltas."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import assert_never

from controlplane.domain.ids import AskId, ClassId
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
    Plan,
    QueuedAsks,
    QueuesChanged,
    RunningAsk,
    Snapshot,
)
from schedulers.fair.deciding import decide


class FairEngine:
    """Holds the rows by id and plans on them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._base = snapshot
        asks = snapshot.asks
        rows = zip(asks.ids, asks.classes, asks.priorities, asks.submitted, asks.not_before, strict=True)
        self._queued: dict[AskId, tuple[ClassId, int, int, int]] = {row[0]: row[1:] for row in rows}
        self._running: dict[AskId, RunningAsk] = {ask.id: ask for ask in snapshot.running}
        self._classes: dict[ClassId, AskClass] = dict(snapshot.classes)

    def apply(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            match delta:
                case AskQueued():
                    self._classes[delta.ask_class.id] = delta.ask_class
                    row = (delta.ask_class.id, delta.priority, delta.submitted, delta.not_before)
                    self._queued[delta.id] = row
                case AskLeft():
                    self._queued.pop(delta.id, None)
                case AskRuns():
                    self._classes[delta.ask_class.id] = delta.ask_class
                    self._running[delta.ask.id] = delta.ask
                case AskStopped():
                    self._running.pop(delta.id, None)
                case _:
                    self._base = _turned(self._base, delta)

    def plan(self, *, version: int, now: datetime) -> Plan:
        return decide(self.snapshot(version=version, now=now))

    def snapshot(self, *, version: int, now: datetime) -> Snapshot:
        """The picture as a policy's `plan` would be given it."""
        rows = list(self._queued.items())
        return replace(
            self._base,
            version=version,
            now=now,
            asks=QueuedAsks(
                ids=[id_ for id_, _ in rows],
                classes=[row[0] for _, row in rows],
                priorities=[row[1] for _, row in rows],
                submitted=[row[2] for _, row in rows],
                not_before=[row[3] for _, row in rows],
            ),
            classes=self._classes,
            running=list(self._running.values()),
        )


def _turned(
    base: Snapshot, delta: CapacityChanged | QueuesChanged | MarketChanged | MemoryChanged
) -> Snapshot:
    match delta:
        case CapacityChanged():
            return replace(base, nodes=delta.nodes, clusters=delta.clusters)
        case QueuesChanged():
            return replace(base, queues=delta.queues)
        case MarketChanged():
            return replace(base, offers=delta.offers, claims=delta.claims, budgets=delta.budgets)
        case MemoryChanged():
            return replace(base, memory=delta.memory)
        case _:
            assert_never(delta)
