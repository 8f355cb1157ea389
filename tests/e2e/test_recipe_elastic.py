"""An elastic training on three nodes loses one, goes on with two, and another grows when a node comes back."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from controlplane.sdk import Client, Job, JobSpec
from controlplane.wire.jobs import AttemptDocument
from schedulers.fair.clock import EPOCH, SECOND
from tests.e2e.test_first_light import attach
from tests.later import Clock
from tests.parts import require_part
from tests.ray_cluster import LocalCluster, running_cluster
from tests.recipe_attempts import RECIPES
from tests.recipe_bands import Band, undisturbed
from tests.server import RunningServer, eventually, running_server

NODES: Final = 3
LAST: Final = 3
"""The slot that is lost: not that of the first rank."""

BOOT_SECONDS: Final = 180.0
TRAIN_SECONDS: Final = 600.0
SETTLE_SECONDS: Final = 30.0
"""By which the next epoch of the scheduler is still away when the second job is submitted."""

GROW_SECONDS: Final = EPOCH / SECOND + TRAIN_SECONDS

DIGITS: Final = ("--task=digits", "--epochs=20", "--micro-batches=1")
ENDLESS: Final = ("--task=digits", "--epochs=100000", "--micro-batches=1", "--checkpoint-steps=1000")

pytestmark = [pytest.mark.verify, pytest.mark.timeout(2400)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    cluster: LocalCluster
    server: RunningServer
    client: Client
    clock: Clock
    folder: Path

    def until(self, condition: Callable[[], object], seconds: float, otherwise: str) -> None:
        """Fails with what the loops said."""
        try:
            eventually(lambda: bool(condition()), seconds, otherwise)
        except TimeoutError:
            pytest.fail(f"{otherwise}\n{self.server.log('loops')[-3000:]}")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    require_part("torch", find_spec("torch") is not None, "it is not installed")
    home = tmp_path / "home"
    with (
        running_cluster(tmp_path / "ray", orphan_seconds=60, nodes=NODES, cpus_per_node=1) as cluster,
        running_server(home, program="tests.later", min_runtime_seconds=0.5) as server,
        server.client() as client,
    ):
        attach(server, cluster.boot())
        yield Stage(cluster=cluster, server=server, client=client, clock=Clock(home), folder=tmp_path)


def test_a_training_goes_on_with_the_nodes_that_are_left_and_one_grows_when_a_node_comes_back(
    stage: Stage,
) -> None:
    band = undisturbed(stage.folder / "band", DIGITS)
    with stage.cluster.no_starts():
        loses_a_node(stage, band)
        small = starts_small(stage)
    grows(stage, small)


def loses_a_node(stage: Stage, band: Band) -> None:
    job = submit(stage, "digits", *DIGITS, f"--seed={band.middle_seed}")
    stage.until(job.checkpoints, TRAIN_SECONDS, "the first attempt must save")
    stage.cluster.wipe_out(LAST)
    stage.until(lambda: job.refresh().is_finished, TRAIN_SECONDS, "it must end on the nodes that are left")

    assert job.state == "succeeded", list(job.logs())
    first, *placed_too_soon, second = job.attempts()
    assert first.outcome in {"evicted", "lost"}
    # Ray lists a node for a while after it has died: whoever is placed on it meanwhile is evicted before it runs.
    assert all((each.outcome, each.started_at) == ("evicted", None) for each in placed_too_soon)
    assert (len(first.seats), len(second.seats), second.outcome) == (3, 2, "succeeded")
    assert "rank 1 of 2 trains" in begun(job, second)[1]
    saved = max(each.step for each in job.checkpoints() if each.attempt_id == first.id)
    assert begun(job, second)[0].endswith(f" from step {saved}")
    facts = json.loads((stage.folder / "digits" / "metrics.json").read_text())
    assert facts["world_size"] == 2
    assert facts["held_out_loss"] in band, (facts, band)


def starts_small(stage: Stage) -> Job:
    """Nobody holds a lease just now, so that the clock may be set: the scheduler restarts nobody twice in one epoch."""
    epoch = EPOCH / SECOND
    left = epoch - (time.time() + stage.clock.ahead_seconds) % epoch
    stage.clock.skip((left - SETTLE_SECONDS) % epoch)
    job = submit(stage, "endless", *ENDLESS)
    stage.until(job.checkpoints, TRAIN_SECONDS, "the second job must save")
    (attempt,) = job.attempts()
    assert len(attempt.seats) == 2
    return job


def grows(stage: Stage, job: Job) -> None:
    stage.until(lambda: len(job.attempts()) == 2, GROW_SECONDS, "it must start again with the third node")
    first, second = job.attempts()
    assert (first.outcome, len(second.seats)) == ("resized", 3)
    stage.until(lambda: len(begun(job, second)) == 3, TRAIN_SECONDS, "all three ranks must train")
    saved = max(each.step for each in job.checkpoints() if each.attempt_id == first.id)
    assert begun(job, second)[0].endswith(f" from step {saved}")
    job.cancel()
    stage.until(lambda: job.refresh().is_finished, TRAIN_SECONDS, "it must stop")


def submit(stage: Stage, name: str, *arguments: str) -> Job:
    folder = stage.folder / name
    spec = {
        "name": name,
        "kind": "training",
        "entrypoint": f"python -m learning.training --launch=tasks {' '.join(arguments)}",
        "tasks": 3,
        "min_tasks": 2,
        "resources": {"cpus": 1},
        "checkpoint_uri": f"{folder.as_uri()}/checkpoints",
        "outputs_uri": folder.as_uri(),
        "environment": {"GLOO_SOCKET_IFNAME": "lo"},  # all nodes are on one machine
    }
    return stage.client.jobs.submit(JobSpec.model_validate(spec), working_dir=RECIPES)


def begun(job: Job, attempt: AttemptDocument) -> list[str]:
    """What the ranks of an attempt said first, by rank."""
    return sorted(line for line in job.logs(attempt=attempt.number) if " trains on " in line)
