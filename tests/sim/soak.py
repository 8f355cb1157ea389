"""The soak: seeds that nobody has run yet, for as long as is given. The next one is stored, and totals add up."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Final

from tests.sim.minimise import page
from tests.sim.trials import Result, run_many

RECORD: Final = Path(__file__).parents[2] / ".soak" / "seeds.json"
FIRST_SEED: Final = 1_000_001
"""Far above the seeds that every test run has."""

TOLD_EVERY_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Of all soaks on this machine."""

    next_seed: int = FIRST_SEED
    seeds: int = 0
    steps: int = 0
    jobs: int = 0
    starts: int = 0
    faults: int = 0
    violations: int = 0
    seconds: float = 0.0

    def plus(self, result: Result) -> "Record":
        return replace(
            self,
            next_seed=result.seed + 1,
            seeds=self.seeds + 1,
            steps=self.steps + result.steps,
            jobs=self.jobs + result.jobs,
            starts=self.starts + result.starts,
            faults=self.faults + len(result.struck),
            violations=self.violations + (result.violation is not None),
        )

    def __str__(self) -> str:
        return (
            f"{self.seeds} seeds, {self.steps} steps, {self.jobs} jobs, {self.starts} starts of user code, "
            f"{self.faults} faults, {self.violations} violations, {self.seconds:.0f} s"
        )


def soak(seconds: float, steps: int, *, told: Callable[[str], object]) -> Record:
    """Stops at the first violation, with its story. Returns what this soak alone has shown."""
    before = read()
    mine = Record(next_seed=before.next_seed)
    began = told_at = time.monotonic()
    for result in run_many(_seeds(before.next_seed, until=began + seconds), steps):
        now = time.monotonic()
        mine = replace(mine.plus(result), seconds=now - began)
        write(_sum(before, mine))
        if result.violation is not None:
            told(page(result))
            break
        if now - told_at > TOLD_EVERY_SECONDS:
            told_at = now
            told(f"so far: {mine}")
    told(f"this soak: {mine}")
    told(f"all soaks: {read()}")
    return mine


def read() -> Record:
    return Record(**json.loads(RECORD.read_text())) if RECORD.exists() else Record()


def write(record: Record) -> None:
    RECORD.parent.mkdir(exist_ok=True)
    temporary = RECORD.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(record), indent=2) + "\n")
    temporary.replace(RECORD)


def _seeds(first: int, *, until: float) -> Iterator[int]:
    for seed in count(first):
        if time.monotonic() > until:
            return
        yield seed


def _sum(before: Record, mine: Record) -> Record:
    added = {name: value + getattr(before, name) for name, value in asdict(mine).items()}
    return Record(**(added | {"next_seed": mine.next_seed}))
