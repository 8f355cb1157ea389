"""Training with TensorFlow in an environment of its own: as plain processes, and as a job on Ray."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from controlplane.domain.clusters import Endpoint
from controlplane.sdk import JobSpec
from tests.parts import require_part
from tests.plain_ray import until
from tests.recipe_attempts import RECIPES, Attempt
from tests.server import eventually, running_server

PYTHON: Final = Path(__file__).parents[2] / ".venv-tensorflow" / "bin" / "python"
PROGRAM: Final = ("learning.mirrored",)
EPOCHS: Final = 4
STEPS_PER_EPOCH: Final = 23
ROUNDING: Final = 1e-3
"""In nats: sums of float32 in another order, over the steps of an epoch."""

START_SECONDS: Final = 200.0
JOB_SECONDS: Final = 400.0

pytestmark = [pytest.mark.verify, pytest.mark.timeout(900)]

Trained = Callable[..., Attempt]


@pytest.fixture(scope="module")
def python() -> str:
    require_part("tensorflow", PYTHON.exists(), "`make verify` makes .venv-tensorflow")
    return str(PYTHON)


@pytest.fixture(scope="module")
def trained(python: str, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("mirrored")

    def train(name: str, ranks: int) -> Attempt:
        arguments = (f"--epochs={EPOCHS}",)
        with Attempt.gang(folder / name, ranks, arguments, program=PROGRAM, python=python) as attempt:
            assert attempt.ended() == 0, attempt.log
        return attempt

    return train


@pytest.fixture(scope="module")
def two(trained: Trained) -> Attempt:
    return trained("two", 2)


def test_two_ranks_take_the_steps_that_one_process_would(trained: Trained, two: Attempt) -> None:
    alone = trained("alone", 1)
    first, same = two.losses()[:STEPS_PER_EPOCH], alone.losses()[:STEPS_PER_EPOCH]
    assert first == pytest.approx(same, abs=ROUNDING)
    assert len(two.losses()) == len(alone.losses()) == EPOCHS * STEPS_PER_EPOCH
    assert accuracy(two) == pytest.approx(accuracy(alone), abs=0.02)
    assert accuracy(two) >= 0.95


def test_stopped_by_a_signal_to_one_rank_it_resumes_to_the_same_weights(
    python: str, two: Attempt, tmp_path: Path
) -> None:
    arguments = (f"--epochs={EPOCHS}",)
    with Attempt.gang(tmp_path / "stopped", 2, arguments, program=PROGRAM, python=python) as stopped:
        until(lambda: len(stopped.steps()) > 3 or stopped.is_over, START_SECONDS, lambda: stopped.log)
        stopped.ranks[1].send_signal(signal.SIGTERM)
        assert stopped.ended() == 128 + signal.SIGTERM, stopped.log
    last = stopped.records("checkpoint")[-1]
    assert 3 < last["step"] == stopped.steps()[-1] < EPOCHS * STEPS_PER_EPOCH

    with Attempt.gang(
        tmp_path / "resumed", 2, arguments, resume_from=last["uri"], program=PROGRAM, python=python
    ) as resumed:
        assert resumed.ended() == 0, resumed.log
    assert stopped.losses() + resumed.losses() == two.losses()
    assert weights(resumed) == weights(two)


def test_a_gang_trains_on_two_nodes_of_ray(python: str, ray_cluster: Endpoint, tmp_path: Path) -> None:
    spec = JobSpec.model_validate(
        {
            "name": "tensorflow",
            "entrypoint": f"{python} -m learning.mirrored --epochs={EPOCHS}",
            "tasks": 2,
            "resources": {"gpus": 2.0},  # each node has so many
            "checkpoint_uri": f"file://{tmp_path}/checkpoints",
            "outputs_uri": f"file://{tmp_path}/outputs",
        }
    )
    with running_server(tmp_path / "home") as server, server.client() as client:
        client.clusters.add(
            "lab",
            adapter="ray",
            url=ray_cluster.url,
            token=ray_cluster.token,
            gpu_resource=ray_cluster.gpu_resource,
        )
        eventually(lambda: client.clusters.get("lab").state == "ready", 30.0, server.log("loops"))
        job = client.jobs.submit(spec, working_dir=RECIPES).wait(timeout_seconds=JOB_SECONDS)
        assert job.state == "succeeded", list(job.logs())
        told = [
            point.values["held_out_accuracy"]
            for point in job.metrics()
            if "held_out_accuracy" in point.values
        ]
        assert len({seat.node_id for seat in job.attempts()[-1].seats}) == 2
    assert len(told) == 1
    assert told[0] is not None
    assert told[0] >= 0.95
    assert (tmp_path / "outputs" / "tensorflow" / "1" / "saved_model.pb").exists()


def accuracy(attempt: Attempt) -> float:
    found: float = attempt.records("metric")[-1]["values"]["held_out_accuracy"]
    return found


def weights(attempt: Attempt) -> dict[str, bytes]:
    """Of its last checkpoint."""
    with np.load(attempt.records("checkpoint")[-1]["uri"].removeprefix("file://")) as file:
        return {name: file[name].tobytes() for name in file.files}
