"""Ranks: who of how many this process is, and sums over all of them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    number: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.number == 0

    def seed(self, value: int) -> None:
        """What is random from here on, on this rank's device alone.

        `torch.manual_seed` also tells accelerators that are not there, and writes down who called: that takes as long
        as the step of a small model.
        """
        torch.default_generator.manual_seed(value)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(value)

    def sum(self, *values: float) -> list[float]:
        """Each value added up over all ranks, which must all ask."""
        totals = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.count > 1:
            distributed.all_reduce(totals)
        return [float(total) for total in totals]

    def gathered(self, value: Any) -> list[Any]:  # noqa: ANN401 - whatever is pickled
        """By rank, on the first; empty on the others."""
        if self.count == 1:
            return [value]
        gathered = [None] * self.count if self.is_first else None
        distributed.gather_object(value, gathered)
        return gathered or []

    def agreed(self, value: Any) -> Any:  # noqa: ANN401 - whatever is pickled
        """What the first rank says."""
        if self.count == 1:
            return value
        said = [value]
        distributed.broadcast_object_list(said)
        return said[0]
