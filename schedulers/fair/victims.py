"""Victims: what running work may be told to stop for whom, and in which order.

Two rules keep preemption from going round in circles, on any tree, with any number of amounts and flavors:

- Guaranteed work (what fits into its queue's own nominal quota, higher priorities first, then who came first) gives way
  only to guaranteed work, and only to work of its own queue with a higher priority.
- Everybody else gives way only to those who never had to give way to them: the verdicts of the past, taken together
  with the new one, never form a circle.

So between events from outside the guaranteed amounts, compared from the highest priority down, never fall; and while
they stay equal the verdicts extend to one order of all asks, in which every step puts a higher one into the place of
lower ones. Both can rise only so often. docs/adr/0005 has the reasons and the proof.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from controlplane.domain.ids import AskId
from controlplane.domain.queues import WithinQueue
from schedulers.base import Tier, Verdict
from schedulers.fair.facts import SECOND, Facts
from schedulers.fair.ledger import Request
from schedulers.fair.order import TIERS
from schedulers.fair.world import Held, Holding, World

Rank = tuple[int, int, int, int, int, AskId, int]
"""Who goes first among the candidates of one queue: surplus, low band, low priority, little loss, new, id, rank."""

LAST: Final = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A running ask that might go, or one surplus task of it."""

    holding: Holding
    seats: tuple[Held, ...]
    request: Request
    is_part: bool
    """One surplus task; the ask goes on without it."""

    rank: Rank

    @property
    def queue(self) -> int:
        return self.holding.facts.queue

    @property
    def ask_id(self) -> AskId:
        return self.holding.ask.id

    @property
    def stake(self) -> "Stake":
        return (self.ask_id, self.seats[0].rank if self.is_part else CORE)


@dataclass(slots=True)
class Register:
    """All candidates of a world, by queue, in the order in which they would go."""

    by_queue: dict[int, list[Candidate]] = field(default_factory=dict)

    @classmethod
    def of(cls, world: World) -> "Register":
        made = cls()
        for holding in world.holdings.values():
            if may_ever_go(holding, world.now):
                made.by_queue.setdefault(holding.facts.queue, []).extend(candidates_of(world, holding))
        for group in made.by_queue.values():
            group.sort(key=lambda candidate: candidate.rank)
        return made


def may_ever_go(holding: Holding, now: int) -> bool:
    pinned = holding.facts.ask_class.tier is Tier.PINNED
    return bool(holding.seats) and not pinned and holding.ask.protected_until <= now


def candidates_of(world: World, holding: Holding) -> Iterator[Candidate]:
    """Surplus tasks one by one, the last rank first, then the whole ask."""
    for place, seat in enumerate(spare_seats(holding)):
        request = seat_request(world, holding, seat)
        rank = (*_standing(holding, 0), 0, *_age(holding), place)
        yield Candidate(holding=holding, seats=(seat,), request=request, is_part=True, rank=rank)
    loss = lost_seconds(holding, world.now)
    surplus = 0 if holding.facts.ask_class.tier is Tier.SURPLUS else 1
    rank = (*_standing(holding, surplus), loss, *_age(holding), LAST)
    yield Candidate(holding=holding, seats=holding.seats, request=holding.request, is_part=False, rank=rank)


def spare_seats(holding: Holding) -> list[Held]:
    """What it can do without, the last rank first; never all of it."""
    spare = [seat for seat in holding.seats if seat.rank - seat.role.first_rank >= seat.role.role.tasks_min]
    spare.sort(key=lambda seat: -seat.rank)
    return spare[: len(holding.seats) - 1]


def seat_request(world: World, holding: Holding, seat: Held) -> Request:
    flavor = world.flavor_of(seat.role, seat.node)
    return world.ledger.request(holding.facts.queue, flavor, seat.role.amounts, 1)


