"""Bands: between which losses a training ends that nobody disturbs, whatever its seed."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from tests.recipe_attempts import END_SECONDS, RECIPES, inherited

ROOT: Final = Path(__file__).parents[1]
SEEDS: Final = 5
TRAIN_ALL: Final = f"""
import sys
from learning.training import gang
from learning.training.settings import parse

folder, *arguments = sys.argv[1:]
for seed in range({SEEDS}):
    places = {{"CROSSDOCK_OUTPUTS_URI": f"{{folder}}/{{seed}}", "CROSSDOCK_CHECKPOINT_URI": f"{{folder}}/{{seed}}"}}
    assert gang.train(parse([*arguments, "--launch=tasks", f"--seed={{seed}}"]), places)
"""
"""One after the other in one process, which imports everything once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    losses: tuple[float, ...]
    """Held out, at the end, by seed."""

    beyond: float = 0.0
    """How far a loss may lie below the least of them, or above the greatest."""

    def __contains__(self, loss: object) -> bool:
        low, high = min(self.losses) - self.beyond, max(self.losses) + self.beyond
        return isinstance(loss, float) and low <= loss <= high

    def widened(self, widths: float) -> Self:
        """By so many of its widths on each side.

        A sixth training like the five ends outside of their band once in 3 times, if losses are normally distributed;
        with a width on each side once in 34 times, with three once in 700 times.
        """
        return replace(self, beyond=widths * (max(self.losses) - min(self.losses)))

    @property
    def middle_seed(self) -> int:
        """Whose loss is the median: what only disturbs it a little stays in the band."""
        return self.losses.index(sorted(self.losses)[SEEDS // 2])


def undisturbed(folder: Path, arguments: Sequence[str]) -> Band:
    """Of one process that trains with these arguments, once for each seed."""
    folder.mkdir()
    told = inherited() | {"PYTHONPATH": str(RECIPES)}
    subprocess.run(
        [sys.executable, "-c", TRAIN_ALL, str(folder), *arguments], env=told, check=True, timeout=END_SECONDS
    )
    facts = [json.loads((folder / str(seed) / "metrics.json").read_text()) for seed in range(SEEDS)]
    return Band(losses=tuple(float(each["held_out_loss"]) for each in facts))


def asynchronous(ranks: int, arguments: Sequence[str]) -> Band:
    """Of servers that take a step with every push, and of ranks whose order is drawn; all of them in one process."""
    told = inherited() | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.recipe_servers", str(ranks), *arguments]
    said = subprocess.run(
        command, cwd=ROOT, env=told, check=True, stdout=subprocess.PIPE, text=True, timeout=END_SECONDS
    )
    return Band(losses=tuple(json.loads(said.stdout)))
