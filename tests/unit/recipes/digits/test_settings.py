"""Optimiser and learning rate are chosen by arguments."""

import pytest

from controlplane.recipes.digits.settings import Optimizer, Schedule, Settings, parse


def test_no_arguments_mean_the_defaults() -> None:
    assert parse([]) == (Settings(), 2)


def test_arguments_choose_optimizer_rate_and_schedule() -> None:
    arguments = (
        "--epochs 3 --optimizer sgd --learning-rate 0.1 --momentum 0 --schedule linear"
        " --warmup-steps 4 --batch-images 32 --micro-batches 4 --seed 7 --workers 1"
    )
    assert parse(arguments.split()) == (
        Settings(
            epochs=3,
            batch_images=32,
            micro_batches=4,
            optimizer=Optimizer.SGD,
            learning_rate=0.1,
            momentum=0.0,
            schedule=Schedule.LINEAR,
            warmup_steps=4,
            seed=7,
        ),
        1,
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--epochs 0", "must be at least 1, not 0"),
        ("--micro-batches -1", "must be at least 1, not -1"),
        ("--optimizer magic", "magic"),
    ],
)
def test_what_cannot_be_is_refused(arguments: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(arguments.split())
    assert told in capsys.readouterr().err
