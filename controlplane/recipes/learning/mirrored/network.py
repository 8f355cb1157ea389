"""The network: two convolutions and two dense layers, from 8 x 8 pixels to ten scores, with momentum beside them."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

SHAPES: Final = {
    "first": (3, 3, 1, 32),
    "second": (3, 3, 32, 64),
    "hidden": (4 * 4 * 64, 64),
    "scores": (64, 10),
}
"""Of the weights, in TensorFlow's order: height, width, channels in, channels out."""


class Network(tf.Module):  # type: ignore[misc] # untyped by its package
    """Weights and their velocities. Build it within the scope of a strategy."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        drawn = np.random.default_rng(seed)
        self.weights = {name: tf.Variable(_drawn(drawn, shape)) for name, shape in SHAPES.items()}
        self.biases = {name: tf.Variable(tf.zeros(shape[-1])) for name, shape in SHAPES.items()}
        self.velocities = {
            name: tf.Variable(tf.zeros_like(each), trainable=False) for name, each in self.named().items()
        }

    def named(self) -> dict[str, Any]:
        """Everything that is learned, by name; always in the same order."""
        return {
            **{f"{name}.weight": each for name, each in self.weights.items()},
            **{f"{name}.bias": each for name, each in self.biases.items()},
        }

    def __call__(self, pixels: Any) -> Any:  # noqa: ANN401 - tensors
        """`pixels`: (image, row, column, 1), from 0 to 1. Returns (image, 10)."""
        shown = tf.nn.relu(tf.nn.conv2d(pixels, self.weights["first"], 1, "SAME") + self.biases["first"])
        shown = tf.nn.relu(tf.nn.conv2d(shown, self.weights["second"], 1, "SAME") + self.biases["second"])
        flat = tf.reshape(tf.nn.max_pool2d(shown, 2, 2, "VALID"), (-1, SHAPES["hidden"][0]))
        hidden = tf.nn.relu(flat @ self.weights["hidden"] + self.biases["hidden"])
        return hidden @ self.weights["scores"] + self.biases["scores"]

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Weights and velocities, to be saved."""
        return {name: np.asarray(each.numpy(), np.float32) for name, each in self._kept().items()}

    def restore(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        for name, each in self._kept().items():
            each.assign(state[name])

    def _kept(self) -> dict[str, Any]:
        velocities = {f"{name}.velocity": each for name, each in self.velocities.items()}
        return self.named() | velocities


def _drawn(drawn: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """He et al. 2015: variance 2 / inputs."""
    inputs = int(np.prod(shape[:-1]))
    return drawn.normal(0.0, (2.0 / inputs) ** 0.5, shape).astype(np.float32)
