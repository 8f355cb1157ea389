"""The digits recipe on a real Ray cluster, with one rank on each of its two nodes."""

import hashlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.plain_ray import PlainRay, until
from tests.recipe_attempts import Attempt, lent

EPOCHS: Final = 6
STEPS_PER_EPOCH: Final = 23
STEPS: Final = EPOCHS * STEPS_PER_EPOCH
DIGITS: Final = ("digits", f"--epochs={EPOCHS}")

START_SECONDS: Final = 200.0

# Two busy cores need a minute for the cluster, and another for each start of Ray Train.
pytestmark = pytest.mark.timeout(480)


@pytest.fixture(scope="module")
def ray(plain_ray: PlainRay) -> Iterator[PlainRay]:
    with lent(plain_ray) as lent_ray:
        yield lent_ray


@pytest.fixture(scope="module")
def uninterrupted(ray: PlainRay, tmp_path_factory: pytest.TempPathFactory) -> Attempt:
    folder = tmp_path_factory.mktemp("digits") / "uninterrupted"
    with Attempt.driven(ray, folder, DIGITS) as attempt:
        assert attempt.ended() == 0, attempt.log
    return attempt


def test_one_rank_trains_on_each_booked_node(ray: PlainRay, uninterrupted: Attempt) -> None:
    told = [record["message"] for record in uninterrupted.records("progress")[:2]]
    nodes = [message.partition(" trains on node ")[2].removesuffix(" from step 0") for message in told]
    assert sorted(nodes) == sorted(ray.node_ids())


def test_it_learns_to_read_held_out_digits(uninterrupted: Attempt) -> None:
    facts = uninterrupted.facts
    assert facts.pop("accuracy") >= 0.95
    assert facts.pop("held_out_loss") < 0.25
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
    with Attempt.driven(ray, uninterrupted.folder.parent / "stopped", DIGITS) as stopped:
        until(
            lambda: len(stopped.steps()) > STEPS_PER_EPOCH or stopped.is_over,
            START_SECONDS,
            lambda: stopped.log,
        )
        stopped.ranks[0].send_signal(signal.SIGTERM)
        assert stopped.ended() == 128 + signal.SIGTERM, stopped.log
    last = stopped.records("checkpoint")[-1]
    assert STEPS_PER_EPOCH < last["step"] == stopped.steps()[-1] < STEPS

    folder = uninterrupted.folder.parent / "resumed"
    with Attempt.driven(ray, folder, DIGITS, resume_from=last["uri"]) as resumed:
        assert resumed.ended() == 0, resumed.log
    assert resumed.steps() == list(range(last["step"] + 1, STEPS + 1))
    assert resumed.model == uninterrupted.model
    assert resumed.records("progress")[-2:] == uninterrupted.records("progress")[-2:]


@pytest.mark.verify
def test_stopped_before_its_first_step_it_ends_at_once(ray: PlainRay, tmp_path: Path) -> None:
    with Attempt.driven(ray, tmp_path / "early", DIGITS) as attempt:
        until(lambda: attempt.log.startswith("starting"), START_SECONDS, lambda: attempt.log)
        attempt.ranks[0].send_signal(signal.SIGTERM)
        assert attempt.ended() == 128 + signal.SIGTERM
    assert attempt.log.splitlines()[-1] == "stopped before the first step"
    assert attempt.records("checkpoint") == []
