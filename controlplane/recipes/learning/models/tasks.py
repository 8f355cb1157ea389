"""Tasks: what is learned. A network, the examples it learns from, its loss, and what counts as right."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ..data import images, interactions, text
from ..data.batches import held_out
from ..data.examples import Examples
from . import language, recommender, vision


class TaskName(StrEnum):
    DIGITS = "digits"
    TEXT = "text"
    INTERACTIONS = "interactions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    inputs: tuple[str, ...]
    """Columns that the network takes, in order."""

    target: str
    network: Callable[[Mapping[str, Any]], nn.Module]
    """By the fields of its size; raises TypeError for a field that it has not."""

    load: Callable[[int], tuple[Examples, Examples]]
    """By seed: what to learn from, and what is held out."""

    loss: Callable[[Tensor, Tensor], Tensor]
    """Of the network's output and the target: summed over the examples, in nats."""

    right: Callable[[Tensor, Tensor], Tensor]
    """How many examples are answered rightly; a sentence counts in parts."""

    def tensors(self, examples: Examples, device: torch.device) -> tuple[tuple[Tensor, ...], Tensor]:
        columns = (torch.from_numpy(examples[name]).to(device) for name in (*self.inputs, self.target))
        *inputs, target = columns
        return tuple(inputs), target


def _loss_of_classes(scores: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(scores, labels, reduction="sum")


def _right_classes(scores: Tensor, labels: Tensor) -> Tensor:
    return (scores.argmax(dim=1) == labels).sum()


def _loss_of_characters(scores: Tensor, following: Tensor) -> Tensor:
    """Averaged over the positions of a window, so that it compares with the entropy of a character."""
    return cross_entropy(scores.flatten(0, 1), following.flatten(), reduction="sum") / following.shape[-1]


def _right_characters(scores: Tensor, following: Tensor) -> Tensor:
    return (scores.argmax(dim=-1) == following).sum() / following.shape[-1]


def _loss_of_clicks(scores: Tensor, clicks: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(scores, clicks, reduction="sum")


def _right_clicks(scores: Tensor, clicks: Tensor) -> Tensor:
    return ((scores > 0) == (clicks > 0)).sum()


def _divided(examples: Examples) -> tuple[Examples, Examples]:
    mask = held_out(len(examples))
    return examples.take(np.flatnonzero(~mask)), examples.take(np.flatnonzero(mask))


TASKS: Final[Mapping[TaskName, Task]] = {
    TaskName.DIGITS: Task(
        inputs=("pixels",),
        target="labels",
        network=lambda size: vision.network(vision.VisionSize(**size)),
        load=lambda _: images.load(),
        loss=_loss_of_classes,
        right=_right_classes,
    ),
    TaskName.TEXT: Task(
        inputs=("tokens",),
        target="following",
        network=lambda size: language.network(language.LanguageSize(**size)),
        load=lambda seed: _divided(text.read(seed=seed)),
        loss=_loss_of_characters,
        right=_right_characters,
    ),
    TaskName.INTERACTIONS: Task(
        inputs=("users", "items"),
        target="clicks",
        network=lambda size: recommender.network(recommender.RecommenderSize(**size)),
        load=lambda seed: _divided(interactions.read(seed=seed)),
        loss=_loss_of_clicks,
        right=_right_clicks,
    ),
}
