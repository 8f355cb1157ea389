"""Optimisers: how gradients become steps."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam
from torch.optim import Optimizer as TorchOptimizer

from .settings import OptimizerName, Settings


def optimizer(parameters: Iterable[nn.Parameter], settings: Settings) -> TorchOptimizer:
    """Never in the fused forms: they refuse parameters of which only some are divided among ranks."""
    match settings.optimizer:
        case OptimizerName.SGD:
            return SGD(parameters, lr=settings.learning_rate, foreach=False)
        case OptimizerName.MOMENTUM:
            return Momentum(parameters, lr=settings.learning_rate, beta=settings.momentum)
        case OptimizerName.HEAVY_BALL:
            return SGD(parameters, lr=settings.learning_rate, momentum=settings.momentum, foreach=False)
        case OptimizerName.ADAM:
            return Adam(parameters, lr=settings.learning_rate, foreach=False)


class Momentum(TorchOptimizer):
    """v = beta v + (1 - beta) grad, then theta = theta - lr v, from v = 0.

    A mean of past gradients: its step is as long as a plain one, where the heavy ball of SGD (v = beta v +
    grad) is 1 / (1 - beta) times longer.
    """

    def __init__(self, params: Iterable[nn.Parameter], *, lr: float, beta: float) -> None:
        super().__init__(params, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise TypeError("this optimiser takes its gradients from `backward`")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state: dict[str, Any] = self.state[parameter]
                if not state:
                    state["velocity"] = torch.zeros_like(parameter)
                state["velocity"].lerp_(parameter.grad, 1 - group["beta"])
                parameter.sub_(state["velocity"] * group["lr"])
