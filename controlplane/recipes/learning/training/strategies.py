"""Strategies: ways for ranks to divide a step, each behind the same few calls."""

from collections.abc import Mapping
from typing import Any, Protocol, assert_never

import torch

from ..data.examples import Examples
from ..models.tasks import TASKS
from . import data_parallel
from .averaging import Averaging
from .learner import Learner
from .ranks import Ranks
from .settings import Settings, StrategyName
from .together import Together


class Strategy(Protocol):
    """Every call is made by all ranks, in the same order."""

    learner: Learner

    def learn(self, batch: Examples, step: int, *, ends_epoch: bool) -> float:
        """Takes one step on the whole batch. The losses that the ranks return add up to the batch's."""

    def judge(self, examples: Examples) -> tuple[float, float]:
        """Loss and number of right answers, which add up over the ranks; learns nothing."""

    def state(self) -> dict[str, Any]:
        """What `load` takes; on the first rank."""

    def load(self, state: Mapping[str, Any]) -> None: ...

    def weights(self) -> dict[str, Any]:
        """Of the whole network, on the first rank."""


def strategy(settings: Settings, *, ranks: Ranks, steps: int) -> Strategy:
    """With weights that are the same function of the seed under every strategy."""
    torch.manual_seed(settings.seed)
    task = TASKS[settings.task]
    network = task.network(settings.size).to(ranks.device)
    match settings.strategy:
        case StrategyName.DATA_PARALLEL:
            division = data_parallel.divide(network, settings=settings, ranks=ranks)
        case StrategyName.FULLY_SHARDED:
            from . import fully_sharded  # these three bring seconds of imports, for whoever uses them

            division = fully_sharded.divide(network, settings=settings, ranks=ranks)
        case StrategyName.TENSOR_PARALLEL:
            from . import tensor_parallel

            division = tensor_parallel.divide(network, settings=settings, ranks=ranks)
        case StrategyName.AVERAGING:
            return Averaging(network, task, settings=settings, ranks=ranks, steps=steps)
        case StrategyName.PIPELINE:
            from .pipeline import Pipeline

            return Pipeline(network, task, settings=settings, ranks=ranks, steps=steps)
        case StrategyName.PARAMETER_SERVER:
            raise ValueError("a parameter server is started by the driver, not among ranks")
        case _:
            assert_never(settings.strategy)
    return Together(division, task, settings=settings, ranks=ranks, steps=steps)
