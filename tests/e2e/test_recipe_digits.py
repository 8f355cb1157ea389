"""The digits recipe on a real Ray cluster, with one rank on each of its two nodes."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Self

import pytest

from tests.parts import require_part
from tests.plain_ray import PlainRay, until

RECIPES: Final = Path(__file__).parents[2] / "controlplane" / "recipes"
EPOCHS: Final = 6
STEPS_PER_EPOCH: Final = 23
STEPS: Final = EPOCHS * STEPS_PER_EPOCH
SEAT: Final = {"CPU": 1.0, "logical_gpu": 1.0, "memory": 500e6}

START_SECONDS: Final = 200.0
END_SECONDS: Final = 60.0

FORGET_TRAIN: Final = """
import contextlib, ray
ray.init(logging_level="ERROR")
with contextlib.suppress(ValueError):
    ray.kill(ray.get_actor("AutoscalingCoordinator", namespace="AutoscalingCoordinator"))
"""
"""Ray Train leaves one actor in each cluster where it ever ran, which takes no resources and never ends."""

# Two busy cores need a minute for the cluster, and another for each start of Ray Train.
pytestmark = pytest.mark.timeout(480)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One start of the recipe, as the wrapper starts it."""

    folder: Path
    driver: subprocess.Popen[bytes]

    @classmethod
    @contextmanager
    def started(cls, ray: PlainRay, folder: Path, *, resume_from: str | None = None) -> Iterator[Self]:
        folder.mkdir()
        told = _told(folder, ray.node_ids()) | ({"CROSSDOCK_RESUME_FROM": resume_from} if resume_from else {})
        with (folder / "log").open("wb") as log:
            driver = subprocess.Popen(
                [sys.executable, "-m", "digits", f"--epochs={EPOCHS}"],
                cwd=RECIPES,
                env=_inherited() | ray.environment | told,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            yield cls(folder=folder, driver=driver)
        finally:
            driver.kill()
            driver.wait()

    def ended(self) -> int:
        return self.driver.wait(timeout=240)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def model(self) -> bytes:
        return (self.folder / "outputs" / "model.pt").read_bytes()

    def records(self, kind: str) -> list[dict[str, Any]]:
        path = self.folder / "records"
        written = path.read_text() if path.exists() else ""
        # The last line may still be in the writing.
        whole = (json.loads(line) for line in written.splitlines(keepends=True) if line.endswith("\n"))
        return [record for record in whole if record["kind"] == kind]

    def steps(self) -> list[int]:
        return [record["step"] for record in self.records("metric") if "loss" in record["values"]]


def _inherited() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("CROSSDOCK_", "RAY_"))}


def _told(folder: Path, node_ids: tuple[str, ...]) -> dict[str, str]:
    return {
        "CROSSDOCK_JOB_ID": "digits",
        "CROSSDOCK_ATTEMPT_ID": folder.name,
        "CROSSDOCK_NODE_IDS": json.dumps(node_ids),
        "CROSSDOCK_SEATS": json.dumps([SEAT for _ in node_ids]),
        "CROSSDOCK_CHECKPOINT_URI": f"file://{folder.parent}/checkpoints",
        "CROSSDOCK_OUTPUTS_URI": str(folder / "outputs"),
        "CROSSDOCK_RECORDS": str(folder / "records"),
        "CROSSDOCK_GRACE_SECONDS": "30",
    }


@pytest.fixture(scope="module")
def ray(plain_ray: PlainRay) -> Iterator[PlainRay]:
    require_part("torch", find_spec("torch") is not None, "it is not installed")
    with plain_ray.returned():
        yield plain_ray
        told = _inherited() | plain_ray.environment
        subprocess.run([sys.executable, "-c", FORGET_TRAIN], env=told, check=True, timeout=END_SECONDS)


@pytest.fixture(scope="module")
def uninterrupted(ray: PlainRay, tmp_path_factory: pytest.TempPathFactory) -> Attempt:
    folder = tmp_path_factory.mktemp("digits") / "uninterrupted"
    with Attempt.started(ray, folder) as attempt:
        assert attempt.ended() == 0, attempt.log
    return attempt


def test_one_rank_trains_on_each_booked_node(ray: PlainRay, uninterrupted: Attempt) -> None:
    told = [record["message"] for record in uninterrupted.records("progress")[:2]]
    nodes = [message.partition(" trains on node ")[2].removesuffix(" from step 0") for message in told]
    assert sorted(nodes) == sorted(ray.node_ids())


def test_it_learns_to_read_held_out_digits(uninterrupted: Attempt) -> None:
    facts = json.loads((uninterrupted.folder / "outputs" / "metrics.json").read_text())
    assert facts.pop("accuracy") >= 0.95
    assert facts == {"held_out": 355, "epochs": EPOCHS, "steps": STEPS, "world_size": 2}


def test_each_step_is_measured_once_and_in_order(uninterrupted: Attempt) -> None:
    assert uninterrupted.steps() == list(range(1, STEPS + 1))
    values = uninterrupted.records("metric")[0]["values"]
    assert set(values) == {"loss", "learning_rate", "samples_per_second"}


def test_each_epoch_leaves_a_checkpoint_as_it_was_told(uninterrupted: Attempt) -> None:
    checkpoints = uninterrupted.records("checkpoint")
    assert [told["step"] for told in checkpoints] == list(range(STEPS_PER_EPOCH, STEPS + 1, STEPS_PER_EPOCH))
    for told in checkpoints:
        content = Path(told["uri"].removeprefix("file://")).read_bytes()
        assert hashlib.sha256(content).hexdigest() == told["sha256"]


def test_the_log_tells_the_story_and_nothing_else(uninterrupted: Attempt) -> None:
    lines = uninterrupted.log.splitlines()
    assert lines[0] == f"starting 2 ranks for {EPOCHS} epochs"
    assert lines[-1].startswith("final accuracy 0.9")
    assert len(lines) == 1 + 2 + EPOCHS + 1, uninterrupted.log


@pytest.mark.verify
def test_stopped_and_resumed_it_ends_in_the_same_weights(ray: PlainRay, uninterrupted: Attempt) -> None:
    with Attempt.started(ray, uninterrupted.folder.parent / "stopped") as stopped:
        until(
            lambda: len(stopped.steps()) > STEPS_PER_EPOCH or stopped.driver.poll() is not None,
            START_SECONDS,
            lambda: stopped.log,
        )
        stopped.driver.send_signal(signal.SIGTERM)
        assert stopped.ended() == 128 + signal.SIGTERM, stopped.log
    last = stopped.records("checkpoint")[-1]
    assert STEPS_PER_EPOCH < last["step"] == stopped.steps()[-1] < STEPS

    folder = uninterrupted.folder.parent / "resumed"
    with Attempt.started(ray, folder, resume_from=last["uri"]) as resumed:
        assert resumed.ended() == 0, resumed.log
    assert resumed.steps() == list(range(last["step"] + 1, STEPS + 1))
    assert resumed.model == uninterrupted.model
    assert resumed.records("progress")[-2:] == uninterrupted.records("progress")[-2:]


@pytest.mark.verify
def test_stopped_before_its_first_step_it_ends_at_once(ray: PlainRay, tmp_path: Path) -> None:
    with Attempt.started(ray, tmp_path / "early") as attempt:
        until(lambda: attempt.log.startswith("starting"), START_SECONDS, lambda: attempt.log)
        attempt.driver.send_signal(signal.SIGTERM)
        assert attempt.ended() == 128 + signal.SIGTERM
    assert attempt.log.splitlines()[-1] == "stopped before the first step"
    assert attempt.records("checkpoint") == []
