"""The benchmark of batch inference: what a shard costs while all are at work."""

import pytest

from benchmarks.batch import figure, milliseconds

EVEN = [100.0 + 0.25 * shard for shard in range(200)]


def test_what_a_shard_costs_is_the_time_between_two_answers() -> None:
    assert milliseconds(EVEN) == pytest.approx(250.0)


def test_a_slow_start_does_not_count() -> None:
    assert milliseconds([60.0, *EVEN[1:]]) == pytest.approx(250.0)


def test_a_slow_end_counts() -> None:
    assert milliseconds([*EVEN[:-1], EVEN[-1] + 149]) == pytest.approx(1250.0)


def test_answers_count_in_the_order_in_which_they_were_written() -> None:
    assert milliseconds(EVEN[::-1]) == pytest.approx(250.0)


def test_one_slow_round_does_not_move_the_figure() -> None:
    slow = [9.0 * moment for moment in EVEN]
    twice = [2.0 * moment for moment in EVEN]

    measured = figure({"recipe": [twice, slow, twice], "plain": [EVEN, EVEN, slow]})

    assert (measured.value, measured.reference.value) == pytest.approx((500.0, 250.0))


def test_a_recipe_that_needs_a_quarter_more_than_plain_ray_data_misses_the_aim() -> None:
    slower = {factor: [factor * moment for moment in EVEN] for factor in (1.2, 1.3)}

    met = [figure({"recipe": [slower[factor]], "plain": [EVEN]}).is_met for factor in (1.2, 1.3)]

    assert met == [True, False]
