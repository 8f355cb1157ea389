"""The soak: histories that nobody has seen yet, for as long as is given. The next one is stored, and totals add up."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Final

from schedulers.fair.policy import Fair
from tests.sim.scheduling.histories import PLAIN
from tests.sim.scheduling.rehearsals import Outcome, page, rehearse_many

RECORD: Final = Path(__file__).parents[3] / ".soak" / "scheduling.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Of all soaks on this machine."""

    next_history: int = PLAIN.stop
    histories: int = 0
    events: int = 0
    plans: int = 0
    violations: int = 0
    seconds: float = 0.0

    def plus(self, outcome: Outcome) -> "Record":
        return replace(
            self,
            next_history=outcome.seed + 1,
            histories=self.histories + 1,
            events=self.events + outcome.events,
            plans=self.plans + outcome.plans,
            violations=self.violations + (outcome.violation is not None),
        )

    def and_then(self, later: "Record") -> "Record":
        sums = {name: value + getattr(self, name) for name, value in asdict(later).items()}
        return Record(**(sums | {"next_history": later.next_history}))

    def __str__(self) -> str:
        return (
            f"{self.histories} histories of scheduling, {self.events} events, {self.plans} plans, "
            f"{self.violations} violations, {self.seconds:.0f} s"
        )


def soak(seconds: float, *, told: Callable[[str], object]) -> Record:
    """Stops at the first violation, with its smallest history. Returns what this soak alone has shown."""
    before = Record(**json.loads(RECORD.read_text())) if RECORD.exists() else Record()
    first, began = max(before.next_history, PLAIN.stop), time.monotonic()
    mine = Record(next_history=first)
    for outcome in rehearse_many(_seeds(first, until=began + seconds)):
        mine = replace(mine.plus(outcome), seconds=time.monotonic() - began)
        _store(
            before.and_then(mine)
        )  # each time: a soak that is ended by force has still shown what it has shown
        if outcome.violation is not None:
            told(page(outcome, Fair()))
            break
    told(f"this soak: {mine}")
    told(f"all soaks: {before.and_then(mine)}")
    return mine


def _store(record: Record) -> None:
    RECORD.parent.mkdir(exist_ok=True)
    unfinished = RECORD.with_suffix(".new")
    unfinished.write_text(json.dumps(asdict(record), indent=2) + "\n")
    unfinished.replace(RECORD)


def _seeds(first: int, *, until: float) -> Iterator[int]:
    for seed in count(first):
        if time.monotonic() > until:
            return
        yield seed
