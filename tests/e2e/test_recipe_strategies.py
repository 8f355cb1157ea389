"""Every way of dividing a step, with two processes that meet on loopback, against one process alone."""

import math
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from controlplane.recipes.learning.data.text import GRAMMAR
from tests.parts import require_part
from tests.plain_ray import until
from tests.recipe_attempts import Attempt

ROUNDING: Final = 1e-4
"""In nats: sums of float32 in another order."""

START_SECONDS: Final = 120.0
TEXT: Final = ("--task=text", "--batch-examples=256", "--micro-batches=4")
SGD: Final = ("--optimizer=sgd", "--learning-rate=0.5")
STEPS_PER_EPOCH: Final = 4

pytestmark = [pytest.mark.verify, pytest.mark.timeout(900)]

Trained = Callable[..., Attempt]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    require_part("torch", find_spec("torch") is not None, "it is not installed")
    folder = tmp_path_factory.mktemp("strategies")

    def train(name: str, ranks: int, *arguments: str) -> Attempt:
        with Attempt.gang(folder / name, ranks, (*TEXT, *arguments)) as attempt:
            assert attempt.ended() == 0, attempt.log
        return attempt

    return train


@pytest.fixture(scope="module")
def alone(trained: Trained) -> Attempt:
    return trained("alone", 1, *SGD, "--epochs=2")


@pytest.mark.parametrize("strategy", ["data_parallel", "fully_sharded", "tensor_parallel", "pipeline"])
def test_two_ranks_take_the_steps_that_one_process_would(
    trained: Trained, alone: Attempt, strategy: str
) -> None:
    divided = trained(strategy, 2, *SGD, "--epochs=2", f"--strategy={strategy}")
    assert divided.losses() == pytest.approx(alone.losses(), abs=ROUNDING)
    assert divided.facts["held_out_loss"] == pytest.approx(alone.facts["held_out_loss"], abs=ROUNDING)
    assert len(divided.model) == len(alone.model)


def test_averaged_after_every_step_plain_descent_is_data_parallel(trained: Trained, alone: Attempt) -> None:
    averaged = trained("averaged", 2, *SGD, "--epochs=2", "--strategy=averaging", "--average-steps=1")
    assert averaged.losses() == pytest.approx(alone.losses(), abs=ROUNDING)


def test_averaged_now_and_then_it_learns_about_as_well(trained: Trained, alone: Attempt) -> None:
    averaged = trained("now-and-then", 2, *SGD, "--epochs=2", "--strategy=averaging", "--average-steps=3")
    assert averaged.losses() != pytest.approx(alone.losses(), abs=ROUNDING)
    assert averaged.facts["held_out_loss"] == pytest.approx(alone.facts["held_out_loss"], rel=0.02)


@pytest.mark.parametrize("strategy", ["data_parallel", "fully_sharded"])
def test_in_bfloat16_it_learns_about_as_well(trained: Trained, alone: Attempt, strategy: str) -> None:
    arguments = (*SGD, "--epochs=2", f"--strategy={strategy}", "--precision=bfloat16")
    half = trained(f"bfloat16-{strategy}", 2, *arguments)
    assert half.losses() != pytest.approx(alone.losses(), abs=1e-6)
    assert half.facts["held_out_loss"] == pytest.approx(alone.facts["held_out_loss"], rel=0.02)


@pytest.mark.parametrize(
    "strategy", ["data_parallel", "averaging", "fully_sharded", "tensor_parallel", "pipeline"]
)
def test_stopped_by_a_signal_to_one_rank_it_resumes_to_the_same_weights(
    trained: Trained, tmp_path: Path, strategy: str
) -> None:
    arguments = ("--epochs=8", f"--strategy={strategy}", "--patience-epochs=9")
    straight = trained(f"straight-{strategy}", 2, *arguments)
    with Attempt.gang(tmp_path / "stopped", 2, (*TEXT, *arguments)) as stopped:
        until(lambda: len(stopped.steps()) > 3 or stopped.is_over, START_SECONDS, lambda: stopped.log)
        stopped.ranks[1].send_signal(signal.SIGTERM)
        assert stopped.ended() == 128 + signal.SIGTERM
    last = stopped.records("checkpoint")[-1]
    assert 3 < last["step"] == stopped.steps()[-1] < 8 * STEPS_PER_EPOCH

    with Attempt.gang(tmp_path / "resumed", 2, (*TEXT, *arguments), resume_from=last["uri"]) as resumed:
        assert resumed.ended() == 0, resumed.log
    assert stopped.losses() + resumed.losses() == straight.losses()
    assert resumed.model == straight.model


def test_resumed_by_another_number_of_ranks_it_agrees_up_to_rounding(alone: Attempt, tmp_path: Path) -> None:
    arguments = (*TEXT, *SGD, "--epochs=2", "--checkpoint-steps=5")
    with Attempt.gang(tmp_path / "two", 2, arguments) as two:
        assert two.ended() == 0, two.log
    fourth, fifth = two.records("checkpoint")[:2]
    assert (fourth["step"], fifth["step"]) == (STEPS_PER_EPOCH, 5)  # each epoch ends with one as well
    with Attempt.gang(tmp_path / "one", 1, arguments, resume_from=fifth["uri"]) as one:
        assert one.ended() == 0, one.log
    assert two.losses()[:5] + one.losses() == pytest.approx(alone.losses(), abs=ROUNDING)


def test_a_transformer_comes_near_the_entropy_of_its_text_and_never_below(trained: Trained) -> None:
    learned = trained("entropy", 1, "--epochs=30", "--batch-examples=64", "--micro-batches=1")
    entropy = GRAMMAR.nats_per_character()
    assert entropy * 0.98 < learned.facts["held_out_loss"] < entropy * 1.8
    assert not math.isnan(learned.losses()[-1])
