"""Every example is seen once an epoch, by one rank, and those held out never."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.recipes.learning.data.batches import (
    batch_of_step,
    batches_in_order,
    held_out,
    share,
    steps_per_epoch,
)
from controlplane.recipes.learning.data.examples import Examples


@given(
    examples=st.integers(1, 200),
    batch_examples=st.integers(1, 64),
    epoch=st.integers(0, 5),
    seed=st.integers(0, 9),
)
@settings(max_examples=50, deadline=None)
def test_the_batches_of_an_epoch_are_all_examples_each_once(
    examples: int, batch_examples: int, epoch: int, seed: int
) -> None:
    per_epoch = steps_per_epoch(examples, batch_examples)
    steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
    batches = [
        batch_of_step(step, examples=examples, batch_examples=batch_examples, seed=seed) for step in steps
    ]
    assert sorted(np.concatenate(batches).tolist()) == list(range(examples))


@given(examples=st.integers(0, 100), ranks=st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_the_shares_of_all_ranks_are_the_batch_each_example_once(examples: int, ranks: int) -> None:
    batch = np.arange(100, 100 + examples)
    shares = [share(batch, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert sorted(np.concatenate(shares).tolist()) == batch.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_epochs_and_seeds_shuffle_differently_and_the_same_step_always_alike() -> None:
    def order(step: int, seed: int) -> list[int]:
        return list(batch_of_step(step, examples=50, batch_examples=50, seed=seed))

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(1, 0)
    assert order(0, 0) != order(0, 1)


def test_every_fifth_is_held_out() -> None:
    assert np.flatnonzero(held_out(12)).tolist() == [4, 9]


def test_in_order_the_last_batch_may_be_short() -> None:
    examples = Examples(columns={"x": np.arange(5)})
    assert [batch["x"].tolist() for batch in batches_in_order(examples, 2)] == [[0, 1], [2, 3], [4]]
