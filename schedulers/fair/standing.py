"""The standing: fleet, quota trees and holdings as they are between two plans, changed only where something changed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from controlplane.domain.ids import AskId, ClassId, QueueId
from schedulers.base import AskClass, ClusterView, Defer, NodeView, PastUse, Queue, RunningAsk
from schedulers.fair.clock import Clock
from schedulers.fair.entitlements import Entitlements
from schedulers.fair.facts import Facts, facts_of
from schedulers.fair.fleet import Columns, Fleet
from schedulers.fair.holdings import Held, Holding, add_need, columns_of, holding_of
from schedulers.fair.ledger import Ledger
from schedulers.fair.lines import Lines
from schedulers.fair.victims import Stakes


@dataclass(slots=True)
class Standing:
    classes: Mapping[ClassId, AskClass]
    """All that anybody asks or runs as."""

    fleet: Fleet
    ledger: Ledger
    """With what is held for good."""

    leaving: Columns
    """Of each node, what its leaving seats hold."""

    clock: Clock
    """Of what the classes mean: when it wakes, windows have come too near for some."""

    totals: list[int]
    """By amount, what all nodes have."""

    holdings: dict[AskId, Holding] = field(default_factory=dict)
    members: dict[int, dict[AskId, None]] = field(default_factory=dict)
    """Of every queue, the asks that hold seats."""

    short: dict[AskId, None] = field(default_factory=dict)
    """Asks that run with fewer tasks than they could use."""

    lines: Lines = field(default_factory=Lines)
    _known: dict[ClassId, Facts] = field(default_factory=dict)
    _going: dict[AskId, list[Held]] = field(default_factory=dict)
    _stakes: dict[int, Stakes] = field(default_factory=dict)
    _columns: dict[AskId, tuple[Holding, Columns, Columns]] = field(default_factory=dict)
    _empty: Fleet | None = None

    _entitlements: Entitlements | None = None

    barriers: dict[ClassId, Defer | None] = field(default_factory=dict)
    """Of classes that were asked about, why they cannot run here at all, if so."""

    @classmethod
    def of(
        cls,
        supply: tuple[Iterable[NodeView], Sequence[ClusterView]],
        queues: Sequence[Queue],
        classes: Mapping[ClassId, AskClass],
        now: int,
    ) -> Self:
        fleet = Fleet.of(*supply)
        named = sorted({QueueId(each.queue_id) for each in classes.values()})
        capacity = fleet.capacity()
        ledger = Ledger.of(queues, capacity, named)
        totals = [0] * len(frozenset(ledger.resource_of))
        for cell, amount in capacity.items():
            totals[ledger.resource_of[ledger.cell_number[cell]]] += amount
        return cls(classes, fleet, ledger, np.zeros_like(fleet.free), Clock(now), totals)

    @property
    def empty(self) -> Fleet:
        """As if nobody held anything."""
        if self._empty is None:
            self._empty = self.fleet.emptied()
        return self._empty

    def facts(self, class_id: ClassId) -> Facts:
        known = self._known.get(class_id)
        if known is None:
            known = facts_of(self.classes[class_id], self.fleet, self.ledger, self.clock)
            self._known[class_id] = known
        return known

    def columns(self, ask_id: AskId, holding: Holding) -> tuple[Columns, Columns]:
        """Each node on which it holds something, and how much; `holding` may be less than it was."""
        known = self._columns.get(ask_id)
        if known is None or known[0] is not holding:
            seats = [(seat.node, seat.role.need) for seat in holding.seats]
            known = self._columns[ask_id] = (holding, *columns_of(seats, self.fleet))
        return known[1], known[2]

    def forget(self, class_id: ClassId) -> None:
        """Nobody asks or runs as it any more."""
        self._known.pop(class_id, None)
        self.barriers.pop(class_id, None)

    def entitlements(self, rows: Sequence[PastUse], epoch: int) -> Entitlements:
        known = self._entitlements
        if known is None or not known.stand(rows, epoch):
            held = ((holding.facts.queue, holding.request) for holding in self.holdings.values())
            known = self._entitlements = Entitlements.of(self.ledger, rows, held, epoch, self.totals)
        return known

    def hold(self, ask: RunningAsk) -> None:
        facts = self.facts(ask.ask_class)
        holding, going = holding_of(ask, facts, self.fleet, self.ledger)
        self.ledger.add(facts.queue, holding.request)
        for seat in going:
            add_need(self.leaving, seat.node, seat.role)
        if going:
            self._going[ask.id] = going
        if holding.seats:
            self.holdings[ask.id] = holding
            self.members.setdefault(facts.queue, {})[ask.id] = None
            self._stakes.pop(facts.queue, None)
        if holding.seats and holding.is_short:
            self.short[ask.id] = None

    def let_go(self, ask_id: AskId) -> None:
        """The inverse of `hold`."""
        for seat in self._going.pop(ask_id, ()):
            add_need(self.leaving, seat.node, seat.role, -1)
        holding = self.holdings.pop(ask_id, None)
        if holding is None:
            return
        queue = holding.facts.queue
        self.ledger.remove(queue, holding.request)
        del self.members[queue][ask_id]
        if not self.members[queue]:
            del self.members[queue]
        self.short.pop(ask_id, None)
        self._columns.pop(ask_id, None)
        self._stakes.pop(queue, None)

    def stakes(self, queue: int, clock: Clock) -> Stakes:
        known = self._stakes.get(queue)
        if known is None or known.holds_until <= clock.now:
            holdings = [self.holdings[id_] for id_ in self.members.get(queue, ())]
            known = Stakes.of(queue, holdings, self.fleet, self.ledger, clock)
            self._stakes[queue] = known
        clock.is_past(known.holds_until)
        return known
