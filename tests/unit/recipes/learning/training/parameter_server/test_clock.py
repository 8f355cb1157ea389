"""No rank runs further ahead than the bound, and all end with equally many steps."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.recipes.learning.training.parameter_server.clock import Clock


def test_without_staleness_a_rank_waits_until_all_have_done_the_step() -> None:
    clock = Clock(ranks=2, staleness=0)
    clock.begin(0)
    assert clock.finish(0) == 0
    assert (clock.may_begin(0), clock.may_begin(1)) == (False, True)
    clock.begin(1)
    clock.finish(1)
    assert clock.may_begin(0)


def test_with_a_bound_of_two_the_third_step_ahead_must_wait() -> None:
    clock = Clock(ranks=2, staleness=2)
    for _ in range(3):
        clock.begin(0)
        clock.finish(0)
    assert not clock.may_begin(0)
    with pytest.raises(ValueError, match="rank 0 leads by 3 steps, the bound is 2"):
        clock.begin(0)
    assert clock.widest_lead == 2


@given(
    ranks=st.integers(1, 4),
    staleness=st.integers(0, 3),
    turns=st.lists(st.integers(0, 3), max_size=60),
    end_at=st.integers(0, 60),
)
@settings(max_examples=100, deadline=None)
def test_whatever_the_order_the_lead_keeps_to_the_bound_and_all_end_alike(
    ranks: int, staleness: int, turns: list[int], end_at: int
) -> None:
    clock, done, busy = Clock(ranks=ranks, staleness=staleness), [0] * ranks, set[int]()

    def turn(rank: int) -> bool:
        """A rank that is at work finishes; another begins if it may."""
        if rank in busy:
            busy.discard(rank)
            clock.finish(rank)
            done[rank] += 1
            return True
        if clock.is_over_for(rank) or not clock.may_begin(rank):
            return False
        clock.begin(rank)
        busy.add(rank)
        return True

    for number, rank in enumerate(turns):
        if number == end_at:
            clock.end()
        turn(rank % ranks)
    clock.end()
    while True in {turn(rank) for rank in range(ranks)}:
        pass
    assert len(set(done)) == 1
    assert clock.widest_lead <= staleness
