"""Splits: which examples teach, which choose, and which judge."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

SHARES: Final[Mapping[str, float]] = {"train": 0.8, "validation": 0.1, "test": 0.1}


def split(
    strata: NDArray[np.int64], *, shares: Mapping[str, float], seed: int
) -> dict[str, NDArray[np.int64]]:
    """Indices by name of split, ascending; together they are all examples, each once.

    Every stratum is shuffled and divided for itself, so that rare labels are in each split. Raises
    ValueError unless the shares add up to 1.
    """
    total = sum(shares.values())
    if abs(total - 1.0) > 1e-9 or min(shares.values()) < 0:  # noqa: PLR2004 - rounding of a few additions
        raise ValueError(f"shares must be positive and add up to 1, not to {total:g}: {dict(shares)}")
    found: dict[str, list[NDArray[np.int64]]] = {name: [] for name in shares}
    rng = np.random.default_rng([seed, 4])
    for stratum in np.unique(strata):
        members = rng.permutation(np.flatnonzero(strata == stratum))
        ends = np.cumsum(counts(len(members), tuple(shares.values())))[:-1]
        for name, part in zip(shares, np.split(members, ends), strict=True):
            found[name].append(part)
    return {name: np.sort(np.concatenate(parts)) for name, parts in found.items()}


def counts(total: int, shares: tuple[float, ...]) -> tuple[int, ...]:
    """Whole numbers that add up to `total`, by largest remainder; of equal remainders the first one rounds up."""
    exact = [total * share for share in shares]
    down = [int(value + 1e-9) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda index: (down[index] - exact[index], index))
    for index in by_remainder[: total - sum(down)]:
        down[index] += 1
    return tuple(down)
