"""Budgets: a burst goes at once, then calls come at the rate; a busy cloud is left alone by all."""

from datetime import UTC, datetime, timedelta

from controlplane.runtime.budgets import NO_WAIT, Budgets

START = datetime(2026, 1, 1, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_a_burst_goes_at_once_and_the_next_call_waits_for_its_token() -> None:
    budgets = Budgets(calls_per_second=2, burst=3)
    assert [budgets.take("aws", START) for _ in range(3)] == [NO_WAIT] * 3
    assert budgets.take("aws", START) == timedelta(seconds=0.5)
    assert budgets.take("aws", after(0.5)) == NO_WAIT
    assert budgets.take("aws", after(0.5)) > NO_WAIT


def test_a_rested_bucket_holds_no_more_than_the_burst() -> None:
    budgets = Budgets(calls_per_second=100, burst=2)
    budgets.take("aws", START)
    taken = [budgets.take("aws", after(3600)) for _ in range(3)]
    assert taken[:2] == [NO_WAIT] * 2
    assert taken[2] > NO_WAIT


def test_clusters_have_budgets_of_their_own() -> None:
    budgets = Budgets(calls_per_second=1, burst=1)
    assert (budgets.take("aws", START), budgets.take("lab", START)) == (NO_WAIT, NO_WAIT)


def test_a_busy_cloud_is_left_alone_for_as_long_as_it_asked() -> None:
    budgets = Budgets(calls_per_second=1, burst=5)
    budgets.take("aws", START)
    budgets.rest("aws", after(30))
    budgets.rest("aws", after(10))
    assert budgets.take("aws", after(1)) == timedelta(seconds=29)
    assert budgets.take("aws", after(30)) == NO_WAIT


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    budgets = Budgets(calls_per_second=1, burst=1)
    budgets.take("aws", after(10))
    assert budgets.take("aws", START) > NO_WAIT
    assert budgets.take("aws", after(10.5)) > NO_WAIT
