"""Protected: what others borrow of an owner's quota, and may keep until their minimum runtime is over."""

from collections.abc import Iterator, Sequence

from controlplane.domain.queues import Reclaim
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
    mine = ledger.paths[facts.queue]
    if ledger.queues[facts.queue].preemption.reclaim is not Reclaim.ANY:
        return  # of lower priority only: those it could take back differ from ask to ask
    for queue in world.standing.members:
        its = ledger.paths[queue]
        if queue == facts.queue or its[-1] != mine[-1]:
            continue
        way = [node for node in its if node not in mine]
        owns = any(not ledger.borrows(node, request) for node in mine if node not in its)
        excess = min((ledger.used[node][cell] - ledger.subtree[node][cell] for node in way), default=0)
        if owns and excess > 0:
            yield from _beyond(world.weakest_of(queue), cell, excess)


def _beyond(weakest: Sequence[Holding], cell: int, excess: int) -> Iterator[tuple[int, int]]:
    """Of a queue that uses so much more than it owns: those who are not guaranteed to stay."""
    for holding in weakest:
        if excess <= 0:
            return
        amount = holding.request.get(cell, 0)
        if amount:
            yield holding.ask.protected_until, amount
            excess -= amount
