"""Sources: the three kinds of examples, and what is known of each before it is cleaned and divided."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from . import images, interactions, text
from .examples import Examples


class Source(StrEnum):
    DIGITS = "digits"
    TEXT = "text"
    INTERACTIONS = "interactions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    read: Callable[[int], Examples]
    """All examples, by seed."""

    label: str
    classes: int | None
    repeats_are_noise: bool
    """False where the same example may truly occur twice."""

    strata: Callable[[Examples], NDArray[np.int64]]


def facts(source: Source) -> Facts:
    match source:
        case Source.DIGITS:
            return Facts(
                read=lambda _: images.read(),
                label="labels",
                classes=10,
                repeats_are_noise=True,
                strata=lambda examples: examples["labels"],
            )
        case Source.TEXT:
            return Facts(
                read=lambda seed: text.read(seed=seed),
                label="following",
                classes=None,
                repeats_are_noise=False,
                strata=lambda examples: np.zeros(len(examples), dtype=np.int64),
            )
        case Source.INTERACTIONS:
            return Facts(
                read=lambda seed: interactions.read(seed=seed),
                label="clicks",
                classes=2,
                repeats_are_noise=False,
                strata=lambda examples: examples["clicks"].astype(np.int64),
            )
