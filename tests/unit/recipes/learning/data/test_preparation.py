"""What is unfit goes, what is left is divided, and augmentation moves what it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.recipes.learning.data.augmentation import Augmentation, shifted
from controlplane.recipes.learning.data.cleaning import Removed, clean
from controlplane.recipes.learning.data.examples import Examples
from controlplane.recipes.learning.data.splits import SHARES, counts, split


def dirty() -> Examples:
    return Examples(
        columns={
            "pixels": np.array(
                [[1.0, 2.0], [np.nan, 0.0], [1.0, 2.0], [3.0, np.inf], [4.0, 4.0], [1.0, 2.0]]
            ),
            "labels": np.array([0, 0, 0, 99, 10, 1]),
        }
    )


def test_what_is_not_finite_astray_or_repeated_goes_and_is_counted_once() -> None:
    kept, removed = clean(dirty(), label="labels", classes=10, drop_repeated=True)
    assert kept["pixels"].tolist() == [[1.0, 2.0], [1.0, 2.0]]
    assert kept["labels"].tolist() == [0, 1]
    assert removed == Removed(not_finite=2, label_out_of_range=1, repeated=1)


def test_repeats_stay_where_the_same_may_truly_occur_twice() -> None:
    kept, removed = clean(dirty(), label="labels", classes=None, drop_repeated=False)
    assert (len(kept), removed) == (4, Removed(not_finite=2))


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_the_splits_are_all_examples_each_once_and_in_each_stratum_in_proportion(
    sizes: list[int], seed: int
) -> None:
    strata = np.repeat(np.arange(len(sizes)), sizes)
    found = split(strata, shares=SHARES, seed=seed)
    assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(len(strata)))
    for stratum, size in enumerate(sizes):
        divided = tuple(int((strata[indices] == stratum).sum()) for indices in found.values())
        assert divided == counts(size, tuple(SHARES.values()))


def test_the_same_seed_splits_alike_and_another_one_differently() -> None:
    strata = np.zeros(50, dtype=np.int64)
    train = [split(strata, shares=SHARES, seed=seed)["train"].tolist() for seed in (0, 0, 1)]
    assert train[0] == train[1] != train[2]


def test_whole_numbers_are_rounded_by_largest_remainder() -> None:
    assert counts(10, (0.8, 0.1, 0.1)) == (8, 1, 1)
    assert counts(7, (0.8, 0.1, 0.1)) == (5, 1, 1)
    assert counts(2, (0.5, 0.25, 0.25)) == (1, 1, 0)


def test_shares_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match=r"add up to 1, not to 0\.9"):
        split(np.zeros(3, dtype=np.int64), shares={"train": 0.9}, seed=0)


def test_a_shifted_image_moves_and_leaves_black_behind() -> None:
    image = np.arange(1, 10, dtype=np.float32).reshape(1, 3, 3)
    assert shifted(image, 1, -1).tolist() == [[[0, 0, 0], [2, 3, 0], [5, 6, 0]]]
    assert shifted(image, 0, 0).tolist() == image.tolist()


def test_augmented_images_keep_their_labels_and_their_range_and_come_out_alike_again() -> None:
    images = Examples(columns={"pixels": np.ones((4, 1, 8, 8), dtype=np.float32), "labels": np.arange(4)})
    change = Augmentation(shift_pixels=1, noise=0.2)
    first, second = (change(images, np.random.default_rng(5)) for _ in range(2))
    assert first.sha256() == second.sha256() != images.sha256()
    assert first["labels"].tolist() == [0, 1, 2, 3]
    assert (first["pixels"].min(), first["pixels"].max()) == (0.0, 1.0)
    assert first["pixels"].dtype == np.float32
