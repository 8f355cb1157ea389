"""The learner: a network, its optimiser and its learning rate, which move one step at a time."""

import json
import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, Adam
from torch.optim import Optimizer as TorchOptimizer
from torch.optim.lr_scheduler import LambdaLR

from .settings import Optimizer, Schedule, Settings


def network() -> nn.Module:
    """Two convolutions and two dense layers, from 8 x 8 pixels to ten scores.

    No batch norm: its averages would depend on how a batch is divided.
    """
    return nn.Sequential(
        nn.Conv2d(1, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 64),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(64, 10),
    )


def rate_at(step: int, *, schedule: Schedule, warmup_steps: int, steps: int) -> float:
    """The share of the highest learning rate that a step learns with."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    gone = (step - warmup_steps) / max(steps - warmup_steps, 1)
    match schedule:
        case Schedule.CONSTANT:
            return 1.0
        case Schedule.LINEAR:
            return 1.0 - gone
        case Schedule.COSINE:
            return (1.0 + math.cos(math.pi * gone)) / 2


class Learner:
    """All that changes while training; `state` is what a checkpoint holds."""

    def __init__(self, module: nn.Module, *, settings: Settings, steps: int) -> None:
        self.module = module
        self.step = 0
        self.epoch_loss = 0.0
        """Summed over the images that this epoch has seen so far, on all ranks."""

        self._settings = settings
        self._optimizer = _optimizer(module, settings)
        self._schedule = LambdaLR(
            self._optimizer,
            lambda step: rate_at(
                step, schedule=settings.schedule, warmup_steps=settings.warmup_steps, steps=steps
            ),
        )

    @property
    def learning_rate(self) -> float:
        return float(self._schedule.get_last_lr()[0])

    def learn(self, parallel: nn.Module, pixels: Tensor, labels: Tensor, *, weight: float) -> float:
        """Takes one optimiser step on this rank's share of a batch, and returns the share's summed loss.

        `weight` is ranks / images in the whole batch: averaged over the ranks, the gradient is then that
        of the batch's mean loss, also where shares differ in size.
        """
        self._optimizer.zero_grad()
        loss = accumulate(parallel, pixels, labels, parts=self._settings.micro_batches, weight=weight)
        self._optimizer.step()
        self._schedule.step()
        self.step += 1
        return loss

    def state(self) -> dict[str, Any]:
        """Needs no random state: what is random in a step is seeded by the step."""
        return {
            "settings": _plain(self._settings),
            "step": self.step,
            "epoch_loss": self.epoch_loss,
            "model": self.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        theirs, ours = state["settings"], _plain(self._settings)
        changed = [
            f"{name} was {theirs.get(name)}, is {ours[name]}"
            for name in ours
            if ours[name] != theirs.get(name)
        ]
        if changed:
            raise ValueError(f"the checkpoint was made with other settings: {', '.join(changed)}")
        self.step = state["step"]
        self.epoch_loss = state["epoch_loss"]
        self.module.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])


def accumulate(model: nn.Module, pixels: Tensor, labels: Tensor, *, parts: int, weight: float) -> float:
    """Adds up the gradient of a share in micro-batches; the ranks exchange theirs with the last one only."""
    chunks = list(zip(pixels.tensor_split(parts), labels.tensor_split(parts), strict=True))
    quietly = model.no_sync if isinstance(model, DistributedDataParallel) else nullcontext
    total = 0.0
    for part, (some_pixels, some_labels) in enumerate(chunks, start=1):
        with nullcontext() if part == parts else quietly():
            loss = cross_entropy(model(some_pixels), some_labels, reduction="sum")
            (loss * weight).backward()
        total += loss.item()
    return total


def _plain(settings: Settings) -> dict[str, Any]:
    """As the plain types that a checkpoint can be read back with, without running code from it."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return values


def _optimizer(module: nn.Module, settings: Settings) -> TorchOptimizer:
    match settings.optimizer:
        case Optimizer.SGD:
            return SGD(module.parameters(), lr=settings.learning_rate, momentum=settings.momentum)
        case Optimizer.ADAM:
            return Adam(module.parameters(), lr=settings.learning_rate)
