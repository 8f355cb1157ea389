"""How to train is chosen by arguments, and what cannot be is refused with a reason."""

import pytest

from controlplane.recipes.learning.models.tasks import TaskName
from controlplane.recipes.learning.training.schedules import Schedule
from controlplane.recipes.learning.training.settings import (
    OptimizerName,
    Precision,
    Settings,
    StrategyName,
    parse,
)


def test_no_arguments_mean_the_defaults() -> None:
    assert parse([]) == Settings()


def test_arguments_choose_what_is_learned_and_how() -> None:
    arguments = (
        '--task text --size {"width":32} --strategy pipeline --epochs 3 --optimizer sgd --learning-rate 0.1'
        " --momentum 0 --schedule linear --warmup-steps 4 --batch-examples 32 --micro-batches 4"
        " --precision bfloat16 --seed 7 --workers 1"
    )
    assert parse(arguments.split()) == Settings(
        task=TaskName.TEXT,
        size={"width": 32},
        strategy=StrategyName.PIPELINE,
        epochs=3,
        batch_examples=32,
        micro_batches=4,
        precision=Precision.BFLOAT16,
        optimizer=OptimizerName.SGD,
        learning_rate=0.1,
        momentum=0.0,
        schedule=Schedule.LINEAR,
        warmup_steps=4,
        seed=7,
        workers=1,
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--epochs 0", "epochs must be at least 1, not 0"),
        ("--micro-batches -1", "must be at least 1, not -1"),
        ("--learning-rate 0", "learning_rate must be above 0, not 0"),
        ("--learning-rate nan", "learning_rate must be above 0, not nan"),
        ("--learning-rate inf", "learning_rate must be above 0, not inf"),
        ("--momentum 1", "momentum must be at least 0 and below 1, not 1"),
        ("--warmup-steps -1", "warmup_steps must be at least 0, not -1"),
        ("--patience-epochs -1", "patience_epochs must be at least 0, not -1"),
        ("--checkpoint-steps -5", "checkpoint_steps must be at least 0, not -5"),
        ("--staleness -1", "staleness must be at least 0, not -1"),
        ("--shift-pixels 8", "shift_pixels must be at least 0 and below 8, not 8"),
        ("--noise -0.1", "noise must be at least 0, not -0.1"),
        ("--seed -1", "seed must be at least 0 and at most 16777215, not -1"),
        ("--seed 16777216", "at most 16777215, not 16777216"),
        ("--least-workers -1", "least_workers must be at least 0, not -1"),
        ("--task text --shift-pixels 1", "shift_pixels and noise are of images, which the task text has not"),
        ("--optimizer magic", "magic"),
        ("--size [1]", "must be a JSON object, not [1]"),
        ("--strategy pipeline", "divides the transformer of the task text, not digits"),
        ("--strategy averaging --least-workers 1", "averaging has a fixed number of ranks"),
        ("--strategy parameter_server --launch tasks", "start it with launch driver"),
        ("--task text --strategy pipeline --micro-batches 3", "3 micro-batches must divide a batch of 64"),
    ],
)
def test_what_cannot_be_is_refused(arguments: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(arguments.split())
    assert told in capsys.readouterr().err


def test_where_ranks_run_may_differ_between_attempts() -> None:
    assert Settings(workers=2).lasting() == Settings(workers=4, least_workers=1).lasting()
    assert Settings(seed=1).lasting() != Settings(seed=2).lasting()
