"""A failing seed, made small: delta debugging over the faults that struck (Zeller and Hildebrandt 2002, ddmin)."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from tests.sim.chance import Strike
from tests.sim.trials import Result, run

T = TypeVar("T")

MOST_TRIALS: Final = 150
STORY_LINES: Final = 45


def smallest(failing: Result) -> Result:
    """The same seed with as few faults as still break a promise; it may be another promise than at first."""
    best = failing

    def still_fails(strikes: Sequence[Strike]) -> bool:
        nonlocal best
        result = run(failing.seed, failing.steps, only=frozenset(strikes))
        if result.violation is not None and len(result.struck) <= len(best.struck):
            best = result
        return result.violation is not None

    ddmin(failing.struck, still_fails, most_trials=MOST_TRIALS)
    return best


def ddmin(items: Sequence[T], fails: Callable[[Sequence[T]], bool], *, most_trials: int) -> Sequence[T]:
    """A part of the items that still fails and of which no single chunk can be left out; bounded in trials."""
    parts, trials = 2, 0
    while len(items) >= 1 and trials < most_trials:
        chunk = max(1, len(items) // parts)
        for start in range(0, len(items), chunk):
            rest = [*items[:start], *items[start + chunk :]]
            trials += 1
            if fails(rest):
                items, parts = rest, max(parts - 1, 2)
                break
        else:
            if chunk == 1:
                return items
            parts = min(parts * 2, len(items))
    return items


def page(failing: Result) -> str:
    """One page: what broke, by which faults, and what went before."""
    found = smallest(failing)
    return "\n".join(
        [
            f"seed {found.seed}, step {found.steps}: {found.violation}",
            f"replay: python -m tests.sim replay {found.seed} --steps {failing.steps}",
            f"of {len(failing.struck)} faults these {len(found.struck)} are enough:",
            *(f"  {strike}" for strike in found.struck),
            "what happened (step, seconds):",
            *found.story[-STORY_LINES:],
        ]
    )
