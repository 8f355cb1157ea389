"""The world: a snapshot as the policy works on it, with everything that is held and promised already booked."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from controlplane.domain.ids import AskId, ClassId
from schedulers.base import Nomination, PastUse, Reservation
from schedulers.fair.books import Books
from schedulers.fair.clock import Clock
from schedulers.fair.facts import Facts, RoleFacts
from schedulers.fair.fleet import Columns, Fleet
from schedulers.fair.holdings import Held, Holding, add_need, add_to, flavor_of
from schedulers.fair.ledger import Ledger, Request
from schedulers.fair.order import TIERS
from schedulers.fair.seating import Floor, Seating
from schedulers.fair.standing import Standing


@dataclass(frozen=True, slots=True)
class Promise:
    """A nomination that still counts."""

    nomination: Nomination
    facts: Facts
    request: Request


@dataclass(slots=True)
class World:
    books: Books
    standing: Standing
    clock: Clock
    fleet: Fleet
    ledger: Ledger
    floor: Floor
    empty_seats: Columns
    """What is physically free on each node, promised or not."""

    kept_free: Columns
    """What is free on machines that are kept for those who had them bought."""

    holdings: dict[AskId, Holding]
    promised: Columns
    """To heirs who have not got their seats yet; of it, what leaving seats cover is not taken off what is free."""

    leaving: Columns
    """What seats hold whose tasks were told to go, by this plan too."""

    promises: dict[AskId, Promise] = field(default_factory=dict)
    buyers: dict[AskId, Facts] = field(default_factory=dict)
    """Queued asks for which machines were bought, and whose turn it may be."""

    past_uses: tuple[PastUse, ...] = ()
    """What is to be remembered of the epochs before this one, if it is not yet."""

    lapsed: list[AskId] = field(default_factory=list)
    """Who was promised seats that it cannot have any more."""

    reserved: tuple[Reservation, ...] = ()
    """What the plan promises for later; known once everybody had a turn."""

    _unpromised: Fleet | None = None
    _weakest: dict[int, list[Holding]] = field(default_factory=dict)

    @classmethod
    def of(cls, books: Books, now: int) -> Self:
        """Forks all that a plan changes, so that the books stand as they are."""
        clock, standing = Clock(now), books.standing(now)
        clock.is_past(standing.clock.wakes_at)
        books.waiting.ripen(clock)
        fleet = standing.fleet.with_room(standing.fleet.free.copy())
        ledger = standing.ledger.fork()
        entitled = standing.entitlements(books.base.memory.past_uses, clock.epoch())
        ledger.weights = entitled.weights
        world = cls(
            books,
            standing,
            clock,
            fleet,
            ledger,
            Floor(fleet, ledger, clock),
            empty_seats=standing.fleet.free.copy(),
            kept_free=np.zeros_like(fleet.free),
            holdings=dict(standing.holdings),
            promised=np.zeros_like(fleet.free),
            leaving=standing.leaving,
            past_uses=entitled.fresh,
        )
        world._promise()
        world._keep_claims()
        standing.lines.follow(books.waiting, standing.facts, standing.ledger, clock.epoch())
        return world

    @property
    def now(self) -> int:
        return self.clock.now

    @property
    def unpromised(self) -> Fleet:
        """What is free at the end of the plan, as if nothing were promised for later."""
        if self._unpromised is None:
            self._unpromised = self.fleet.with_room(self.fleet.free)
        return self._unpromised

    def facts(self, class_id: ClassId) -> Facts:
        return self.standing.facts(class_id)

    def holdings_of(self, queue: int) -> list[Holding]:
        members = self.standing.members.get(queue, ())
        return [self.holdings[id_] for id_ in members if id_ in self.holdings]

    def weakest_of(self, queue: int) -> list[Holding]:
        """At the end of the plan; the weakest tier, band and priority first, and among those the newest."""
        if queue not in self._weakest:
            self._weakest[queue] = sorted(self.holdings_of(queue), key=_weakness)
        return self._weakest[queue]

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

    def let_go(self, holding: Holding) -> None:
        """All of it is told to go for nobody in particular."""
        self.take_seats(holding, holding.seats, holding.request)
        freed = np.zeros_like(self.fleet.free)
        for seat in holding.seats:
            add_need(freed, seat.node, seat.role)
        self._pass_on(np.zeros_like(freed), freed)

    def inherit(self, seating: Seating, leaving: Sequence[Held], moved: Sequence[Held] = ()) -> None:
        """Promises seats of which a part is covered by what leaves, now or for others: the rest is kept free.

        `moved` is what those who leave are to have afterwards.
        """
        needed, freed = np.zeros_like(self.fleet.free), np.zeros_like(self.fleet.free)
        for seat in leaving:
            add_need(freed, seat.node, seat.role)
        for role, nodes in zip(seating.facts.roles, seating.seats, strict=True):
            for node in nodes:
                add_need(needed, node, role)
        for seat in moved:
            add_need(needed, seat.node, seat.role)
        self._pass_on(needed, freed)
        self.ledger.add(seating.facts.queue, seating.request)

    def hand_over(self, seats: Sequence[tuple[int, RoleFacts]]) -> None:
        """An heir gets its seats: they come off what is free, as far as they were not kept free for it before.

        Its victims may still be there, if others have left room in the meantime.
        """
        take(self.empty_seats, seats)
        taken = np.zeros_like(self.fleet.free)
        for node, role in seats:
            add_need(taken, node, role)
        self.fleet.withhold(taken)
        self._pass_on(-taken, np.zeros_like(taken))

    def _pass_on(self, needed: Columns, freed: Columns) -> None:
        """So much more is promised, and so much more leaves: what is kept free for heirs follows."""
        kept = self._kept_for_heirs()
        self.promised, self.leaving = self.promised + needed, self.leaving + freed
        self.fleet.withhold(self._kept_for_heirs() - kept)

    def _kept_for_heirs(self) -> Columns:
        kept: Columns = np.maximum(0, self.promised - self.leaving)
        return kept

    def with_what_leaves(self) -> Fleet | None:
        """As it will be when all have gone that were told to and their heirs sit there; None: nothing is left over."""
        left_over = np.maximum(0, self.leaving - self.promised)
        return self.fleet.with_room(self.fleet.free + left_over) if left_over.any() else None

    def _promise(self) -> None:
        """Takes off what is free for others whatever the seats that are leaving do not cover."""
        nominations = self.books.base.memory.nominations
        if not nominations:
            return
        for nomination in sorted(nominations, key=lambda each: each.ask_id):
            class_id = self.class_of(nomination.ask_id) or self._stopping(nomination.ask_id)
            if class_id is None:
                continue
            if not self._stands(nomination, facts := self.facts(class_id)):
                self.lapsed.append(nomination.ask_id)
                continue
            request = Request()
            for rank, node_id in nomination.seats:
                role, node = facts.role_of(rank), self.fleet.number[node_id]
                if role is not None:
                    add_need(self.promised, node, role)
                    flavor = flavor_of(self.fleet, role, node)
                    add_to(request, self.ledger.request(facts.queue, flavor, role.amounts, 1))
            self.ledger.add(facts.queue, request)
            self.promises[nomination.ask_id] = Promise(nomination, facts, request)
        self.fleet.withhold(self._kept_for_heirs())

    def _keep_claims(self) -> None:
        """Nobody else sits down on machines while those wait for whom they were bought."""
        kept = {claim.ask_id for claim in self.books.base.claims if claim.ask_id is not None}
        for ask_id in sorted(kept - self.promises.keys()):
            row = self.books.waiting.rows.get(ask_id)
            if row is None:
                continue
            self.close_claims_of(ask_id)
            facts, not_before = self.facts(row[0]), row[3]
            if self.clock.is_past(not_before) and not self.is_stopped(facts.queue):
                self.buyers[ask_id] = facts

    def close_claims_of(self, ask_id: AskId) -> None:
        kept = np.zeros_like(self.fleet.free)
        rows = self._claimed_by(ask_id)
        kept[rows] = self.fleet.free[rows]
        self.fleet.withhold(kept)
        self.kept_free += kept

    def open_claims_of(self, ask_id: AskId) -> None:
        kept = np.zeros_like(self.fleet.free)
        rows = self._claimed_by(ask_id)
        kept[rows] = self.kept_free[rows]
        self.kept_free[rows] = 0
        self.fleet.withhold(-kept)

    def is_waiting_for_machines(self, ask_id: AskId) -> bool:
        """Some that were bought for it are not there yet."""
        nodes = Counter(node.claim_id for node in self.fleet.nodes)
        return any(
            claim.ask_id == ask_id and (not claim.is_ready or nodes[claim.id] < claim.machines)
            for claim in self.books.base.claims
        )

    def class_of(self, ask_id: AskId) -> ClassId | None:
        """Of a queued ask."""
        row = self.books.waiting.rows.get(ask_id)
        return None if row is None else row[0]

    def _stopping(self, ask_id: AskId) -> ClassId | None:
        """The class of an ask that was told to stop: what it is promised is for when it starts again."""
        ask = self.books.running.get(ask_id)
        return ask.ask_class if ask is not None and all(seat.leaving for seat in ask.seats) else None

    def is_stopped(self, queue: int) -> bool:
        """It or a cohort above it admits nothing."""
        return any(self.ledger.queues[node].stopped for node in self.ledger.paths[queue])

    def _claimed_by(self, ask_id: AskId) -> list[int]:
        claims = frozenset(claim.id for claim in self.books.base.claims if claim.ask_id == ask_id)
        return [number for number, node in enumerate(self.fleet.nodes) if node.claim_id in claims]

    def _stands(self, nomination: Nomination, facts: Facts) -> bool:
        """It has not lapsed, and its nodes still take this work."""
        if self.clock.is_past(nomination.until) or not nomination.seats:
            return False
        seats = [
            (facts.role_of(rank), self.fleet.number.get(node_id, -1)) for rank, node_id in nomination.seats
        ]
        flavors = {
            (role.role.name, self.fleet.nodes[node].flavor) for role, node in seats if role and node >= 0
        }
        has_one_each = len(flavors) == len({name for name, _ in flavors})  # a node may have got another one
        return has_one_each and all(_suits(role, node) for role, node in seats)


def _weakness(holding: Holding) -> tuple[int, int, int, int, AskId]:
    ask, facts = holding.ask, holding.facts
    return (-TIERS[facts.ask_class.tier], facts.band, ask.priority, -ask.admitted_at, ask.id)


def _suits(role: RoleFacts | None, node: int) -> bool:
    return role is not None and node >= 0 and any(bool(mask[node]) for _, mask in role.masks)


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
