"""Pruning: weights that hardly matter become zero, or whole channels go.

Zeros alone make a file smaller once it is packed, and nothing faster; fewer channels make both.
"""

import torch
from torch import Tensor, nn

from ..models.vision import VisionSize, layers, network


def above_threshold(weights: Tensor, eps: float) -> Tensor:
    """Each x where |x| >= eps, else 0."""
    return torch.where(weights.abs() >= eps, weights, torch.zeros_like(weights))


def largest(weights: Tensor, sparsity: float) -> Tensor:
    """Without the floor(sparsity n) weights nearest to zero; of equal ones the first go (Han et al. 2015).

    Raises ValueError unless 0 <= sparsity <= 1.
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity is a share from 0 to 1, not {sparsity:g}")
    drop = int(sparsity * weights.numel())
    order = weights.abs().flatten().argsort(stable=True)
    kept = torch.ones_like(weights).flatten()
    kept[order[:drop]] = 0
    return weights * kept.view_as(weights)


def planned_sparsity(step: int, *, steps: int, final: float) -> float:
    """s(t) = s_f (1 - (1 - t/n)^3): much while there is plenty, little at the end (Zhu and Gupta 2017)."""
    gone = min(max(step / steps, 0.0), 1.0)
    return final * (1 - (1 - gone) ** 3)


def zeros(tensors: list[Tensor]) -> float:
    """The share of weights that are zero."""
    total = sum(tensor.numel() for tensor in tensors)
    return sum(int((tensor == 0).sum()) for tensor in tensors) / max(total, 1)


def with_fewer_channels(old: nn.Module, size: VisionSize, share: float) -> tuple[nn.Module, VisionSize]:
    """The digits network without the `share` of channels and hidden units whose weights are smallest.

    By the L1 norm of what makes a channel (Li et al. 2017); what read from it goes as well.
    """
    before = layers(old)
    first, second, hidden = (_strongest(layer.weight, share) for layer in before[:3])
    smaller = VisionSize(first=len(first), second=len(second), hidden=len(hidden), dropout=size.dropout)
    new = network(smaller)
    after = layers(new)
    # Flattened, a channel of the second convolution is a run of neighbouring features.
    run = before.hidden.in_features // size.second
    features = (second[:, None] * run + torch.arange(run)).flatten()
    with torch.no_grad():
        _copy(before.first, after.first, first, torch.arange(1))
        _copy(before.second, after.second, second, first)
        _copy(before.hidden, after.hidden, hidden, features)
        _copy(before.scores, after.scores, torch.arange(before.scores.out_features), hidden)
    return new.eval(), smaller


def _strongest(weights: Tensor, share: float) -> Tensor:
    """Indices of the output channels that stay, ascending; one at least."""
    norms = weights.detach().abs().flatten(1).sum(dim=1)
    stay = max(len(norms) - int(share * len(norms)), 1)
    return norms.argsort(descending=True, stable=True)[:stay].sort().values


def _copy(old: nn.Conv2d | nn.Linear, new: nn.Conv2d | nn.Linear, outputs: Tensor, inputs: Tensor) -> None:
    new.weight.copy_(old.weight[outputs][:, inputs])
    if old.bias is not None and new.bias is not None:
        new.bias.copy_(old.bias[outputs])
