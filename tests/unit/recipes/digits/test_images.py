"""Every image is seen once an epoch, by one rank, and those held out never."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.recipes.digits.images import (
    Images,
    batch_of_step,
    held_out_mask,
    load,
    share,
    steps_per_epoch,
)


@pytest.fixture(scope="module")
def halves() -> tuple[Images, Images]:
    return load()


def test_the_1797_images_are_divided_into_1442_to_learn_from_and_355_held_out(
    halves: tuple[Images, Images],
) -> None:
    training, held_out = halves
    assert (len(training), len(held_out)) == (1442, 355)
    assert training.pixels.shape == (1442, 1, 8, 8)
    assert (training.pixels.min(), training.pixels.max()) == (0.0, 1.0)


def test_each_digit_is_held_out_in_proportion(halves: tuple[Images, Images]) -> None:
    training, held_out = (np.bincount(half.labels) for half in halves)
    assert np.abs(held_out / (training + held_out) - 0.2).max() < 0.006


def test_what_is_held_out_of_a_digit_does_not_hang_on_the_other_digits() -> None:
    labels = np.array([3, 1, 3, 3, 1, 3, 3, 3, 1])
    assert np.flatnonzero(held_out_mask(labels)).tolist() == [6]


@given(
    images=st.integers(1, 200),
    batch_images=st.integers(1, 64),
    epoch=st.integers(0, 5),
    seed=st.integers(0, 9),
)
@settings(max_examples=50, deadline=None)
def test_the_batches_of_an_epoch_are_all_images_each_once(
    images: int, batch_images: int, epoch: int, seed: int
) -> None:
    per_epoch = steps_per_epoch(images, batch_images)
    steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
    batches = [batch_of_step(step, images=images, batch_images=batch_images, seed=seed) for step in steps]
    assert sorted(np.concatenate(batches).tolist()) == list(range(images))


@given(images=st.integers(0, 100), ranks=st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_the_shares_of_all_ranks_are_the_batch_each_image_once(images: int, ranks: int) -> None:
    batch = np.arange(100, 100 + images)
    shares = [share(batch, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert sorted(np.concatenate(shares).tolist()) == batch.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_epochs_and_seeds_shuffle_differently_and_the_same_step_always_alike() -> None:
    def order(step: int, seed: int) -> list[int]:
        return list(batch_of_step(step, images=50, batch_images=50, seed=seed))

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(1, 0)
    assert order(0, 0) != order(0, 1)
