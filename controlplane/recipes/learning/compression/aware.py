"""Quantisation-aware training: the network learns with the rounding that it will get.

Forward, weights and activations are rounded; backward, the gradient passes as if they were not
(straight-through: Bengio et al. 2013, Jacob et al. 2018), zero where a value was clipped.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .weights import layers


class RoundedWeights(nn.Module):
    """Rounds to integers with a scale for each row, as `numbers.integers` does."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self._most = 2 ** (bits - 1) - 1

    def forward(self, weights: Tensor) -> Tensor:
        rows = weights.detach().abs().flatten(1).amax(dim=1)
        scale = (rows / self._most).clamp(min=torch.finfo(weights.dtype).tiny)
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weights, scale, zero, 0, -self._most, self._most)


class RoundedActivations(nn.Module):
    """Rounds what a ReLU lets through to 8 bits, in a range that follows what comes by."""

    highest: Tensor

    def __init__(self, memory: float = 0.9) -> None:
        super().__init__()
        self._memory = memory
        self.register_buffer("highest", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            seen = x.detach().amax()
            known = self.highest > 0
            self.highest = torch.where(known, self._memory * self.highest + (1 - self._memory) * seen, seen)
        scale = float(self.highest.clamp(min=torch.finfo(x.dtype).tiny)) / 255
        return torch.fake_quantize_per_tensor_affine(x, scale, 0, 0, 255)


def rounding(network: nn.Module, bits: int) -> nn.Sequential:
    """The same network, which rounds from now on; `settled` ends that."""
    for name, _ in layers(network):
        layer = network.get_submodule(name.rpartition(".")[0])
        parametrize.register_parametrization(layer, "weight", RoundedWeights(bits))
    return nn.Sequential(
        *(
            nn.Sequential(layer, RoundedActivations()) if isinstance(layer, nn.ReLU) else layer
            for layer in network.children()
        )
    )


def settled(rounded: nn.Sequential) -> nn.Sequential:
    """A plain network whose weights are what the rounded one used."""
    plain = nn.Sequential(
        *(layer[0] if isinstance(layer, nn.Sequential) else layer for layer in rounded.children())
    )
    for layer in plain:
        if parametrize.is_parametrized(layer):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return plain.eval()
