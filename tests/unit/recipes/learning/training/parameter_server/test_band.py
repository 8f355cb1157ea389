"""Asynchronous servers that were stopped and resumed learn as well as those that nobody disturbed."""

from dataclasses import replace
from functools import cache
from random import Random

import numpy as np

from controlplane.recipes.learning.data.examples import Examples
from controlplane.recipes.learning.models.tasks import TaskName
from controlplane.recipes.learning.training.settings import Settings, StrategyName
from tests.recipe_bands import SEEDS, Band
from tests.recipe_servers import Training

RANKS = 2
PEOPLE = 12
SETTINGS = Settings(
    task=TaskName.INTERACTIONS,
    size={"users": PEOPLE, "items": PEOPLE, "width": 4},
    strategy=StrategyName.PARAMETER_SERVER,
    staleness=3,
    servers=2,
    epochs=4,
    batch_examples=48,
    micro_batches=1,
    learning_rate=0.2,
    warmup_steps=0,
)
STOP_IN_STEP = 7


def tastes() -> Examples:
    """Even users like even items, odd ones the others."""
    users, items = (grid.ravel() for grid in np.meshgrid(np.arange(PEOPLE), np.arange(PEOPLE)))
    return Examples(
        columns={"users": users, "items": items, "clicks": (users % 2 == items % 2).astype(np.float32)}
    )


def training(*, seed: int, turns: int) -> Training:
    learned = tastes()
    return Training(
        settings=replace(SETTINGS, seed=seed),
        ranks=RANKS,
        training=learned,
        held_out=learned,
        turns=Random(turns),
    )


@cache
def band() -> Band:
    losses = []
    for seed in range(SEEDS):
        each = training(seed=seed, turns=seed)
        each.train()
        losses.append(each.held_out_loss)
    return Band(losses=tuple(losses))


def test_whoever_is_resumed_ends_in_the_band_of_five_seeds() -> None:
    stopped = training(seed=band().middle_seed, turns=SEEDS)
    stopped.train(stop_in_step=STOP_IN_STEP)
    assert stopped.step > STOP_IN_STEP
    resumed = training(seed=band().middle_seed, turns=SEEDS + 1)
    resumed.take_up(stopped.states(), step=stopped.step)
    resumed.train()
    assert resumed.held_out_loss in band()


def test_whoever_lost_its_weights_ends_outside_of_the_band_however_wide() -> None:
    resumed = training(seed=band().middle_seed, turns=SEEDS)
    resumed.take_up(resumed.states(), step=STOP_IN_STEP + 1)
    resumed.train()
    assert resumed.held_out_loss not in band().widened(1)
