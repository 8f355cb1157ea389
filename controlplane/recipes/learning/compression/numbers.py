"""Numbers with fewer bits: fixed point, and integers with a scale."""

from dataclasses import dataclass

import torch
from torch import Tensor


def fixed_point(weights: Tensor, fraction_bits: int) -> Tensor:
    """round(W 2^p) 2^-p; halves go to the even neighbour."""
    return torch.round(weights * 2.0**fraction_bits) * 2.0**-fraction_bits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Integers:
    """W is about values x scale, with one scale for each row of the first axis, and zero at zero."""

    values: Tensor
    scale: Tensor

    def weights(self) -> Tensor:
        return self.values * self.scale


def integers(weights: Tensor, bits: int) -> Integers:
    """Rounds W / s, with s = max|W| / (2^(bits-1) - 1) by row (Jacob et al. 2018, symmetric form).

    Raises ValueError for fewer than 2 bits: nothing but zero would be left.
    """
    if bits < 2:  # noqa: PLR2004 - a sign and a digit
        raise ValueError(f"integers need 2 bits at least, not {bits}")
    most = 2 ** (bits - 1) - 1
    rows = weights.abs().flatten(1).amax(dim=1).clamp(min=torch.finfo(weights.dtype).tiny)
    scale = (rows / most).reshape(-1, *[1] * (weights.dim() - 1))
    return Integers(values=torch.round(weights / scale).clamp(-most, most), scale=scale)
