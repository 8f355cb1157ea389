"""The digits are divided in a way that leaves each its share, and always the same."""

import numpy as np
import pytest

from controlplane.recipes.learning.data.examples import Examples
from controlplane.recipes.learning.data.images import held_out_mask, load


@pytest.fixture(scope="module")
def halves() -> tuple[Examples, Examples]:
    return load()


def test_the_1797_images_are_divided_into_1442_to_learn_from_and_355_held_out(
    halves: tuple[Examples, Examples],
) -> None:
    training, held_out = halves
    assert (len(training), len(held_out)) == (1442, 355)
    assert training["pixels"].shape == (1442, 1, 8, 8)
    assert (training["pixels"].min(), training["pixels"].max()) == (0.0, 1.0)


def test_each_digit_is_held_out_in_proportion(halves: tuple[Examples, Examples]) -> None:
    training, held_out = (np.bincount(half["labels"]) for half in halves)
    assert np.abs(held_out / (training + held_out) - 0.2).max() < 0.006


def test_what_is_held_out_of_a_digit_does_not_hang_on_the_other_digits() -> None:
    labels = np.array([3, 1, 3, 3, 1, 3, 3, 3, 1])
    assert np.flatnonzero(held_out_mask(labels)).tolist() == [6]
