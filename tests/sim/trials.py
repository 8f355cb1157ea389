"""Trials: one seed, run to its end, and what came of it; many of them on all cores."""

import gc
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from controlplane.domain.errors import Unavailable
from tests.sim.chance import Strike
from tests.sim.truth import Violation
from tests.sim.world import World

T = TypeVar("T")

FAILED: Final = frozenset({"step.failed", "scheduling.failed"})
"""What a loop logs when it caught something that it has no answer to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    seed: int
    steps: int
    """As far as it came."""

    trace_hash: str
    violation: str | None
    struck: tuple[Strike, ...]
    story: tuple[str, ...]
    jobs: int
    starts: int
    bought: int
    """Machines, and members of Ray clusters that were built."""

    def __str__(self) -> str:
        told = self.violation or "all is well"
        return f"seed {self.seed}: {self.steps} steps, {self.jobs} jobs, {self.starts} starts, {told}"


def run(seed: int, steps: int, *, only: frozenset[Strike] | None = None) -> Result:
    """`only`: the faults that may strike; None: all that are drawn."""
    with _failures_are_violations() as failures, _without_collector():
        world = World(seed, only=only)
        violation = None
        try:
            for _ in range(steps):
                world.step()
                _raise_first(failures)
            world.calm_down()
            _raise_first(failures)
        except Violation as found:
            violation = str(found)
        except Exception as broken:  # noqa: BLE001 - whatever it is, the control plane did not bear it
            violation = f"{type(broken).__name__}: {broken}"
    return Result(
        seed=seed,
        steps=world.steps,
        trace_hash=world.judge.trace_hash,
        violation=violation,
        struck=tuple(world.chance.struck),
        story=tuple(world.story),
        jobs=len(world.truth.acknowledged),
        starts=world.truth.starts,
        bought=world.judge.purchases.count,
    )


def run_many(seeds: Iterable[int], steps: int) -> Iterator[Result]:
    return on_every_core(partial(run, steps=steps), seeds)


def on_every_core(deed: Callable[[int], T], seeds: Iterable[int]) -> Iterator[T]:
    """In the order of the seeds; they are taken only as they are needed."""
    waiting: deque[Future[T]] = deque()
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores) as pool:
        try:
            for seed in seeds:
                waiting.append(pool.submit(deed, seed))
                if len(waiting) > 2 * cores:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _without_collector() -> Iterator[None]:
    """A world is one heap of references that all die together: looking for garbage meanwhile is a tenth of its time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _failures_are_violations() -> Iterator[list[str]]:
    """A loop survives what it does not understand and tries again; here that counts as a finding."""
    heard = _Failures()
    logger = logging.getLogger("controlplane")
    before = logger.propagate, logger.level
    logger.propagate = False
    logger.addHandler(heard)
    try:
        yield heard.found
    finally:
        logger.removeHandler(heard)
        logger.propagate, _ = before


class _Failures(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        raised = record.exc_info[1] if record.exc_info else None
        if record.getMessage() in FAILED and not isinstance(raised, Unavailable):
            self.found.append(f"{record.getMessage()}: {type(raised).__name__}: {raised}")


def _raise_first(failures: list[str]) -> None:
    if failures:
        raise Violation(failures[0])
