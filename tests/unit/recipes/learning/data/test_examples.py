"""Columns belong together, and their hash says what they hold."""

import numpy as np
import pytest

from controlplane.recipes.learning.data.examples import Examples, joined


def examples(*values: float) -> Examples:
    return Examples(columns={"x": np.array(values), "y": np.arange(len(values))})


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="equally long"):
        Examples(columns={"x": np.zeros(2), "y": np.zeros(3)})


def test_taken_rows_stay_together() -> None:
    taken = examples(7, 8, 9).take(np.array([2, 0]))
    assert (taken["x"].tolist(), taken["y"].tolist()) == ([9, 7], [2, 0])


def test_parts_join_to_what_they_were() -> None:
    whole = examples(7, 8, 9)
    parts = (whole.take(np.array([0])), whole.take(np.array([1, 2])))
    assert joined(parts).sha256() == whole.sha256()


@pytest.mark.parametrize(
    "other",
    [
        Examples(columns={"x": np.array([1.0, 2.5])}),
        Examples(columns={"x": np.array([2.0, 1.0])}),
        Examples(columns={"z": np.array([1.0, 2.0])}),
        Examples(columns={"x": np.array([1.0, 2.0], dtype=np.float32)}),
        Examples(columns={"x": np.array([[1.0], [2.0]])}),
    ],
    ids=["number", "order", "name", "type", "shape"],
)
def test_another_content_has_another_hash(other: Examples) -> None:
    assert other.sha256() != Examples(columns={"x": np.array([1.0, 2.0])}).sha256()
