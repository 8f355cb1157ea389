"""Weights scaled and clipped: W_new = alpha W, and Clip(W, eps) = min(max(W, -eps), eps)."""

import torch
from torch import Tensor, nn


def scaled(weights: Tensor, alpha: float) -> Tensor:
    return weights * alpha


def clipped(weights: Tensor, eps: float) -> Tensor:
    """Raises ValueError unless eps is positive: nothing would be left."""
    if eps <= 0:
        raise ValueError(f"clipping needs a positive limit, not {eps:g}")
    return weights.clamp(-eps, eps)


def equalized(first: Tensor, bias: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scales each channel of two dense layers with a ReLU between so that both have the same range.

    With s = sqrt(max|first| / max|second|) by channel, first / s and second s answer as before, since
    relu(x / s) s = relu(x), and one scale for a whole layer then fits all channels (Nagel et al. 2019,
    data-free quantization).
    """
    out, into = first.abs().amax(dim=1), second.abs().amax(dim=0)
    scale = torch.where((out > 0) & (into > 0), torch.sqrt(out / into), torch.ones_like(out))
    return first / scale[:, None], bias / scale, second * scale[None, :]


def layers(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """What compression works on: matrices and kernels. Biases and norms are few, and ruin much."""
    return [(name, value) for name, value in network.named_parameters() if value.dim() > 1]
