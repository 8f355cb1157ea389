"""Victims: what running work may be told to stop for whom, and in which order.

Two rules keep preemption from going round in circles, on any tree, with any number of amounts and flavors:

- Guaranteed work (what fits into its queue's own nominal quota: what is pinned, then higher priorities, then who came
  first) gives way only to guaranteed work, and only to work of its own queue with a higher priority (or, where newer
  equals give way, of the same priority that was submitted earlier). Pinned work that is guaranteed gives way to nobody.
- Everybody else gives way only to those who never had to give way to them: the verdicts of the past, taken together
  with the new one, never form a circle.

So between events from outside the guaranteed amounts, compared from the highest priority down, never fall; and while
they stay equal the verdicts extend to one order of all asks, in which every step puts a higher one into the place of
lower ones. Both can rise only so often. docs/adr/0005 has the reasons and the proof.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from controlplane.domain.ids import AskId
from controlplane.domain.queues import Queue, WithinQueue
from schedulers.base import Tier, Verdict
from schedulers.fair.clock import SECOND, Clock
from schedulers.fair.facts import Facts
from schedulers.fair.fleet import Fleet
from schedulers.fair.holdings import Held, Holding, seat_request
from schedulers.fair.ledger import Ledger, Request
from schedulers.fair.order import TIERS, Turn, turn_of

Rank = tuple[int, int, int, int, int, AskId, int]
"""Who goes first among the candidates of one queue: by tier, low band, low priority, little loss, new, id, rank."""

LAST: Final = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A running ask that might go, or one surplus task of it."""

    holding: Holding
    seats: tuple[Held, ...]
    request: Request
    is_part: bool
    """One surplus task; the ask goes on without it."""

    turn: Turn
    """As if it were still waiting."""

    rank: Rank

    @property
    def queue(self) -> int:
        return self.holding.facts.queue

    @property
    def ask_id(self) -> AskId:
        return self.holding.ask.id

    @property
    def standing(self) -> "Standing":
        """Within its queue; a surplus task gives way to everything that is not surplus, and to nothing else."""
        if self.is_part:
            return (TIERS[Tier.SURPLUS], -LAST, -LAST)
        return self.turn[:3]

    @property
    def stake(self) -> "Stake":
        return (self.ask_id, self.seats[0].rank if self.is_part else CORE)

    def is_kept(self, guaranteed: Collection["Stake"], *, owns_all: bool) -> bool:
        """Pinned, and nothing that its queue would have to give back. `owns_all`: no limits are set in its tree."""
        if self.is_part or self.holding.facts.ask_class.tier is not Tier.PINNED:
            return False
        return owns_all or not self.request or self.stake in guaranteed


Standing = tuple[int, int, int]
"""Tier, -band, -priority with age: within a queue the larger one gives way."""


@dataclass(frozen=True, slots=True)
class Stakes:
    """What those who hold seats of one queue have to fear, and what not."""

    candidates: tuple[Candidate, ...]
    """In the order in which they would go."""

    rows: tuple["StakeRow", ...]
    """Sorted."""

    guaranteed: frozenset["Stake"]
    """What fits into the queue's own quota: pinned first, then highest band and priority, then who was admitted first.

    Where newer equals give way it is who was submitted first. Surplus tasks come after all asks. What does not fit is
    passed over, and smaller work behind it may still fit.
    """

    weakest: "Standing | None"
    """Of the candidates, who would go first by tier, band and priority."""

    weakest_loose: "Standing | None"
    """And of those that are not guaranteed."""

    holds_until: int
    by_turn: bool
    """Among equals goes first who was submitted first, whenever it was admitted."""

    @property
    def is_any_loose(self) -> bool:
        return self.weakest_loose is not None

    @classmethod
    def of(cls, queue: int, holdings: Iterable[Holding], fleet: Fleet, ledger: Ledger, clock: Clock) -> Self:
        """Of all holdings of one queue. Moments that matter are asked of a clock of its own."""
        its_clock, free, rows = Clock(clock.now), list[Candidate](), list[StakeRow]()
        by_turn, epoch = goes_by_turn(ledger.queues[queue]), its_clock.epoch()
        for holding in holdings:
            ask = holding.ask
            turn = turn_of(holding.facts, ask.priority, (ask.submitted, ask.id), ledger, epoch)
            priced = [(seat, seat_request(fleet, ledger, queue, seat)) for seat in spare_seats(holding)]
            rows.extend(_rows(holding, turn, priced, by_turn=by_turn))
            if may_ever_go(holding, its_clock):
                free.extend(_candidates(holding, turn, priced, its_clock))
        rows.sort(key=lambda row: row[:2])
        guaranteed = frozenset(_within(rows, ledger.subtree[queue]))
        owns_all = not ledger.limited[queue]
        candidates = [each for each in free if not each.is_kept(guaranteed, owns_all=owns_all)]
        candidates.sort(key=lambda candidate: candidate.rank)
        loose = [each.standing for each in candidates if each.stake not in guaranteed]
        return cls(
            tuple(candidates),
            tuple(rows),
            guaranteed,
            max((each.standing for each in candidates), default=None),
            max(loose, default=None),
            its_clock.wakes_at,
            by_turn,
        )

    def with_newcomer(self, heir: "Heir", request: Request, own: Sequence[int]) -> bool:
        """Whether it would be guaranteed as well: it stands behind those of its own priority, or has its turn there."""
        age = _age_in_turn(heir.turn) if self.by_turn else (0, LAST)
        place = (_core_place(heir.facts.ask_class.tier), *heir.turn[1:3], *age, 0)
        row: StakeRow = (place, (heir.ask_id, CORE), request)
        before = bisect_left(self.rows, row[:2], key=lambda each: each[:2])
        return row[1] in list(_within([*self.rows[:before], row], own))


