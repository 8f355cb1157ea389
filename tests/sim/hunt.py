"""The hunt: plants one bug in a copy of the tree, and sees which seed catches it."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.sim.plants import Plant

ROOT: Final = Path(__file__).parents[2]
PARTS: Final = ("controlplane", "schedulers", "cloud_adapters", "migrations", "tests", "pyproject.toml")
HEADING: Final = f"{'planted bug':62} {'seen in':34} caught by"
LONGEST_SECONDS: Final = 3600
HASH_SEEDS: Final = ("0", "1", "2", "3", "4", "5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Catch:
    plant: Plant
    is_caught: bool
    by: str

    def __str__(self) -> str:
        return f"{self.plant.name:62} {self.plant.seen_in:34} {self.by}"


def hunt(plant: Plant, *, seeds: int, steps: int) -> Catch:
    with planted(plant) as tree:
        if plant.net == "seeds":
            return _by_seeds(plant, tree, seeds, steps)
        if plant.net == "histories":
            return _by_histories(plant, tree, seeds)
        if plant.net == "hashes":
            return _by_hashes(plant, tree)
        return _by_tests(plant, tree)


@contextmanager
def planted(plant: Plant) -> Iterator[Path]:
    """A copy of the tree with the bug in it. Raises `ValueError` where the text is not there exactly once."""
    with tempfile.TemporaryDirectory(prefix="crossdock-plant-") as folder:
        tree = Path(folder)
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, tree / part)
        for edit in plant.edits:
            text = (tree / edit.path).read_text()
            if text.count(edit.old) != 1:
                raise ValueError(f"{plant.name}: {edit.path} has the text {text.count(edit.old)} times")
            (tree / edit.path).write_text(text.replace(edit.old, edit.new))
        yield tree


def _by_seeds(plant: Plant, tree: Path, seeds: int, steps: int) -> Catch:
    command = ("tests.sim", "seeds", "1", str(seeds), "--steps", str(steps), "--brief")
    done = _run(tree, command)
    if found := re.match(r"seed (\d+): \d+ steps, .*? starts, (.*)", done.stdout, re.DOTALL):
        broke = " ".join(found[2].split())[:90]
        return Catch(plant=plant, is_caught=True, by=f"seed {found[1]}: {broke}")
    told = (
        f"NOT CAUGHT in {seeds} seeds" if done.returncode == 0 else f"broke the world: {done.stderr[-300:]}"
    )
    return Catch(plant=plant, is_caught=False, by=told)


def _by_histories(plant: Plant, tree: Path, seeds: int) -> Catch:
    """Of the scheduler alone."""
    done = _run(tree, ("tests.sim.scheduling", "histories", "1", str(seeds), "--brief"))
    if found := re.match(
        r"history (\d+): \d+ events, \d+ plans, (.*), \d+ events in all", done.stdout, re.DOTALL
    ):
        broke = " ".join(found[2].split())[:90]
        return Catch(plant=plant, is_caught=True, by=f"history {found[1]}: {broke}")
    return Catch(plant=plant, is_caught=False, by=f"NOT CAUGHT in {seeds} histories {done.stderr[-300:]}")


def _by_hashes(plant: Plant, tree: Path) -> Catch:
    """Worlds of one seed in processes that hash differently."""
    command = ("tests.sim", "hashes", "7", "8", "9", "--steps", "150")
    worlds = {_run(tree, command, PYTHONHASHSEED=hash_seed).stdout for hash_seed in HASH_SEEDS}
    is_caught = len(worlds) > 1
    by = f"{len(worlds)} different worlds in {len(HASH_SEEDS)} processes" if is_caught else "NOT CAUGHT"
    return Catch(plant=plant, is_caught=is_caught, by=by)


def _by_tests(plant: Plant, tree: Path) -> Catch:
    done = _run(tree, ("pytest", "-q", "-x", "-p", "no:cacheprovider", plant.net))
    is_caught = done.returncode == 1
    return Catch(
        plant=plant, is_caught=is_caught, by=plant.net if is_caught else f"NOT CAUGHT: {done.stdout[-200:]}"
    )


def _run(tree: Path, command: tuple[str, ...], **changes: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(tree)} | changes
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tree,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=LONGEST_SECONDS,
    )
