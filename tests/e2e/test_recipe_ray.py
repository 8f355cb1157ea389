"""What needs Ray itself: parameter servers, ranks that come and go, and batch inference."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.plain_ray import PlainRay, until
from tests.ray_cluster import running_cluster
from tests.recipe_attempts import RECIPES, TRAINING, Attempt, inherited, lent
from tests.recipe_bands import asynchronous

START_SECONDS: Final = 300.0
ROUNDING: Final = 1e-4
SHARDS: Final = 300
UNTRAINED: Final = """
import sys
from pathlib import Path
from learning.export.onnx_files import exported
from learning.models.tasks import TASKS, TaskName
task = TASKS[TaskName.DIGITS]
Path(sys.argv[1]).write_bytes(exported(task.network({}), task, task.load(0)[0]))
"""
CLICKS: Final = (
    *TRAINING,
    "--task=interactions",
    "--epochs=4",
    "--batch-examples=256",
    "--optimizer=sgd",
    "--learning-rate=20",
)
SERVED: Final = (*CLICKS, "--strategy=parameter_server", "--servers=2", '--size={"sparse": true}')
DIGITS: Final = (
    "--task=digits",
    "--epochs=8",
    "--optimizer=sgd",
    "--learning-rate=0.3",
    "--strategy=parameter_server",
    "--servers=2",
    "--staleness=3",
)
RANKS: Final = 2
STOP_AFTER: Final = 100
"""Of 184 steps: what was learned by then is not learned again in the rest."""

WIDTHS: Final = 3.0
"""By which the band is wider than five seeds are: nobody draws in what order ranks come on Ray."""

# Two busy cores need a minute for the cluster, and another for each start of Ray Train.
pytestmark = [pytest.mark.verify, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def ray(plain_ray: PlainRay) -> Iterator[PlainRay]:
    with lent(plain_ray) as lent_ray:
        yield lent_ray


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Attempt:
    folder = tmp_path_factory.mktemp("alone") / "alone"
    with Attempt.gang(folder, 1, CLICKS[1:]) as attempt:
        assert attempt.ended() == 0, attempt.log
    return attempt


@pytest.fixture(scope="module")
def synchronous(ray: PlainRay, tmp_path_factory: pytest.TempPathFactory) -> Attempt:
    folder = tmp_path_factory.mktemp("served") / "synchronous"
    with Attempt.driven(ray, folder, SERVED) as attempt:
        assert attempt.ended() == 0, attempt.log
    return attempt


def test_synchronous_servers_take_the_steps_that_one_process_would(
    alone: Attempt, synchronous: Attempt
) -> None:
    assert synchronous.losses() == pytest.approx(alone.losses(), abs=ROUNDING)
    assert synchronous.facts["accuracy"] == pytest.approx(alone.facts["accuracy"], abs=0.005)
    assert synchronous.facts["widest_lead"] == 0


def test_asynchronous_ranks_keep_to_their_bound_and_learn_about_as_well(
    ray: PlainRay, alone: Attempt, tmp_path: Path
) -> None:
    with Attempt.driven(ray, tmp_path / "asynchronous", (*SERVED, "--staleness=3")) as attempt:
        assert attempt.ended() == 0, attempt.log
    assert 0 <= attempt.facts["widest_lead"] <= 3
    assert attempt.facts["held_out_loss"] == pytest.approx(alone.facts["held_out_loss"], rel=0.03)


def test_stopped_with_servers_it_resumes_to_the_same_weights(
    ray: PlainRay, synchronous: Attempt, tmp_path: Path
) -> None:
    with Attempt.driven(ray, tmp_path / "stopped", SERVED) as stopped:
        until(lambda: len(stopped.steps()) > 3 or stopped.is_over, START_SECONDS, lambda: stopped.log)
        stopped.ranks[0].send_signal(signal.SIGTERM)
        assert stopped.ended() == 128 + signal.SIGTERM, stopped.log
    last = stopped.records("checkpoint")[-1]
    with Attempt.driven(ray, tmp_path / "resumed", SERVED, resume_from=last["uri"]) as resumed:
        assert resumed.ended() == 0, resumed.log
    assert stopped.losses() + resumed.losses() == synchronous.losses()
    assert resumed.model == synchronous.model


def test_resumed_with_asynchronous_servers_it_ends_in_the_band_of_five_asynchronous_seeds(
    ray: PlainRay, tmp_path: Path
) -> None:
    band = asynchronous(RANKS, DIGITS)
    arguments = (*TRAINING, *DIGITS, f"--seed={band.middle_seed}")
    with Attempt.driven(ray, tmp_path / "stopped", arguments) as stopped:
        until(
            lambda: len(stopped.steps()) > STOP_AFTER or stopped.is_over, START_SECONDS, lambda: stopped.log
        )
        stopped.ranks[0].send_signal(signal.SIGTERM)
        assert stopped.ended() == 128 + signal.SIGTERM, stopped.log
    last = stopped.records("checkpoint")[-1]
    with Attempt.driven(ray, tmp_path / "resumed", arguments, resume_from=last["uri"]) as resumed:
        assert resumed.ended() == 0, resumed.log
    assert min(resumed.steps()) == last["step"] + 1 > STOP_AFTER
    assert resumed.facts["held_out_loss"] in band.widened(WIDTHS), (resumed.facts, band)


def test_an_elastic_training_loses_a_node_and_gains_one(tmp_path: Path) -> None:
    arguments = (*TRAINING, "--epochs=100000", "--patience-epochs=0", "--workers=2", "--least-workers=1")
    with (
        running_cluster(tmp_path / "ray", orphan_seconds=60, cpus_per_node=1) as cluster,
        PlainRay.connected(cluster.gcs_address, cluster.boot()) as plain,
        Attempt.driven(plain, tmp_path / "elastic", arguments, is_booked=False) as attempt,
    ):
        until(lambda: _ranks_seen(attempt) == 2 and attempt.steps(), START_SECONDS, lambda: attempt.log)
        with cluster.no_starts():
            cluster.kill_node(2)
            until(lambda: _ranks_seen(attempt) == 1, START_SECONDS, lambda: attempt.log)
            _goes_on(attempt)
        until(lambda: _ranks_seen(attempt) == 2, START_SECONDS, lambda: attempt.log)
        _goes_on(attempt)
        attempt.ranks[0].send_signal(signal.SIGTERM)
        assert attempt.ended() == 128 + signal.SIGTERM, attempt.log
    steps = attempt.steps()
    assert sorted(set(steps)) == list(range(1, max(steps) + 1))  # none was left out


def _goes_on(attempt: Attempt) -> None:
    before = len(attempt.steps())
    until(lambda: len(attempt.steps()) > before, START_SECONDS, lambda: attempt.log)


def _ranks_seen(attempt: Attempt) -> int:
    """How many ranks the last start had."""
    started = [
        record["message"] for record in attempt.records("progress") if " trains on " in record["message"]
    ]
    return int(started[-1].split(" of ")[1].split()[0]) if started else 0


def test_batch_inference_answers_every_shard_once_also_when_it_is_stopped_between(
    ray: PlainRay, tmp_path: Path
) -> None:
    data, model = prepared(tmp_path)
    arguments = ("learning.inference", f"--model={model}", f"--data={data}", "--split=train")
    with Attempt.driven(ray, tmp_path / "stopped", arguments) as stopped:
        until(lambda: _fractions(stopped)[1:] or stopped.is_over, START_SECONDS, lambda: stopped.log)
        stopped.ranks[0].send_signal(signal.SIGTERM)
        assert stopped.ended() == 128 + signal.SIGTERM, stopped.log
    output = f"--output={tmp_path}/stopped/outputs"
    before = {path.name: path.stat().st_mtime_ns for path in commits(tmp_path)}
    assert 0 < len(before) < SHARDS
    with Attempt.driven(ray, tmp_path / "resumed", (*arguments, output)) as resumed:
        assert resumed.ended() == 0, resumed.log
    after = {path.name: path.stat().st_mtime_ns for path in commits(tmp_path)}
    assert len(after) == SHARDS
    assert {name: after[name] for name in before} == before
    assert _fractions(resumed)[0] == len(before) / SHARDS
    index = json.loads((tmp_path / "stopped" / "outputs" / "answers.json").read_text())["answers"]
    part = json.loads(Path(data, "manifest.json").read_text())["parts"]["train"]
    assert [answer["shard"] for answer in index] == [shard["name"] for shard in part["shards"]]
    assert sum(answer["examples"] for answer in index) == part["examples"]


def prepared(folder: Path) -> tuple[str, str]:
    """Digits in many shards, and a model that was never trained: what it answers does not matter here."""
    data, model = f"{folder}/data", f"{folder}/model.onnx"
    _python("-m", "learning.data", "--source=digits", f"--output={data}", f"--shards={SHARDS}")
    _python("-c", UNTRAINED, model)
    return data, model


def _python(*arguments: str) -> None:
    told = inherited() | {"PYTHONPATH": str(RECIPES)}
    subprocess.run([sys.executable, *arguments], env=told, check=True, timeout=START_SECONDS)


def commits(folder: Path) -> list[Path]:
    return sorted((folder / "stopped" / "outputs" / "commits").glob("*.json"))


def _fractions(attempt: Attempt) -> list[float]:
    return [record["fraction"] for record in attempt.records("progress")]
