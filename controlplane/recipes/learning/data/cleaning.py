"""Cleaning: what is taken out of examples before anything learns from them, and how much of it there was."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .examples import Column, Examples


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """How many examples went, each counted under the first reason that held."""

    not_finite: int = 0
    label_out_of_range: int = 0
    repeated: int = 0


def clean(
    examples: Examples, *, label: str, classes: int | None, drop_repeated: bool
) -> tuple[Examples, Removed]:
    """Takes out what holds NaN or infinity, what has a label outside 0 to `classes` - 1, and what came before.

    Of equal examples the first stays. `classes` None leaves labels alone.
    """
    not_finite = ~_finite(examples)
    astray = np.zeros(len(examples), dtype=np.bool_)
    if classes is not None:
        astray = ((examples[label] < 0) | (examples[label] >= classes)) & ~not_finite
    sound = np.flatnonzero(~(not_finite | astray))
    kept = _first_of_each(examples, sound) if drop_repeated else sound
    removed = Removed(
        not_finite=int(not_finite.sum()),
        label_out_of_range=int(astray.sum()),
        repeated=len(sound) - len(kept),
    )
    return examples.take(kept), removed


def _finite(examples: Examples) -> NDArray[np.bool_]:
    finite = np.ones(len(examples), dtype=np.bool_)
    for column in examples.columns.values():
        if np.issubdtype(column.dtype, np.floating):
            finite &= np.isfinite(_flat(column)).all(axis=1)
    return finite


def _first_of_each(examples: Examples, sound: NDArray[np.int64]) -> NDArray[np.int64]:
    flat = [_flat(examples[name][sound]) for name in sorted(examples.columns)]
    rows = np.concatenate([column.astype(np.float64) for column in flat], axis=1)
    _, first = np.unique(rows, axis=0, return_index=True)
    return sound[np.sort(first)]


def _flat(column: Column) -> Column:
    return column.reshape(len(column), -1)
