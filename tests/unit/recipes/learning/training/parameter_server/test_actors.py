"""Ranks that pull and push take the steps of one process, whatever happens to the images before."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from controlplane.recipes.learning.models.tasks import TASKS, TaskName
from controlplane.recipes.learning.training.parameter_server import actors
from controlplane.recipes.learning.training.parameter_server.actors import PullingRank, Server
from controlplane.recipes.learning.training.parameter_server.clock import Clock
from controlplane.recipes.learning.training.parameter_server.shard import Shard
from controlplane.recipes.learning.training.rank import Assignment
from controlplane.recipes.learning.training.ranks import Ranks
from controlplane.recipes.learning.training.schedules import Schedule
from controlplane.recipes.learning.training.settings import OptimizerName, Settings, StrategyName
from controlplane.recipes.learning.training.strategies import strategy

TASK = TASKS[TaskName.DIGITS]
SIZE = {"first": 2, "second": 2, "hidden": 4, "dropout": 0.0}
RANKS, STEPS = 2, 3


class Near:
    """An actor of this process."""

    def __init__(self, **calls: Callable[..., Any]) -> None:
        for name, call in calls.items():
            setattr(self, name, SimpleNamespace(remote=call))


def assignment(chosen: StrategyName) -> Assignment:
    training, held_out = TASK.load(0)
    return Assignment(
        settings=Settings(
            size=SIZE,
            strategy=chosen,
            optimizer=OptimizerName.SGD,
            learning_rate=0.5,
            warmup_steps=0,
            schedule=Schedule.CONSTANT,
            batch_examples=16,
            shift_pixels=1,
            noise=0.1,
        ),
        training=training,
        held_out=held_out,
        checkpoints="",
        outputs_uri="",
        resume_from=None,
    )


def of_one_process() -> dict[str, Any]:
    given = assignment(StrategyName.DATA_PARALLEL)
    alone = strategy(given.settings, ranks=Ranks(number=0, count=1, device=torch.device("cpu")), steps=STEPS)
    for step in range(STEPS):
        alone.learn(given.batch(step), step, ends_epoch=False)
    return alone.weights()


def test_servers_take_the_steps_of_one_process_with_images_that_are_moved_and_noisy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(actors, "ray_calls", SimpleNamespace(get=lambda answered: answered))
    given = assignment(StrategyName.PARAMETER_SERVER)
    torch.manual_seed(given.settings.seed)
    weights = {name: value.detach() for name, value in TASK.network(SIZE).named_parameters()}
    server = Server(
        Shard(weights, settings=given.settings, ranks=RANKS, steps=STEPS), Clock(ranks=RANKS, staleness=0)
    )
    near: Any = Near(pull=server.pull, push=server.push)
    board: Any = Near(post=lambda _: None)
    ranks = [PullingRank(given, [near], board, number, RANKS) for number in range(RANKS)]
    for step in range(STEPS):
        for rank in ranks:
            rank.advance(step, step + 1)
    torch.testing.assert_close(server.state()["parameters"], of_one_process(), atol=1e-5, rtol=1e-4)
