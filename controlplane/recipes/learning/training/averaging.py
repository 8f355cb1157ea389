"""Parameter averaging: every rank learns alone, and now and then all take the mean of their parameters.

theta = 1/N sum theta_i every `average_steps` steps and at the end of each epoch (local SGD: McMahan et al.
2017, Stich 2019). Optimiser state stays with its rank. Averaged after every step, plain SGD is data parallel.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import distributed, nn

from ..data.batches import share_of
from ..data.examples import Examples
from ..models.tasks import Task
from .judging import judge
from .learner import Learner, accumulate
from .ranks import Ranks
from .settings import Settings


class Averaging:
    def __init__(
        self, network: nn.Module, task: Task, *, settings: Settings, ranks: Ranks, steps: int
    ) -> None:
        self._task, self._settings, self._ranks = task, settings, ranks
        self.learner = Learner(network, settings=settings, steps=steps)

    def learn(self, batch: Examples, step: int, *, ends_epoch: bool) -> float:
        mine = share_of(batch, rank=self._ranks.number, ranks=self._ranks.count)
        inputs, target = self._task.tensors(mine, self._ranks.device)
        self.learner.forget_gradients()
        loss = accumulate(
            self.learner.module,
            self._task,
            inputs,
            target,
            parts=self._settings.micro_batches,
            weight=1 / max(len(mine), 1),
            precision=self._settings.precision,
        )
        self.learner.descend(step)
        if ends_epoch or (step + 1) % self._settings.average_steps == 0:
            average(self.learner.module, self._ranks.count)
        return loss

    def judge(self, examples: Examples) -> tuple[float, float]:
        mine = share_of(examples, rank=self._ranks.number, ranks=self._ranks.count)
        return judge(self.learner.module, self._task, mine, self._ranks.device)

    def state(self) -> dict[str, Any]:
        return {"ranks": self._ranks.gathered(self.learner.state())}

    def load(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError for a state of another number of ranks: each has moments of its own."""
        if len(state["ranks"]) != self._ranks.count:
            raise ValueError(
                f"the checkpoint is of {len(state['ranks'])} ranks, here are {self._ranks.count}"
            )
        self.learner.load(state["ranks"][self._ranks.number])

    def weights(self) -> dict[str, Any]:
        return self.learner.weights()


@torch.no_grad()
def average(module: nn.Module, ranks: int) -> None:
    """Sets each parameter to its mean over the ranks, which must all ask."""
    if ranks == 1:
        return
    for parameter in module.parameters():
        distributed.all_reduce(parameter)
        parameter.div_(ranks)