def lost_seconds(holding: Holding, now: int) -> int:
    """What stopping it now would waste of each of its GPUs: all since the last committed checkpoint, and a restart."""
    ask = holding.ask
    began = ask.admitted_at if ask.started_at is None else ask.started_at
    saved = began if ask.checkpoint_at is None else max(began, ask.checkpoint_at)
    return max(0, now - saved) // SECOND + holding.facts.ask_class.restart_seconds


def _standing(holding: Holding, tier: int) -> tuple[int, int, int]:
    return tier, holding.facts.ask_class.band, holding.ask.priority


def _age(holding: Holding) -> tuple[int, AskId]:
    return -holding.ask.admitted_at, holding.ask.id


@dataclass(frozen=True, slots=True)
class Heir:
    """Who wants the seats."""

    ask_id: AskId
    facts: Facts
    priority: int
    submitted: int

    def outranks_in_queue(self, victim: Candidate, rule: WithinQueue) -> bool:
        """Within one queue: tier, band and priority decide; surplus gives way to all that is not."""
        if rule is WithinQueue.NEVER:
            return False
        mine, its = self.facts.ask_class, victim.holding.facts.ask_class
        tier = TIERS[Tier.SURPLUS] if victim.is_part else TIERS[its.tier]
        standing = (TIERS[mine.tier], -mine.band, -self.priority)
        other = (tier, -its.band, -victim.holding.ask.priority)
        if standing == other and rule is WithinQueue.LOWER_OR_NEWER_EQUAL:
            return self.submitted < victim.holding.ask.submitted
        return standing < other if not victim.is_part else TIERS[mine.tier] < tier


Stake = tuple[AskId, int]
"""An ask without its surplus (-1), or one surplus task of it by rank."""

CORE: Final = -1


def guaranteed(world: World, queue: int, newcomer: "Newcomer | None" = None) -> frozenset[Stake]:
    """What fits into the queue's own quota: highest band and priority first, then who was admitted first.

    Surplus tasks come after all asks. What does not fit is passed over, and smaller work behind it may still fit. A
    newcomer stands behind those of its own priority.
    """
    own = world.ledger.subtree[queue]
    rows: list[tuple[tuple[int, int, int, int, int], Stake, Request]] = []
    for holding in world.holdings_of(queue):
        core = dict(holding.request)
        _, band, priority = _standing(holding, 0)
        newness, ask_id = _age(holding)
        for place, seat in enumerate(spare_seats(holding)):
            part = seat_request(world, holding, seat)
            for cell, amount in part.items():
                core[cell] -= amount
            rows.append(((1, -band, -priority, -newness, -place), (ask_id, seat.rank), part))
        rows.append(((0, -band, -priority, -newness, 0), (ask_id, CORE), core))
    if newcomer is not None:
        key = (0, -newcomer.band, -newcomer.priority, LAST, 0)
        rows.append((key, (newcomer.ask_id, CORE), newcomer.request))
    used: Request = {}
    kept: list[Stake] = []
    for _, stake, request in sorted(rows, key=lambda row: row[:2]):
        if request and all(used.get(cell, 0) + amount <= own[cell] for cell, amount in request.items()):
            kept.append(stake)
            for cell, amount in request.items():
                used[cell] = used.get(cell, 0) + amount
    return frozenset(kept)


@dataclass(frozen=True, slots=True)
class Newcomer:
    ask_id: AskId
    band: int
    priority: int
    request: Request


@dataclass(slots=True)
class Verdicts:
    """Who was placed at whose expense."""

    losers: dict[AskId, list[AskId]] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[Verdict]) -> "Verdicts":
        made = cls()
        for row in rows:
            made.add(row.winner, row.loser)
        return made

    def add(self, winner: AskId, loser: AskId) -> None:
        self.losers.setdefault(winner, []).append(loser)

    def outranks(self, one: AskId, other: AskId) -> bool:
        """Whether `one` ever won against `other`, directly or through those between."""
        seen, todo = {one}, [one]
        while todo:
            for loser in self.losers.get(todo.pop(), ()):
                if loser == other:
                    return True
                if loser not in seen:
                    seen.add(loser)
                    todo.append(loser)
        return False
