"""The images: scikit-learn's 1,797 handwritten digits, and who sees which of them when."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

HELD_OUT_EVERY: Final = 5
BRIGHTEST: Final = 16.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    pixels: NDArray[np.float32]
    """(image, channel, row, column), from 0 to 1."""

    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> "Images":
        return Images(pixels=self.pixels[indices], labels=self.labels[indices])


def load() -> tuple[Images, Images]:
    """The images to learn from and those held out: every fifth of each digit, always the same."""
    from sklearn.datasets import load_digits  # seconds to import, and only the driver needs it

    bunch: Any = load_digits()  # untyped by its package
    every = Images(
        pixels=(bunch.images[:, None] / BRIGHTEST).astype(np.float32), labels=bunch.target.astype(np.int64)
    )
    held_out = held_out_mask(every.labels)
    return every.take(np.flatnonzero(~held_out)), every.take(np.flatnonzero(held_out))


def held_out_mask(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        mask[np.flatnonzero(labels == label)[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]] = True
    return mask


def steps_per_epoch(images: int, batch_images: int) -> int:
    return -(-images // batch_images)


def batch_of_step(step: int, *, images: int, batch_images: int, seed: int) -> NDArray[np.int64]:
    """The images of one step. The batches of an epoch are a fresh shuffle of all images, each once."""
    epoch, position = divmod(step, steps_per_epoch(images, batch_images))
    order = np.random.default_rng([seed, epoch]).permutation(images)
    return order[position * batch_images : (position + 1) * batch_images]


def share(indices: NDArray[np.int64], *, rank: int, ranks: int) -> NDArray[np.int64]:
    """What one rank takes of a batch; the shares of all ranks are the batch, each image once."""
    return indices[rank::ranks]
