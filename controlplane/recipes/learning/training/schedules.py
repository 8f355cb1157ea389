"""Schedules: what the learning rate does from step to step."""

import math
from enum import StrEnum
from typing import Final

DROPS: Final = 3
DROP: Final = 0.1


class Schedule(StrEnum):
    """What the learning rate does after its warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"
    STEPPED = "stepped"
    """A tenth of what it was, each time another third of the steps is done."""


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
        case Schedule.STEPPED:
            return float(DROP ** int(gone * DROPS))
