"""Holdings: what running asks hold, and what that counts for in their queues' quota."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from schedulers.base import DEFAULT_FLAVOR, RunningAsk
from schedulers.fair.clock import MINUTE, Clock
from schedulers.fair.facts import Facts, RoleFacts
from schedulers.fair.fleet import NEVER, Columns, Fleet, Need
from schedulers.fair.ledger import Ledger, Request


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

    @property
    def began(self) -> int:
        return self.ask.admitted_at if self.ask.started_at is None else self.ask.started_at

    @property
    def is_short(self) -> bool:
        """It could use more tasks than it has."""
        return len(self.seats) < sum(role.role.tasks for role in self.facts.roles)


def holding_of(ask: RunningAsk, facts: Facts, fleet: Fleet, ledger: Ledger) -> tuple[Holding, list[Held]]:
    """With the seats that are leaving beside it."""
    seats, leaving, request = list[Held](), list[Held](), Request()
    for seat in sorted(ask.seats, key=lambda seat: seat.rank):
        role = facts.role_of(seat.rank)
        if role is None:
            continue  # of a size that its class no longer has; the node's `free` knows of it
        held = Held(seat.rank, fleet.number.get(seat.node_id, -1), role)
        if seat.leaving:
            leaving.append(held)
            continue
        seats.append(held)
        add_to(request, seat_request(fleet, ledger, facts.queue, held))
    return Holding(ask, facts, tuple(seats), request), leaving


def seat_request(fleet: Fleet, ledger: Ledger, queue: int, seat: Held) -> Request:
    return ledger.request(queue, flavor_of(fleet, seat.role, seat.node), seat.role.amounts, 1)


def flavor_of(fleet: Fleet, role: RoleFacts, node: int) -> str:
    """Of a seat; of one on a node that is not in the picture, the flavor that it most likely has."""
    if node >= 0:
        return fleet.nodes[node].flavor
    if role.role.flavors:
        return role.role.flavors[0]
    return role.masks[0][0] if role.masks else DEFAULT_FLAVOR


def add_to(request: Request, more: Mapping[int, int]) -> None:
    for cell, amount in more.items():
        request[cell] = request.get(cell, 0) + amount


def add_need(sums: Columns, node: int, role: RoleFacts, sign: int = 1) -> None:
    for column, amount in role.need:
        if node >= 0 and column >= 0:
            sums[node, column] += sign * amount


def end_of(holding: Holding, clock: Clock) -> int:
    """When it is expected to be done; one that is over its time goes on for as long as it has run, to the minute."""
    if holding.facts.runs_for == NEVER:
        return NEVER
    expected = holding.began + holding.facts.runs_for
    if not clock.is_past(expected):
        return expected
    soon = clock.minute() + MINUTE
    return soon + (soon - holding.began)


def columns_of(seats: Sequence[tuple[int, Need]], fleet: Fleet) -> tuple[Columns, Columns]:
    """Of (node, what one task needs): each node once, and what is needed there; nodes that are gone are left out."""
    sums: dict[int, list[int]] = {}
    for node, need in seats:
        if node >= 0:
            row = sums.setdefault(node, [0] * len(fleet.resources))
            for column, amount in need:
                if column >= 0:
                    row[column] += amount
    amounts = np.array(list(sums.values()), np.int64).reshape(len(sums), len(fleet.resources))
    return np.array(list(sums), np.int64), amounts
