"""Turns of the batch inference recipe and of plain Ray Data, below one driver and with the same function for a shard.

As a program it is that driver: `RAY_ADDRESS=... python -m benchmarks.batch_turns FOLDER`.
"""

import json
import logging
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
import ray
import ray.data

from controlplane.recipes.learning.data import shards
from controlplane.recipes.learning.data.cleaning import Removed
from controlplane.recipes.learning.data.shards import Shard
from controlplane.recipes.learning.export.onnx_files import exported
from controlplane.recipes.learning.inference.answers import answer
from controlplane.recipes.learning.inference.driver import Work, answer_all
from controlplane.recipes.learning.inference.settings import Settings
from controlplane.recipes.learning.models.tasks import TASKS, TaskName
from controlplane.recipes.learning.surroundings import Seat

TASK: Final = TASKS[TaskName.DIGITS]
SHARDS: Final = 120
EXAMPLES_PER_SHARD: Final = 256
ROUNDS: Final = 2
SPLIT: Final = "train"
SEATS: Final = (Seat(resources={"CPU": 1.0}),) * 2

ray_data: Final[Any] = ray.data
"""Untyped, as its functions are."""


def take_turns(folder: Path) -> dict[str, list[list[float]]]:
    """When each answer was written, in seconds, in each round and by who answered."""
    ways: Mapping[str, Callable[[Path, Path], None]] = {"recipe": by_recipe, "plain": by_hand}
    told: dict[str, list[list[float]]] = {way: [] for way in ways}
    for turn in range(ROUNDS):
        for way in ("recipe", "plain") if turn % 2 == 0 else ("plain", "recipe"):
            output = Path(tempfile.mkdtemp(dir=folder))
            ways[way](folder, output)
            told[way].append(_written(output))
    return told


def prepare(folder: Path) -> None:
    """A model that was never trained, and its own examples over and over."""
    examples, _ = TASK.load(0)
    (folder / "model.onnx").write_bytes(exported(TASK.network({}), TASK, examples.first(8)))
    rows = np.resize(np.arange(len(examples)), SHARDS * EXAMPLES_PER_SHARD)
    shards.write(
        str(folder / "data"),
        {SPLIT: examples.take(rows)},
        source=TaskName.DIGITS,
        seed=0,
        removed=Removed(),
        shards=SHARDS,
    )


def by_recipe(folder: Path, output: Path) -> None:
    asked = Settings(model=str(folder / "model.onnx"), data=str(folder / "data"), split=SPLIT)
    with (output / "records").open("w", encoding="utf-8") as records:
        answer_all(Work.read(asked, str(output)), seats=SEATS, stop=threading.Event(), records=records)


class Answering:
    """By hand: the same function in an actor of Ray Data, and nothing is kept of how far all of them got."""

    def __init__(self, data: str, model: bytes, output: str) -> None:
        self._data, self._model, self._output = data, model, output

    def __call__(self, shard: Mapping[str, Any]) -> Mapping[str, Any]:
        return asdict(answer(self._data, Shard(**shard), self._model, self._output))


def by_hand(folder: Path, output: Path) -> None:
    ray_data.DataContext.get_current().enable_progress_bars = False
    data = str(folder / "data")
    wanted = [asdict(shard) for shard in shards.manifest(data).part(SPLIT).shards]
    told = (data, (folder / "model.onnx").read_bytes(), str(output))
    seats = ray_data.ActorPoolStrategy(size=len(SEATS))
    ray_data.from_items(wanted, override_num_blocks=SHARDS).map(
        Answering, fn_constructor_args=told, compute=seats, num_cpus=1
    ).materialize()


def _written(output: Path) -> list[float]:
    """Raises RuntimeError unless each shard has an answer of its own, to all its examples."""
    files = sorted(output.glob("*.parquet"))
    rows = [pq.read_metadata(file).num_rows for file in files]
    if rows != [EXAMPLES_PER_SHARD] * SHARDS:
        raise RuntimeError(f"{len(rows)} answers to {SHARDS} shards, with {sum(rows)} rows")
    return [file.stat().st_mtime for file in files]


def main(folder: Path) -> None:
    prepare(folder)
    ray.init(logging_level=logging.ERROR)
    (folder / "answered.json").write_text(json.dumps(take_turns(folder)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
