"""The driver: hands shards to Ray, commits what comes back, and says when it will be over."""

import json
import logging
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TextIO

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

from .. import storage, surroundings
from ..data import shards
from ..data.shards import Shard
from ..surroundings import Seat
from . import answers
from .answers import Answer
from .settings import Settings

LOOK_EVERY_SECONDS: Final = 0.2

MOST_DEATHS: Final = 5
"""Of processes that one shard may cost: memory that others took may kill one that is sound. Lost nodes do not count."""

ray_calls: Final[Any] = ray
"""Untyped, as its types know neither retries of tasks nor lists of calls."""


class EndsProcesses(Exception):
    """A shard ends every process that answers it."""


@dataclass(slots=True)
class Progress:
    """What was answered since this start began, and when the rest will be."""

    shards: int
    done: int
    began: float
    answered: int = 0

    def told(self, now: float) -> str:
        return f"{self.done} of {self.shards} shards{self._left(now)}"

    def _left(self, now: float) -> str:
        if not self.answered:
            return ""
        seconds = (now - self.began) / self.answered * (self.shards - self.done)
        return f", {seconds:.0f} s left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be answered, and what has been."""

    data: str
    output: str
    model: bytes
    wanted: tuple[Shard, ...]
    done: tuple[Answer, ...]
    todo: tuple[Shard, ...]

    @classmethod
    def read(cls, settings: Settings, output: str) -> Self:
        """Raises `answers.OtherWork` where the folder holds answers to something else."""
        model = storage.read(settings.model_file)
        wanted = shards.manifest(settings.data).part(settings.split).shards
        done = answers.committed(output)
        todo = answers.left(wanted, done, model)
        return cls(data=settings.data, output=output, model=model, wanted=wanted, done=done, todo=todo)


def drive(settings: Settings) -> bool:
    """True when every shard has its answer, False when it was stopped."""
    here = surroundings.read(os.environ, workers=settings.workers)
    work = Work.read(settings, settings.output or here.outputs_uri)
    ray.init(logging_level=logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Path(here.records or os.devnull).open("a", encoding="utf-8") as records:
        return answer_all(work, seats=here.seats, stop=stop, records=records)


def answer_all(work: Work, *, seats: Sequence[Seat], stop: threading.Event, records: TextIO) -> bool:
    """Below a driver of Ray, one shard on each seat at a time."""
    progress = Progress(shards=len(work.wanted), done=len(work.done), began=time.monotonic())

    def tell() -> None:
        message = progress.told(time.monotonic())
        fraction = progress.done / progress.shards
        records.write(json.dumps({"kind": "progress", "fraction": fraction, "message": message}) + "\n")
        records.flush()
        print(message, flush=True)

    tell()
    call = _call(work, seats[0].resources)
    for answered in _answers(work.todo, call, at_once=len(seats), stop=stop):
        answers.commit(work.output, answered)
        progress.done += 1
        progress.answered += 1
        tell()
    if progress.done < progress.shards:
        return False
    print(f"answered {answers.finish(work.output, work.wanted)} examples", flush=True)
    return True


def _call(work: Work, resources: Mapping[str, float]) -> Any:  # noqa: ANN401 - see ray_calls
    """Starts a task that answers a shard."""
    wanted = dict(resources)
    options: dict[str, Any] = {"num_cpus": wanted.pop("CPU", 0), "num_gpus": wanted.pop("GPU", 0)}
    options["memory"] = wanted.pop("memory", None)
    task = ray_calls.remote(max_retries=0, resources=wanted, **options)(answers.answer)
    kept = ray_calls.put(work.model)
    return lambda shard: task.remote(work.data, shard, kept, work.output)


def _answers(todo: tuple[Shard, ...], call: Any, *, at_once: int, stop: threading.Event) -> Any:  # noqa: ANN401 - an iterator, see ray_calls
    """As they come, again where a process or a node was lost. When it is stopped, those under way still count.

    Raises `EndsProcesses`.
    """
    waiting = list(reversed(todo))
    deaths: Counter[str] = Counter()
    running: dict[Any, Shard] = {}  # by reference, see ray_calls
    while running or (waiting and not stop.is_set()):
        while waiting and len(running) < at_once and not stop.is_set():
            shard = waiting.pop()
            running[call(shard)] = shard
        ready, _ = ray_calls.wait(list(running), timeout=LOOK_EVERY_SECONDS)
        for reference in ready:
            shard = running.pop(reference)
            try:
                answered: Answer = ray_calls.get(reference)
            except NodeDiedError:
                waiting.append(shard)
            except (WorkerCrashedError, OutOfMemoryError) as died:
                deaths[shard.name] += 1
                if deaths[shard.name] >= MOST_DEATHS:
                    raise EndsProcesses(
                        f"{shard.name} has ended {deaths[shard.name]} processes that answered it, the limit is"
                        f" {MOST_DEATHS}: {died}"
                    ) from died
                waiting.append(shard)
            else:
                yield answered
