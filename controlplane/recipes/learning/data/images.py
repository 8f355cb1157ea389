"""The images: scikit-learn's 1,797 handwritten digits, and which of them are held out."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .examples import Examples

HELD_OUT_EVERY: Final = 5
SIDE: Final = 8
"""Pixels of a row, and of a column."""

BRIGHTEST: Final = 16.0


def load() -> tuple[Examples, Examples]:
    """The images to learn from and those held out: every fifth of each digit, always the same."""
    every = read()
    held_out = held_out_mask(every["labels"])
    return every.take(np.flatnonzero(~held_out)), every.take(np.flatnonzero(held_out))


def read() -> Examples:
    """All of them: `pixels` (image, channel, row, column) from 0 to 1, and `labels`."""
    from sklearn.datasets import load_digits  # seconds to import, and only the driver needs it

    bunch: Any = load_digits()  # untyped by its package
    pixels = (bunch.images[:, None] / BRIGHTEST).astype(np.float32)
    return Examples(columns={"pixels": pixels, "labels": bunch.target.astype(np.int64)})


def held_out_mask(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        mask[np.flatnonzero(labels == label)[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]] = True
    return mask
