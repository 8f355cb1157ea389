"""Protected: what others borrow of an owner's quota, and may keep until their minimum runtime is over."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from controlplane.domain.queues import LARGEST, Reclaim
from schedulers.fair.facts import Facts
from schedulers.fair.holdings import Holding
from schedulers.fair.ledger import Request
from schedulers.fair.world import World


def protected_until(world: World, facts: Facts, request: Request, cell: int, missing: int) -> int | None:
    """When so much of the cell may be taken back from who borrows it; None: it is not protection that it waits for."""
    clock, found = world.clock, 0
    for moment, amount in sorted(_borrowed(world, facts, request, cell)):
        found += amount
        if found >= missing:
            return None if clock.is_past(moment) else moment
        clock.is_past(moment)  # then it is another moment that counts
    return None


def _borrowed(world: World, facts: Facts, request: Request, cell: int) -> Iterator[tuple[int, int]]:
    """(protected until, how much), of all that the queue could take back as the owner."""
    ledger = world.ledger
    if ledger.queues[facts.queue].preemption.reclaim is not Reclaim.ANY:
        return  # of lower priority only: those it could take back differ from ask to ask
    owns = False
    for at, parent in pairwise(ledger.paths[facts.queue]):
        owns = owns or not ledger.borrows(at, request)
        for rival in ledger.children[parent] if owns else ():
            if rival != at:
                yield from _borrowed_below(world, rival, cell, LARGEST)


def _borrowed_below(world: World, node: int, cell: int, most: int) -> Iterator[tuple[int, int]]:
    """No more than the least that a node on the way down uses beyond what it owns."""
    excess = min(most, world.ledger.used[node][cell] - world.ledger.subtree[node][cell])
    if excess > 0:
        yield from _beyond(world.weakest_of(node), cell, excess)
        for child in world.ledger.children.get(node, ()):
            yield from _borrowed_below(world, child, cell, excess)


def _beyond(weakest: Sequence[Holding], cell: int, excess: int) -> Iterator[tuple[int, int]]:
    """Of a queue that uses so much more than it owns: those who are not guaranteed to stay."""
    for holding in weakest:
        if excess <= 0:
            return
        amount = holding.request.get(cell, 0)
        if amount:
            yield holding.ask.protected_until, amount
            excess -= amount
