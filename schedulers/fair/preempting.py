"""Preempting: whose seats a blocked ask is given, if anybody's, and what that changes for the rest of the plan."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from controlplane.domain.ids import AskId
from schedulers.base import PROMISE_SECONDS, Ground, Preempt, Victim
from schedulers.fair.clock import SECOND
from schedulers.fair.facts import Facts
from schedulers.fair.holdings import Holding
from schedulers.fair.packing import pack
from schedulers.fair.seating import Seating
from schedulers.fair.trials import Sentence, Trial
from schedulers.fair.victims import Candidate, Heir, Stakes, Verdicts
from schedulers.fair.world import World

MOST_PREEMPTIONS: Final = 64
"""Of one plan."""

MOST_STEPS: Final = 5000
"""Candidates that are looked at in one plan, over all asks; a search that has begun is ended."""


@dataclass(slots=True)
class Court:
    """Decides on preemptions while one plan is being made."""

    world: World
    verdicts: Verdicts
    left: int = MOST_PREEMPTIONS
    steps: int = 0
    _changed: dict[int, Stakes] = field(default_factory=dict)
    """Of queues of which somebody went in this plan."""

    _staying: dict[int, tuple[Candidate, ...]] = field(default_factory=dict)
    """And who of them may still be asked."""

    @classmethod
    def of(cls, world: World) -> "Court":
        return cls(world, Verdicts.of(world.books.base.memory.verdicts))

    @property
    def is_in_session(self) -> bool:
        return self.left > 0 and self.steps < MOST_STEPS

    def queues(self) -> Sequence[int]:
        return sorted(self.world.standing.members)

    def candidates(self, queue: int) -> Sequence[Candidate]:
        staying = self._staying.get(queue)
        return self.stakes(queue).candidates if staying is None else staying

    def stakes(self, queue: int) -> Stakes:
        return self._changed.get(queue) or self.world.standing.stakes(queue, self.world.clock)

    def preempt(self, heir: Heir, flavors: Collection[tuple[int, ...]] = ()) -> Preempt | None:
        """Victims for the fewest tasks of the heir, on the first flavors for which there are some; books all of it.

        `flavors`: choices of them that count; none: all.
        """
        if not self.is_in_session:
            return None
        facts, ledger = heir.facts, self.world.ledger
        sizes = facts.sizes(facts.slack)
        if any(sizes) and self._is_room_being_made(facts, sizes):
            return None
        for option in facts.options(ledger, sizes) if any(sizes) else ():
            choice, request = option.choice, option.request
            if (flavors and choice not in flavors) or not ledger.could_fit(facts.queue, request):
                continue
            sentence = Trial.of(self, heir, request, facts.parts(choice, sizes)).sentence()
            if sentence is not None:
                self.left -= 1
                return self._carry_out(heir, sentence, Seating(facts, choice, sizes, sentence.seats, request))
        return None

    def _is_room_being_made(self, facts: Facts, sizes: tuple[int, ...]) -> bool:
        """Whether it fits beside the heirs of those who were told to go: then nobody else has to go for it."""
        ledger, fleet = self.world.ledger, self.world.with_what_leaves()
        return fleet is not None and any(
            ledger.fits(facts.queue, option.request)
            and pack(fleet, facts.parts(option.choice, sizes), facts.ask_class.topology, 0) is not None
            for option in facts.options(ledger, sizes)
        )

    def is_guaranteed(self, candidate: Candidate) -> bool:
        return candidate.stake in self.stakes(candidate.queue).guaranteed

    def _carry_out(self, heir: Heir, sentence: Sentence, seating: Seating) -> Preempt:
        """The victims' seats pass to the heir; what they leave beside it is free only when they have gone."""
        world = self.world
        world.inherit(seating, [seat for candidate in sentence.victims for seat in candidate.seats])
        for candidate in sentence.victims:
            world.take_seats(candidate.holding, candidate.seats, candidate.request)
            self.verdicts.add(heir.ask_id, candidate.ask_id)
            self.leave_alone(candidate.holding)
        place = seating.place(world.fleet, heir.ask_id)
        return Preempt(
            ask_id=heir.ask_id,
            cluster_id=place.cluster_id,
            seats=place.seats,
            victims=tuple(_victims(sentence)),
            until=world.now + PROMISE_SECONDS * SECOND,
        )

    def leave_alone(self, holding: Holding) -> None:
        """It, or what is left of it, is no candidate any more in this plan."""
        world, queue = self.world, holding.facts.queue
        group = self.candidates(queue)
        self._staying[queue] = tuple(each for each in group if each.ask_id != holding.ask.id)
        self._changed[queue] = Stakes.of(
            queue, world.holdings_of(queue), world.fleet, world.ledger, world.clock
        )


def _victims(sentence: Sentence) -> Iterator[Victim]:
    ranks: dict[AskId, list[int]] = {}
    grounds: dict[AskId, Ground] = {}
    for candidate, ground in zip(sentence.victims, sentence.grounds, strict=True):
        grounds[candidate.ask_id] = ground
        gone = [seat.rank for seat in candidate.seats] if candidate.is_part else []
        ranks.setdefault(candidate.ask_id, []).extend(gone)
    for ask_id in sorted(ranks):
        yield Victim(ask_id=ask_id, ground=grounds[ask_id], ranks=tuple(sorted(ranks[ask_id])))
