"""Interactions: who clicked on what, drawn from known tastes, so that the best possible loss is known."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .examples import Examples

USERS: Final = 60
ITEMS: Final = 40
TASTES: Final = 3
SHARPNESS: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tastes:
    """Each user's and each item's place in a space of tastes; nearness makes clicks likely."""

    users: NDArray[np.float64]
    items: NDArray[np.float64]

    def click_probability(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float64]:
        nearness = (self.users[users] * self.items[items]).sum(axis=1)
        probability: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-SHARPNESS * nearness))
        return probability


def tastes(seed: int) -> Tastes:
    rng = np.random.default_rng([seed, 2])
    scale = TASTES**-0.25
    return Tastes(
        users=rng.normal(0.0, scale, (USERS, TASTES)), items=rng.normal(0.0, scale, (ITEMS, TASTES))
    )


def read(*, pairs: int = 8192, seed: int = 0) -> Examples:
    """`users`, `items` and whether they clicked: `clicks`, 0 or 1."""
    rng = np.random.default_rng([seed, 3])
    users, items = rng.integers(USERS, size=pairs), rng.integers(ITEMS, size=pairs)
    clicks = rng.random(pairs) < tastes(seed).click_probability(users, items)
    return Examples(columns={"users": users, "items": items, "clicks": clicks.astype(np.float32)})


def nats_per_pair(examples: Examples, *, seed: int) -> float:
    """The mean entropy of a click: what knowing all tastes would leave as loss."""
    likely = tastes(seed).click_probability(examples["users"], examples["items"])
    return float(-(likely * np.log(likely) + (1 - likely) * np.log1p(-likely)).mean())
