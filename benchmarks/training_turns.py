"""Turns of the recipe's data parallel training and of a plain one, in the same processes.

As a program it is one rank of a gang: `RANK=0 WORLD_SIZE=2 ... python -m benchmarks.training_turns FOLDER`.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import distributed

from benchmarks.plain_ddp import CPU, PlainTraining
from controlplane.recipes.learning.data.examples import Examples
from controlplane.recipes.learning.models.tasks import TASKS, TaskName
from controlplane.recipes.learning.training.outlets import Outlet, ProcessOutlet
from controlplane.recipes.learning.training.rank import Assignment, Rank
from controlplane.recipes.learning.training.ranks import Ranks
from controlplane.recipes.learning.training.settings import Launch, Settings

TURNS: Final = 5
"""Of each; the first of both is not counted."""

TRAININGS: Final[Mapping[str, tuple[Settings, int]]] = {
    "digits": (Settings(task=TaskName.DIGITS, epochs=1, micro_batches=1, launch=Launch.TASKS), 4),
    "text": (Settings(task=TaskName.TEXT, epochs=1, micro_batches=1, launch=Launch.TASKS), 2),
}
"""With how many copies of the task's own examples: an epoch is to be long enough for what comes at its end."""

Rates = dict[str, dict[str, list[float]]]
"""Examples per second in each turn, by what was trained and by whom."""


def take_turns(ranks: Ranks, outlet: Outlet, folder: Path) -> Rates:
    """All ranks must call; what the first one returns counts."""
    torch.set_num_threads(1)
    rates: Rates = {}
    for name, (settings, copies) in TRAININGS.items():
        training, held_out = TASKS[settings.task].load(settings.seed)
        training = training.take(np.tile(np.arange(len(training)), copies))
        told = rates[name] = {"recipe": [], "plain": []}
        for turn in range(TURNS):
            place = folder / f"{name}-{turn}"
            assignment = _assignment(settings, training, held_out, place)
            recipe = Rank(assignment, ranks, outlet)
            plain = PlainTraining(TASKS[settings.task], training, held_out, settings=settings, ranks=ranks)
            ways: Mapping[str, Callable[[], object]] = {
                "recipe": recipe.train,
                "plain": partial(plain.train, place),
            }
            for way in ("recipe", "plain") if turn % 2 == 0 else ("plain", "recipe"):
                seconds = _seconds(ways[way], ranks)
                if turn > 0:
                    told[way].append(settings.epochs * len(training) / seconds)
    return rates


def _assignment(settings: Settings, training: Examples, held_out: Examples, folder: Path) -> Assignment:
    folder.mkdir(exist_ok=True)
    return Assignment(
        settings=settings,
        training=training,
        held_out=held_out,
        checkpoints=str(folder / "checkpoints"),
        outputs_uri=str(folder / "outputs"),
        resume_from=None,
    )


def _seconds(train: Callable[[], object], ranks: Ranks) -> float:
    ranks.sum(0.0)  # all begin together
    began = time.perf_counter()
    train()
    ranks.sum(0.0)
    return time.perf_counter() - began


def main(folder: Path) -> None:
    distributed.init_process_group("gloo")
    try:
        ranks = Ranks(number=distributed.get_rank(), count=distributed.get_world_size(), device=CPU)
        outlet = ProcessOutlet(folder / f"records-{ranks.number}", place="here")
        rates = take_turns(ranks, outlet, folder)
    finally:
        distributed.destroy_process_group()
    if ranks.is_first:
        (folder / "rates.json").write_text(json.dumps(rates))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
