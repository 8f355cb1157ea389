"""Vision: a convolutional network that reads 8 x 8 digits."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionSize:
    first: int = 32
    """Channels of the first convolution."""

    second: int = 64
    hidden: int = 64
    dropout: float = 0.2


def network(size: VisionSize) -> nn.Sequential:
    """Two convolutions and two dense layers, from 8 x 8 pixels to ten scores.

    No batch norm: its averages would depend on how a batch is divided.
    """
    return nn.Sequential(
        nn.Conv2d(1, size.first, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(size.first, size.second, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(size.second * 4 * 4, size.hidden),
        nn.ReLU(),
        nn.Dropout(size.dropout),
        nn.Linear(size.hidden, 10),
    )


class Layers(NamedTuple):
    """What of the network has weights, in order."""

    first: nn.Conv2d
    second: nn.Conv2d
    hidden: nn.Linear
    scores: nn.Linear


def layers(sequence: nn.Module) -> Layers:
    """Raises TypeError for a network of another kind."""
    match [layer for layer in sequence.children() if isinstance(layer, nn.Conv2d | nn.Linear)]:
        case [nn.Conv2d() as first, nn.Conv2d() as second, nn.Linear() as hidden, nn.Linear() as scores]:
            return Layers(first, second, hidden, scores)
        case others:
            raise TypeError(f"the network of digits has two convolutions and two dense layers, not {others}")
