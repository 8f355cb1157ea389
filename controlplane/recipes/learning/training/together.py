"""Together: ranks that take every step with one gradient, however network and batch are divided."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..data.batches import share_of
from ..data.examples import Examples
from ..models.tasks import Task
from .judging import judge
from .learner import Learner, accumulate
from .ranks import Ranks
from .settings import Precision, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """Of a network among ranks."""

    network: nn.Module
    """Has the parameters, or a rank's parts of them."""

    parallel: nn.Module
    """What learns: the same, or around it what exchanges gradients."""

    divides_parameters: bool
    """Whether each rank holds a part of every parameter."""

    shares_batch: bool
    """False where every rank works on the whole batch, and has the whole loss."""

    precision: Precision
    """In which `parallel` must still be told to work."""

    exchange: Callable[[bool], AbstractContextManager[None]] | None = None
    """Around each micro-batch, told whether it is the last."""


class Together:
    def __init__(
        self, division: Division, task: Task, *, settings: Settings, ranks: Ranks, steps: int
    ) -> None:
        self.learner = Learner(
            division.network, settings=settings, steps=steps, is_divided=division.divides_parameters
        )
        self._division, self._task, self._settings, self._ranks = division, task, settings, ranks
        self._shares = ranks.count if division.shares_batch else 1

    def learn(self, batch: Examples, step: int, *, ends_epoch: bool) -> float:  # noqa: ARG002 - all steps are alike
        inputs, target = self._task.tensors(self._mine(batch), self._ranks.device)
        self.learner.forget_gradients()
        loss = accumulate(
            self._division.parallel,
            self._task,
            inputs,
            target,
            parts=self._settings.micro_batches,
            # Averaged over the shares, the gradient is that of the batch's mean loss, also if they differ in size.
            weight=self._shares / len(batch),
            precision=self._division.precision,
            exchange=self._division.exchange,
        )
        self.learner.descend(step)
        return loss * self._shares / self._ranks.count

    def judge(self, examples: Examples) -> tuple[float, float]:
        loss, right = judge(self._division.network, self._task, self._mine(examples), self._ranks.device)
        return loss * self._shares / self._ranks.count, right * self._shares / self._ranks.count

    def state(self) -> dict[str, Any]:
        return self.learner.state()

    def load(self, state: Mapping[str, Any]) -> None:
        self.learner.load(state)

    def weights(self) -> dict[str, Any]:
        return self.learner.weights()

    def _mine(self, examples: Examples) -> Examples:
        if not self._division.shares_batch:
            return examples
        return share_of(examples, rank=self._ranks.number, ranks=self._ranks.count)
