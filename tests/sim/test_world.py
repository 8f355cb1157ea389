"""The simulated world: many seeds without a violation, the same world in every process, and failures told small."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.chance import Chance
from tests.sim.minimise import ddmin, page
from tests.sim.trials import run, run_many

SEEDS = 200
STEPS = 150
REGRESSIONS = Path(__file__).with_name("regressions.txt")
VECTOR_UNITS = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX2 FMA3"
"""Of numpy, to be left unused: results of the present machine's fastest code must not decide anything."""


@pytest.mark.timeout(1800)  # on two cores that it shares with the other tests
def test_two_hundred_seeds_break_no_promise() -> None:
    starts = bought = 0
    for result in run_many(range(1, SEEDS + 1), STEPS):
        assert result.violation is None, page(result)
        starts += result.starts
        bought += result.bought
    # A world in which nothing runs breaks no promise either, nor one whose cloud nobody can buy from.
    assert starts > 10 * SEEDS
    assert bought > 2 * SEEDS


def test_seeds_that_failed_once_pass() -> None:
    for line in REGRESSIONS.read_text().splitlines():
        if line and not line.startswith("#"):
            seed, steps, *_ = line.split()
            result = run(int(seed), int(steps))
            assert result.violation is None, page(result)


def test_a_seed_is_one_world_in_every_process() -> None:
    command = [sys.executable, "-m", "tests.sim", "hashes", "7", "--steps", "150"]
    worlds = {
        subprocess.run(
            command,
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "NPY_DISABLE_CPU_FEATURES": unused},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hash_seed, unused in (("0", ""), ("1", VECTOR_UNITS), ("4242", ""))
    }
    assert worlds == {f"{run(7, 150).trace_hash}\n"}


def test_another_seed_is_another_world() -> None:
    assert run(1, 60).trace_hash != run(2, 60).trace_hash


def test_leaving_a_fault_out_changes_no_other_draw() -> None:
    whole, part = Chance(3), Chance(3, only=frozenset())
    assert [whole.fault("here", {"breaks": 1.0}), part.fault("here", {"breaks": 1.0})] == ["breaks", None]
    assert whole.draw("here") == part.draw("here")


def test_what_fails_is_made_small() -> None:
    assert sorted(ddmin(range(40), lambda kept: {7, 23} <= set(kept), most_trials=500)) == [7, 23]
