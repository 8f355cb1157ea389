"""The learner: a network or a rank's part of it, its optimiser and its learning rate."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from ..models.tasks import Task
from .optimizers import optimizer
from .schedules import rate_at
from .settings import Precision, Settings


class Learner:
    """What changes while training. Its state names parameters as the whole network does, not by rank."""

    def __init__(
        self, module: nn.Module, *, settings: Settings, steps: int, is_divided: bool = False
    ) -> None:
        """`is_divided` where ranks hold parts of the same parameters, which only all together can tell whole."""
        self.module = module
        self._settings = settings
        self._steps = steps
        self._is_divided = is_divided
        self._optimizer = optimizer(module.parameters(), settings)

    def rate(self, step: int) -> float:
        """Of learning, in the step that follows `step` others."""
        share = rate_at(
            step,
            schedule=self._settings.schedule,
            warmup_steps=self._settings.warmup_steps,
            steps=self._steps,
        )
        return self._settings.learning_rate * share

    def forget_gradients(self) -> None:
        self._optimizer.zero_grad()

    def descend(self, step: int) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate(step)
        self._optimizer.step()

    def weights(self) -> dict[str, Any]:
        """Where they are divided, all ranks must ask, and the first one is told."""
        if self._is_divided:
            from . import divided

            return divided.weights(self.module)
        return self.module.state_dict()

    def state(self) -> dict[str, Any]:
        """Needs no random state: what is random in a step is seeded by the step."""
        self.forget_gradients()
        if self._is_divided:
            from . import divided

            return divided.state(self.module, self._optimizer)
        return {"model": self.weights(), "optimizer": named(self._optimizer.state_dict(), self._names())}

    def load(self, state: Mapping[str, Any]) -> None:
        if self._is_divided:
            from . import divided

            divided.load(self.module, self._optimizer, state)
            return
        self.module.load_state_dict(state["model"])
        self._optimizer.load_state_dict(numbered(state["optimizer"], self._names()))

    def _names(self) -> list[str]:
        return [name for name, _ in self.module.named_parameters()]


def named(moments: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """An optimiser's state by names of parameters instead of their numbers, so that parts of it can be told apart."""
    return {
        "state": {names[number]: value for number, value in moments["state"].items()},
        "param_groups": [
            group | {"params": [names[number] for number in group["params"]]}
            for group in moments["param_groups"]
        ],
    }


def numbered(moments: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """What `named` was made of."""
    numbers = {name: number for number, name in enumerate(names)}
    return {
        "state": {numbers[name]: value for name, value in moments["state"].items()},
        "param_groups": [
            group | {"params": [numbers[name] for name in group["params"]]}
            for group in moments["param_groups"]
        ],
    }


def accumulate(
    model: Callable[..., Tensor],
    task: Task,
    inputs: tuple[Tensor, ...],
    target: Tensor,
    *,
    parts: int,
    weight: float,
    precision: Precision = Precision.FLOAT32,
    exchange: Callable[[bool], AbstractContextManager[None]] | None = None,
) -> float:
    """Adds up the gradient of a share in micro-batches, and returns the share's summed loss.

    `weight` multiplies each example's loss. `exchange(last)` surrounds the work on each part: ranks exchange
    their gradients with the last one only.
    """
    total = 0.0
    divided = zip(*(column.tensor_split(parts) for column in (*inputs, target)), strict=True)
    for part, (*some_inputs, some_target) in enumerate(divided, start=1):
        with exchange(part == parts) if exchange else torch.enable_grad():
            with torch.autocast(
                target.device.type, dtype=torch.bfloat16, enabled=precision is Precision.BFLOAT16
            ):
                output = model(*some_inputs)
            # Sums and logarithms need the digits that bfloat16 has not.
            loss = task.loss(output.float(), some_target)
            (loss * weight).backward()
        total += loss.item()
    return total
