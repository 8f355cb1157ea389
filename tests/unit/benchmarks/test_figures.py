"""The benchmarks' figures: an aim that is missed is said aloud and fails the check."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.figures import Aim, Figure, Reference, at_least, at_least_times, at_most, at_most_times, main

BARE = Reference(name="bare insert", value=200.0)


def submits(value: float, *aims: Aim) -> Figure:
    return Figure(name="submits", value=value, unit="1/s", reference=BARE, aims=aims)


@pytest.mark.parametrize(
    ("aim", "worst_that_meets", "best_that_misses"),
    [
        (at_most(10), 10, 10.1),
        (at_least(10), 10, 9.9),
        (at_most_times(1.15), 230, 231),
        (at_least_times(0.3), 60, 59),
    ],
)
def test_an_aim_is_met_up_to_its_limit_and_missed_beyond(
    aim: Aim, worst_that_meets: float, best_that_misses: float
) -> None:
    assert (submits(worst_that_meets, aim).is_met, submits(best_that_misses, aim).is_met) == (True, False)


def test_one_of_several_aims_is_enough() -> None:
    either = (at_least(500), at_least_times(0.3))

    met = [submits(value, *either).is_met for value in (501, 61, 59)]

    assert met == [True, True, False]


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_nothing_can_be_compared_with_a_reference_that_measured_nothing(value: float) -> None:
    with pytest.raises(ValueError, match="bare insert measured"):
        Reference(name="bare insert", value=value)


def test_a_missed_aim_fails_the_check_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code = main("", lambda: [submits(300, at_least(500)), submits(7, at_most(10))], ["--check"])

    assert (code, capsys.readouterr().err) == (
        1,
        "missed: submits is 300 1/s, 1.50 x bare insert; the aim is >= 500\n",
    )


def test_a_check_of_figures_that_meet_their_aims_ends_0(capsys: pytest.CaptureFixture[str]) -> None:
    code = main("", lambda: [submits(501, at_least(500)), submits(1)], ["--check"])

    assert (code, capsys.readouterr().err) == (0, "")


def test_without_check_a_missed_aim_is_only_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code = main("", lambda: [submits(300, at_least(500))], [])

    assert (code, capsys.readouterr().out.splitlines()[-1].split()) == (
        0,
        ["submits", "300", "1/s", "bare", "insert", "200", "1.50", ">=", "500", "MISSED"],
    )


def test_the_file_holds_every_figure_with_its_ratio_and_verdict(tmp_path: Path) -> None:
    main("", lambda: [submits(300, at_least(500))], ["--json", str(tmp_path / "figures.json")])

    assert json.loads((tmp_path / "figures.json").read_text())["figures"] == [
        {
            "name": "submits",
            "value": 300,
            "unit": "1/s",
            "reference": {"name": "bare insert", "value": 200.0},
            "aims": [{"of": "value", "is_ceiling": False, "limit": 500}],
            "ratio": 1.5,
            "is_met": False,
        }
    ]


ENDLESS = """
import subprocess, sys, tempfile
from benchmarks.figures import main

CHILD = "import tempfile, sys; f = tempfile.mkdtemp(); print('there', flush=True); sys.stdin.read()"


def measure():
    with tempfile.TemporaryDirectory(), subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE) as child:
        try:
            child.wait()
        finally:
            child.kill()


main("", measure, [])
"""


def test_a_benchmark_that_is_told_to_end_leaves_nothing_not_even_of_whom_it_kills(tmp_path: Path) -> None:
    told = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", ENDLESS]
    with subprocess.Popen(command, env=told, stdout=subprocess.PIPE, text=True) as benchmark:
        assert benchmark.stdout is not None
        assert benchmark.stdout.readline() == "there\n"
        assert list(tmp_path.iterdir())
        benchmark.terminate()
        assert benchmark.wait(30) == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())
