"""Preempting: whose seats a blocked ask is given, if anybody's, and what that changes for the rest of the plan."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from controlplane.domain.ids import AskId
from schedulers.base import Ground, Preempt, Victim
from schedulers.fair.facts import SECOND
from schedulers.fair.seating import Seating
from schedulers.fair.trials import Sentence, Trial
from schedulers.fair.victims import Candidate, Heir, Newcomer, Register, Stake, Verdicts, guaranteed
from schedulers.fair.world import World

PROMISE_SECONDS: Final = 900
"""How long seats are promised to an heir: more than any grace, time to kill and time to notice."""

MOST_PREEMPTIONS: Final = 64
"""Of one plan."""

MOST_STEPS: Final = 5000
"""Candidates that are looked at in one plan, over all asks; a search that has begun is ended."""


@dataclass(slots=True)
class Court:
    """Decides on preemptions while one plan is being made."""

    world: World
    register: Register
    verdicts: Verdicts
    left: int = MOST_PREEMPTIONS
    steps: int = 0
    _guaranteed: dict[int, frozenset[Stake]] = field(default_factory=dict)

    @classmethod
    def of(cls, world: World) -> "Court":
        return cls(world, Register.of(world), Verdicts.of(world.snapshot.memory.verdicts))

    def preempt(self, heir: Heir) -> Preempt | None:
        """Victims for the fewest tasks of the heir, on the first flavors for which there are some; books all of it."""
        if not self.left or self.steps >= MOST_STEPS or not self._anybody(heir):
            return None
        facts, ledger = heir.facts, self.world.ledger
        sizes = facts.sizes(facts.slack)
        for choice in facts.combinations() if any(sizes) else ():
            request = facts.request(ledger, choice, sizes)
            if not ledger.could_fit(facts.queue, request):
                continue
            sentence = Trial.of(self, heir, request, facts.parts(choice, sizes)).sentence()
            if sentence is not None:
                self.left -= 1
                return self._carry_out(heir, sentence, Seating(facts, choice, sizes, sentence.seats, request))
        return None

    def is_guaranteed(self, candidate: Candidate) -> bool:
        queue = candidate.queue
        if queue not in self._guaranteed:
            self._guaranteed[queue] = guaranteed(self.world, queue)
        return candidate.stake in self._guaranteed[queue]

    def would_be_guaranteed(self, heir: Heir, newcomer: Newcomer) -> bool:
        return any(ask_id == heir.ask_id for ask_id, _ in guaranteed(self.world, heir.facts.queue, newcomer))

    def _anybody(self, heir: Heir) -> bool:
        """A cheap look before the search: is there any candidate at all?"""
        ledger, mine = self.world.ledger, heir.facts.queue
        rule = ledger.queues[mine].preemption.within_queue
        own = self.register.by_queue.get(mine, ())
        if any(heir.outranks_in_queue(candidate, rule) for candidate in own):
            return True
        root = ledger.paths[mine][-1]
        others = (queue for queue, group in self.register.by_queue.items() if group and queue != mine)
        return any(ledger.paths[queue][-1] == root for queue in others)

    def _carry_out(self, heir: Heir, sentence: Sentence, seating: Seating) -> Preempt:
        """The victims' seats pass to the heir; what they leave beside it is free only when they have gone."""
        world = self.world
        world.inherit(seating, [seat for candidate in sentence.victims for seat in candidate.seats])
        for candidate in sentence.victims:
            world.take_seats(candidate.holding, candidate.seats, candidate.request)
            self.verdicts.add(heir.ask_id, candidate.ask_id)
            self._strike(candidate)
        place = seating.place(world.fleet, heir.ask_id)
        return Preempt(
            ask_id=heir.ask_id,
            cluster_id=place.cluster_id,
            seats=place.seats,
            victims=tuple(_victims(sentence)),
            until=world.now + PROMISE_SECONDS * SECOND,
        )

    def _strike(self, candidate: Candidate) -> None:
        """What is left of the ask, if anything, does not go a second time in one plan."""
        self._guaranteed.pop(candidate.queue, None)
        group = self.register.by_queue[candidate.queue]
        self.register.by_queue[candidate.queue] = [each for each in group if each.ask_id != candidate.ask_id]


def _victims(sentence: Sentence) -> Iterator[Victim]:
    ranks: dict[AskId, list[int]] = {}
    grounds: dict[AskId, Ground] = {}
    for candidate, ground in zip(sentence.victims, sentence.grounds, strict=True):
        grounds[candidate.ask_id] = ground
        gone = [seat.rank for seat in candidate.seats] if candidate.is_part else []
        ranks.setdefault(candidate.ask_id, []).extend(gone)
    for ask_id in sorted(ranks):
        yield Victim(ask_id=ask_id, ground=grounds[ask_id], ranks=tuple(sorted(ranks[ask_id])))
