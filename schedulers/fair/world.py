"""The world: a snapshot as the policy works on it, with everything that is held and promised already booked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

import numpy as np

from controlplane.domain.ids import AskId, ClassId, NodeId, QueueId
from schedulers.base import DEFAULT_FLAVOR, Nomination, Reservation, RunningAsk, Snapshot, microseconds
from schedulers.fair.facts import SECOND, Facts, RoleFacts, facts_of
from schedulers.fair.fleet import NEVER, Columns, Fleet
from schedulers.fair.ledger import Ledger, Request
from schedulers.fair.seating import Floor, Seating

EPOCH_SECONDS: Final = 300
"""Age, deadlines and past use change the order only at multiples of this."""


@dataclass(frozen=True, slots=True)
class Held:
    """One seat that a running ask holds for good."""

    rank: int
    node: int
    """Its number; -1: the node is not in the picture."""

    role: RoleFacts


@dataclass(frozen=True, slots=True)
class Holding:
    """A running ask; seats that are leaving are left out."""

    ask: RunningAsk
    facts: Facts
    seats: tuple[Held, ...]
    request: Request


@dataclass(frozen=True, slots=True)
class Promise:
    """A nomination that still counts."""

    nomination: Nomination
    facts: Facts
    request: Request


@dataclass(slots=True)
class World:
    snapshot: Snapshot
    now: int
    fleet: Fleet
    ledger: Ledger
    floor: Floor
    empty_seats: Columns
    """What is physically free on each node, promised or not."""

    holdings: dict[AskId, Holding] = field(default_factory=dict)
    members: dict[int, list[AskId]] = field(default_factory=dict)
    """Of every queue, the asks that hold seats."""

    promises: dict[AskId, Promise] = field(default_factory=dict)
    buyers: dict[AskId, Facts] = field(default_factory=dict)
    """Queued asks for which machines were bought."""

    reserved: tuple[Reservation, ...] = ()
    """What the plan promises for later; known once everybody had a turn."""

    known: dict[ClassId, Facts] = field(default_factory=dict)
    _empty: Fleet | None = None
    _unpromised: Fleet | None = None
    kept_free: Columns | None = None
    """What is free on machines that are kept for those who had them bought."""

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        now = microseconds(snapshot.now)
        fleet = Fleet.of(snapshot.nodes, snapshot.clusters)
        named = sorted({QueueId(each.queue_id) for each in snapshot.classes.values()})
        ledger = Ledger.of(snapshot.queues, fleet.capacity(), named)
        floor = Floor(fleet, ledger, now)
        world = cls(snapshot, now, fleet, ledger, floor, empty_seats=fleet.free.copy())
        leaving = np.zeros_like(fleet.free)
        for ask in sorted(snapshot.running, key=lambda ask: ask.id):
            world._hold(ask, leaving)
        queued = world._queued()
        world._promise(queued, leaving)
        world._keep_claims(queued)
        return world

    @property
    def epoch_start(self) -> int:
        return self.now - self.now % (EPOCH_SECONDS * SECOND)

    @property
    def empty(self) -> Fleet:
        """As if nobody held anything."""
        if self._empty is None:
            self._empty = self.fleet.emptied()
        return self._empty

    @property
    def unpromised(self) -> Fleet:
        """What is free at the end of the plan, as if nothing were promised for later."""
        if self._unpromised is None:
            self._unpromised = replace(self.fleet, horizons=[], _log=[], _counts={})
        return self._unpromised

    def facts(self, class_id: ClassId) -> Facts:
        known = self.known.get(class_id)
        if known is None:
            known = facts_of(self.snapshot.classes[class_id], self.fleet, self.ledger, self.now)
            self.known[class_id] = known
        return known

    def flavor_of(self, role: RoleFacts, node: int) -> str:
        """Of a seat; of one on a node that is not in the picture, the flavor that it most likely has."""
        return self.fleet.nodes[node].flavor if node >= 0 else _likely_flavor(role)

    def holdings_of(self, queue: int) -> list[Holding]:
        return [self.holdings[id_] for id_ in self.members.get(queue, ()) if id_ in self.holdings]

    def end_of(self, holding: Holding) -> int:
        """When a running ask is expected to be done; one that is over its time goes on as long as it has run."""
        if holding.facts.runs_for == NEVER:
            return NEVER
        began = holding.ask.admitted_at if holding.ask.started_at is None else holding.ask.started_at
        expected = began + holding.facts.runs_for
        return expected if expected > self.now else self.now + (self.now - began)

    def take_seats(self, holding: Holding, gone: Sequence[Held], request: Request) -> None:
        """They are leaving: neither its own nor its queue's any more, and nobody else's until they are empty."""
        self.ledger.remove(holding.facts.queue, request)
        present = self.holdings[holding.ask.id]
        ranks = frozenset(seat.rank for seat in gone)
        left = tuple(seat for seat in present.seats if seat.rank not in ranks)
        kept = {cell: amount - request.get(cell, 0) for cell, amount in present.request.items()}
        if left:
            self.holdings[holding.ask.id] = replace(present, seats=left, request=kept)
        else:
            del self.holdings[holding.ask.id]

    def inherit(self, seating: Seating, leaving: Sequence[Held]) -> None:
        """Books seats of which a part is covered by what others leave: only the rest comes off what is free."""
        needed, freed = np.zeros_like(self.fleet.free), np.zeros_like(self.fleet.free)
        for seat in leaving:
            _add_need(freed, seat.node, seat.role)
        for role, nodes in zip(seating.facts.roles, seating.seats, strict=True):
            for node in nodes:
                _add_need(needed, node, role)
        self.fleet.withhold(np.maximum(0, needed - freed))
        self.ledger.add(seating.facts.queue, seating.request)

    def _hold(self, ask: RunningAsk, leaving: Columns) -> None:
        facts = self.facts(ask.ask_class)
        seats, request = [], Request()
        for seat in sorted(ask.seats, key=lambda seat: seat.rank):
            role = facts.role_of(seat.rank)
            if role is None:
                continue  # of a size that its class no longer has; the node's `free` knows of it
            node = self.fleet.number.get(seat.node_id, -1)
            if seat.leaving:
                _add_need(leaving, node, role)
                continue
            seats.append(Held(seat.rank, node, role))
            self._charge(request, facts, role, node)
        self.ledger.add(facts.queue, request)
        if seats:
            self.holdings[ask.id] = Holding(ask, facts, tuple(seats), request)
            self.members.setdefault(facts.queue, []).append(ask.id)

    def _queued(self) -> dict[AskId, ClassId]:
        """Of the asks that are named in some row, those that still wait, with their class."""
        named = frozenset(
            [
                *(each.ask_id for each in self.snapshot.memory.nominations),
                *(each.ask_id for each in self.snapshot.claims),
            ]
        )
        asks = self.snapshot.asks
        if not named:
            return {}
        return {id_: class_id for id_, class_id in zip(asks.ids, asks.classes, strict=True) if id_ in named}

    def _promise(self, queued: Mapping[AskId, ClassId], leaving: Columns) -> None:
        """Takes off what is free for others whatever the seats that are leaving do not cover."""
        promised = np.zeros_like(self.fleet.free)
        for nomination in sorted(self.snapshot.memory.nominations, key=lambda each: each.ask_id):
            class_id = queued.get(nomination.ask_id)
            if class_id is None or not self._stands(nomination, facts := self.facts(class_id)):
                continue
            request = Request()
            for rank, node_id in nomination.seats:
                role, node = facts.role_of(rank), self.fleet.number[node_id]
                if role is not None:
                    _add_need(promised, node, role)
                    self._charge(request, facts, role, node)
            self.ledger.add(facts.queue, request)
            self.promises[nomination.ask_id] = Promise(nomination, facts, request)
        self.fleet.withhold(np.maximum(0, promised - leaving))

    def _keep_claims(self, queued: Mapping[AskId, ClassId]) -> None:
        """Nobody else sits down on machines while those wait for whom they were bought."""
        for claim in sorted(self.snapshot.claims, key=lambda claim: claim.id):
            if claim.ask_id is not None and claim.ask_id in queued and claim.ask_id not in self.promises:
                self.buyers[claim.ask_id] = self.facts(queued[claim.ask_id])
        self.kept_free = np.zeros_like(self.fleet.free)
        for ask_id in sorted(self.buyers):
            self.close_claims_of(ask_id)

    def close_claims_of(self, ask_id: AskId) -> None:
        kept = np.zeros_like(self.fleet.free)
        rows = self._claimed_by(ask_id)
        kept[rows] = self.fleet.free[rows]
        self.fleet.withhold(kept)
        if self.kept_free is not None:
            self.kept_free += kept

    def open_claims_of(self, ask_id: AskId) -> None:
        if self.kept_free is None:
            return
        kept = np.zeros_like(self.fleet.free)
        rows = self._claimed_by(ask_id)
        kept[rows] = self.kept_free[rows]
        self.kept_free[rows] = 0
        self.fleet.withhold(-kept)

    def is_waiting_for_machines(self, ask_id: AskId) -> bool:
        return any(claim.ask_id == ask_id and not claim.is_ready for claim in self.snapshot.claims)

    def class_of(self, ask_id: AskId) -> ClassId | None:
        """Of a queued ask."""
        asks = self.snapshot.asks
        return next((its for id_, its in zip(asks.ids, asks.classes, strict=True) if id_ == ask_id), None)

    def is_stopped(self, queue: int) -> bool:
        """It or a cohort above it admits nothing."""
        return any(self.ledger.queues[node].stopped for node in self.ledger.paths[queue])

    def fleet_totals(self) -> list[int]:
        """By amount, what all nodes have."""
        totals = [0] * len(frozenset(self.ledger.resource_of))
        for cell, amount in self.fleet.capacity().items():
            totals[self.ledger.resource_of[self.ledger.cell_number[cell]]] += amount
        return totals

    def _claimed_by(self, ask_id: AskId) -> list[int]:
        claims = frozenset(claim.id for claim in self.snapshot.claims if claim.ask_id == ask_id)
        return [number for number, node in enumerate(self.fleet.nodes) if node.claim_id in claims]

    def _stands(self, nomination: Nomination, facts: Facts) -> bool:
        """It has not lapsed, and its nodes still take this work."""
        if nomination.until <= self.now or not nomination.seats:
            return False
        return all(self._suits(facts, rank, node_id) for rank, node_id in nomination.seats)

    def _suits(self, facts: Facts, rank: int, node_id: NodeId) -> bool:
        role, node = facts.role_of(rank), self.fleet.number.get(node_id, -1)
        return role is not None and node >= 0 and any(bool(mask[node]) for _, mask in role.masks)

    def _charge(self, request: Request, facts: Facts, role: RoleFacts, node: int) -> None:
        flavor = self.flavor_of(role, node)
        for cell, amount in self.ledger.request(facts.queue, flavor, role.amounts, 1).items():
            request[cell] = request.get(cell, 0) + amount


def holds(room: Columns, seats: Sequence[tuple[int, RoleFacts]]) -> bool:
    """Whether (node, role) seats fit into the room all at once."""
    need: dict[int, dict[int, int]] = {}
    for node, role in seats:
        for column, amount in role.need:
            at = need.setdefault(node, {})
            at[column] = at.get(column, 0) + amount
    return all(
        column >= 0 and amount <= room[node, column]
        for node, amounts in need.items()
        for column, amount in amounts.items()
    )


def take(room: Columns, seats: Sequence[tuple[int, RoleFacts]]) -> None:
    for node, role in seats:
        for column, amount in role.need:
            room[node, column] -= amount


def _add_need(sums: Columns, node: int, role: RoleFacts) -> None:
    for column, amount in role.need:
        if node >= 0 and column >= 0:
            sums[node, column] += amount


def _likely_flavor(role: RoleFacts) -> str:
    if role.role.flavors:
        return role.role.flavors[0]
    return role.masks[0][0] if role.masks else DEFAULT_FLAVOR
