"""Augmentation: images moved and made noisy, the same way whenever the same step is taken again."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .examples import Examples


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    shift_pixels: int = 0
    """Images move by up to so many pixels in each direction; what is uncovered is black."""

    noise: float = 0.0
    """Standard deviation of what is added to each pixel, which stays between 0 and 1."""

    @property
    def does_something(self) -> bool:
        return self.shift_pixels > 0 or self.noise > 0

    def __call__(self, examples: Examples, rng: np.random.Generator) -> Examples:
        pixels = examples["pixels"]
        if self.shift_pixels:
            moves = rng.integers(-self.shift_pixels, self.shift_pixels + 1, size=(len(pixels), 2))
            pixels = np.stack(
                [
                    shifted(image, int(down), int(right))
                    for image, (down, right) in zip(pixels, moves, strict=True)
                ]
            )
        if self.noise:
            noisy = pixels + rng.normal(0.0, self.noise, pixels.shape)
            pixels = noisy.clip(0.0, 1.0).astype(np.float32)
        return Examples(columns={**examples.columns, "pixels": pixels})


def shifted(image: NDArray[np.float32], down: int, right: int) -> NDArray[np.float32]:
    """(channel, row, column), moved; negative moves go up and left."""
    moved = np.zeros_like(image)
    rows, columns = image.shape[-2:]
    moved[..., max(down, 0) : rows + min(down, 0), max(right, 0) : columns + min(right, 0)] = image[
        ..., max(-down, 0) : rows + min(-down, 0), max(-right, 0) : columns + min(-right, 0)
    ]
    return moved