def goes_by_turn(queue: Queue) -> bool:
    """Whether a newer equal may be told to go: then age cannot mean the admission, which every preemption renews."""
    return queue.preemption.within_queue is WithinQueue.LOWER_OR_NEWER_EQUAL


def may_ever_go(holding: Holding, clock: Clock) -> bool:
    return bool(holding.seats) and clock.is_past(holding.ask.protected_until)


def _candidates(
    holding: Holding, turn: Turn, priced: Sequence[tuple[Held, Request]], clock: Clock
) -> Iterator[Candidate]:
    """Surplus tasks one by one, the last rank first, then the whole ask."""
    for place, (seat, request) in enumerate(priced):
        rank = (*_going(turn, 0), 0, *_age(holding), place)
        yield Candidate(holding=holding, seats=(seat,), request=request, is_part=True, turn=turn, rank=rank)
    loss = lost_seconds(holding, clock.minute())
    owed = TIERS[Tier.SURPLUS] - TIERS[holding.facts.ask_class.tier]
    rank = (*_going(turn, owed), loss, *_age(holding), LAST)
    yield Candidate(
        holding=holding,
        seats=holding.seats,
        request=holding.request,
        is_part=False,
        turn=turn,
        rank=rank,
    )


def spare_seats(holding: Holding) -> list[Held]:
    """What it can do without, the last rank first; never all of it."""
    spare = [seat for seat in holding.seats if seat.rank - seat.role.first_rank >= seat.role.role.tasks_min]
    spare.sort(key=lambda seat: -seat.rank)
    return spare[: len(holding.seats) - 1]


def lost_seconds(holding: Holding, now: int) -> int:
    """What stopping it now would waste of each of its GPUs: all since the last committed checkpoint, and a restart."""
    began, checkpoint_at = holding.began, holding.ask.checkpoint_at
    saved = began if checkpoint_at is None else max(began, checkpoint_at)
    return max(0, now - saved) // SECOND + holding.facts.ask_class.restart_seconds


def _going(turn: Turn, tier: int) -> tuple[int, int, int]:
    return tier, -turn[1], -turn[2]


def _age(holding: Holding) -> tuple[int, AskId]:
    return -holding.ask.admitted_at, holding.ask.id


@dataclass(frozen=True, slots=True)
class Heir:
    """Who wants the seats."""

    facts: Facts
    priority: int
    """Without age: between queues age does not count."""

    turn: Turn

    @property
    def ask_id(self) -> AskId:
        return self.turn[5]

    @property
    def submitted(self) -> int:
        return self.turn[4]

    def outranks_in_queue(self, victim: Candidate, rule: WithinQueue) -> bool:
        """Within one queue: tier, band and priority decide; surplus gives way to all that is not."""
        if rule is WithinQueue.NEVER:
            return False
        if self.standing == victim.standing and rule is WithinQueue.LOWER_OR_NEWER_EQUAL:
            return _age_in_turn(self.turn) < _age_in_turn(victim.turn)
        return self.standing < victim.standing

    @property
    def standing(self) -> Standing:
        return self.turn[:3]


Stake = tuple[AskId, int]
"""An ask without its surplus (-1), or one surplus task of it by rank."""

CORE: Final = -1
SPARE_PLACE: Final = 2
"""When own quota is given out: after what is pinned (0) and everybody's fewest tasks (1)."""


StakeRow = tuple[tuple[int, int, int, int, int, int], Stake, Request]
"""Its turn when its queue's own quota is given out, whose it is, and how much it takes."""


def _rows(
    holding: Holding, turn: Turn, priced: Sequence[tuple[Held, Request]], *, by_turn: bool
) -> Iterator[StakeRow]:
    core, ask_id = dict(holding.request), holding.ask.id
    band, priority = turn[1:3]
    age = _age_in_turn(turn) if by_turn else (0, holding.ask.admitted_at)
    for place, (seat, part) in enumerate(priced):
        for cell, amount in part.items():
            core[cell] -= amount
        yield (SPARE_PLACE, band, priority, *age, -place), (ask_id, seat.rank), part
    place = _core_place(holding.facts.ask_class.tier)
    yield (place, band, priority, *age, 0), (ask_id, CORE), core


def _age_in_turn(turn: Turn) -> tuple[int, int]:
    """Urgency, and who was submitted first."""
    return turn[3:5]


def _core_place(tier: Tier) -> int:
    return 0 if tier is Tier.PINNED else 1


def _within(rows: Iterable[StakeRow], own: Sequence[int]) -> Iterator[Stake]:
    used: Request = {}
    for _, stake, request in rows:
        if request and all(used.get(cell, 0) + amount <= own[cell] for cell, amount in request.items()):
            yield stake
            for cell, amount in request.items():
                used[cell] = used.get(cell, 0) + amount


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
