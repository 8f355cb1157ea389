"""Rehearsals: one history carried out to its end, and what came of it; a failing one made small."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from schedulers.base import Policy
from schedulers.fair.policy import Fair
from tests.sim.minimise import ddmin
from tests.sim.scheduling.histories import Event, History, Kind, draw
from tests.sim.scheduling.stage import Stage
from tests.sim.trials import on_every_core
from tests.sim.truth import Violation

MOST_TRIALS: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    seed: int
    events: int
    """Plans are not counted."""

    plans: int
    trace_hash: str
    violation: str | None

    def __str__(self) -> str:
        told = self.violation or "all is well"
        return f"history {self.seed}: {self.events} events, {self.plans} plans, {told}"


def rehearse(seed: int) -> Outcome:
    """By the policy that everybody has who names no other."""
    return carry_out(draw(seed), Fair())


def rehearse_many(seeds: Iterable[int]) -> Iterator[Outcome]:
    return on_every_core(rehearse, seeds)


def carry_out(history: History, policy: Policy) -> Outcome:
    stage, violation, events = Stage(history, policy), None, 0
    try:
        for event in history.events:
            events += event.kind not in (Kind.PLANNED, Kind.RESTED)
            stage.carry_out(event)
        stage.drain()
    except Violation as found:
        violation = str(found)
    except Exception as broken:  # noqa: BLE001 - whatever it is, the policy brought it about
        violation = f"{type(broken).__name__}: {broken}"
    return Outcome(
        seed=history.seed, events=events, plans=stage.plans, trace_hash=stage.trace_hash, violation=violation
    )


def smallest(history: History, policy: Policy) -> History:
    """The same beginning with as few events as still break a law; it may be another law than at first."""

    def still_fails(events: Sequence[Event]) -> bool:
        return carry_out(history._replace(events=tuple(events)), policy).violation is not None

    return history._replace(events=tuple(ddmin(history.events, still_fails, most_trials=MOST_TRIALS)))


def page(outcome: Outcome, policy: Policy) -> str:
    """One page: which law, by which events, from which beginning."""
    whole = draw(outcome.seed)
    small = smallest(whole, policy)
    found = carry_out(small, policy)
    return "\n".join(
        [
            f"history {outcome.seed}: {found.violation}",
            f"replay: python -m tests.sim.scheduling replay {outcome.seed}",
            f"of {len(whole.events)} events these {len(small.events)} are enough:",
            *(f"  {event}" for event in small.events),
            "beginning with:",
            *(f"  {name}: {row}" for name, rows in small.scene.items() for row in rows),
        ]
    )
