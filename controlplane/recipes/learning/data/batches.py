"""Batches: who sees which example when, as a function of seed and step alone."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .examples import Examples


def steps_per_epoch(examples: int, batch_examples: int) -> int:
    return -(-examples // batch_examples)


def batch_of_step(step: int, *, examples: int, batch_examples: int, seed: int) -> NDArray[np.int64]:
    """The examples of one step. The batches of an epoch are a fresh shuffle of all examples, each once."""
    epoch, position = divmod(step, steps_per_epoch(examples, batch_examples))
    order = _order(seed, epoch, examples)
    return order[position * batch_examples : (position + 1) * batch_examples]


@lru_cache(maxsize=1)
def _order(seed: int, epoch: int, examples: int) -> NDArray[np.int64]:
    """Kept for the epoch: a shuffle of many examples takes longer than a step."""
    order = np.random.default_rng([seed, epoch]).permutation(examples)
    order.flags.writeable = False
    return order


def share(indices: NDArray[np.int64], *, rank: int, ranks: int) -> NDArray[np.int64]:
    """What one rank takes of a batch; the shares of all ranks are the batch, each example once."""
    return indices[rank::ranks]


def share_of(examples: Examples, *, rank: int, ranks: int) -> Examples:
    return examples.take(share(np.arange(len(examples)), rank=rank, ranks=ranks))


def batches_in_order(examples: Examples, batch_examples: int) -> Iterator[Examples]:
    """All of them, without a shuffle; the last batch may be short."""
    for start in range(0, len(examples), batch_examples):
        yield examples.take(np.arange(start, min(start + batch_examples, len(examples))))


def held_out(examples: int, *, every: int = 5) -> NDArray[np.bool_]:
    """Every fifth example, always the same, for sources whose order says nothing."""
    mask: NDArray[np.bool_] = np.arange(examples) % every == every - 1
    return mask
