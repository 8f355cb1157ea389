"""Shards: some of the parameters, with the optimiser that moves them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..optimizers import optimizer
from ..schedules import rate_at
from ..settings import Settings

Named: TypeAlias = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What one rank learned from its share of one step."""

    gradients: Mapping[str, Tensor]
    """Scaled so that the sum over all ranks is the gradient of the batch's mean loss; dense or sparse."""

    loss: float
    """Summed over the share."""


class Shard:
    """Of the parameters. Synchronous: one step when all ranks have pushed. Else: a step for each push."""

    def __init__(
        self, parameters: Mapping[str, Tensor], *, settings: Settings, ranks: int, steps: int
    ) -> None:
        self._parameters = {name: nn.Parameter(value.clone()) for name, value in parameters.items()}
        self._optimizer = optimizer(list(self._parameters.values()), settings)
        self._settings, self._ranks, self._steps = settings, ranks, steps
        self._waiting: dict[int, dict[int, Push]] = {}

    def pull(self, rows: Mapping[str, Tensor]) -> Named:
        """A copy; of the parameters in `rows` only the rows that it names, in its order."""
        return {
            name: (value.detach()[rows[name]] if name in rows else value.detach()).clone()
            for name, value in self._parameters.items()
        }

    def push(self, rank: int, step: int, push: Push) -> float | None:
        """The loss of the whole step when this was its last push; None before."""
        pushes = self._waiting.setdefault(step, {})
        pushes[rank] = push
        if self._settings.staleness > 0:
            self._descend([push], step)
        if len(pushes) < self._ranks:
            return None
        # By rank and not as they came: sums of floats depend on their order.
        in_order = [pushes[number] for number in sorted(pushes)]
        del self._waiting[step]
        if self._settings.staleness == 0:
            self._descend(in_order, step)
        return sum(each.loss for each in in_order)

    def state(self) -> dict[str, Any]:
        return {"parameters": self.pull({}), "optimizer": self._optimizer.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for name, value in self._parameters.items():
                value.copy_(state["parameters"][name])
        self._optimizer.load_state_dict(state["optimizer"])

    def _descend(self, pushes: Sequence[Push], step: int) -> None:
        settings = self._settings
        share = rate_at(
            step, schedule=settings.schedule, warmup_steps=settings.warmup_steps, steps=self._steps
        )
        for group in self._optimizer.param_groups:
            group["lr"] = settings.learning_rate * share
        for name, parameter in self._parameters.items():
            first, *others = (push.gradients[name] for push in pushes)
            parameter.grad = sum(others, start=first)
        self._optimizer.step()


def assigned(sizes: Mapping[str, int], shards: int) -> tuple[tuple[str, ...], ...]:
    """Names by shard: the largest first, each to the shard that holds least. Raises ValueError for empty shards."""
    if shards > len(sizes):
        raise ValueError(f"{shards} servers need as many parameters, the model has {len(sizes)}")
    held: list[list[str]] = [[] for _ in range(shards)]
    loads = [0] * shards
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        least = loads.index(min(loads))
        held[least].append(name)
        loads[least] += sizes[name]
    return tuple(tuple(names) for names in held)
