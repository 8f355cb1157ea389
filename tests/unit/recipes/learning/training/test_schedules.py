"""The learning rate does what its schedule says, and patience ends."""

import pytest

from controlplane.recipes.learning.training.schedules import Schedule, rate_at
from controlplane.recipes.learning.training.stopping import Patience


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (Schedule.CONSTANT, [0.5, 1.0, 1.0, 1.0, 1.0]),
        (Schedule.LINEAR, [0.5, 1.0, 0.75, 0.5, 0.25]),
        (Schedule.COSINE, [0.5, 1.0, 0.854, 0.5, 0.146]),
        (Schedule.STEPPED, [0.5, 1.0, 1.0, 0.1, 0.01]),
    ],
)
def test_the_learning_rate_warms_up_and_then_keeps_to_its_schedule(
    schedule: Schedule, rates: list[float]
) -> None:
    seen = [rate_at(step, schedule=schedule, warmup_steps=1, steps=5) for step in range(5)]
    assert seen == pytest.approx(rates, abs=0.001)


def test_patience_ends_after_so_many_epochs_without_gain() -> None:
    patience = Patience(epochs=2, least_gain=0.1)
    over = []
    for loss in (1.0, 0.95, 0.8, 0.75, 0.74):
        patience = patience.after(loss)
        over.append(patience.is_over)
    assert over == [False, False, False, False, True]
    assert (patience.best, Patience.from_state(patience.state())) == (0.8, patience)


def test_no_patience_is_asked_for_by_zero() -> None:
    patience = Patience(epochs=0)
    for _ in range(5):
        patience = patience.after(1.0)
    assert not patience.is_over
