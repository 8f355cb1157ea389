"""Rollouts: shares rise with replicas or by steps, and go back when too much fails."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.domain.revisions import RevisionState
from controlplane.domain.rollouts import Progress, Step, Verdict, step, wanted_of_good, wanted_of_next
from controlplane.domain.services import ALL_PPM, Rollout, Strategy
from tests.factories import NOON, after, revision

ROLLING = Rollout(
    strategy=Strategy.ROLLING, steps_ppm=(), bake_seconds=60.0, max_error_ppm=50_000, min_requests=20
)
CANARY = replace(ROLLING, strategy=Strategy.CANARY, steps_ppm=(100_000, 500_000, ALL_PPM))
WAIT = Step(verdict=Verdict.WAIT)


def progress(weight_ppm: int = 0, /, *, ready: int = 0, requests: int = 0, errors: int = 0) -> Progress:
    coming = revision(2, state=RevisionState.READY, weight_ppm=weight_ppm, weighed_at=NOON, ready_at=NOON)
    return Progress(revision=coming, ready=ready, requests=requests, errors=errors)


def shift(weight_ppm: int) -> Step:
    return Step(verdict=Verdict.SHIFT, weight_ppm=weight_ppm)


@pytest.mark.parametrize(("ready", "share"), [(1, 250_000), (3, 750_000), (4, ALL_PPM), (9, ALL_PPM)])
def test_rolling_takes_the_share_of_its_replicas(ready: int, share: int) -> None:
    assert step(ROLLING, progress(ready=ready), 4, now=NOON) == shift(share)


def test_rolling_gives_nothing_back_when_it_loses_a_replica() -> None:
    assert step(ROLLING, progress(500_000, ready=1), 4, now=NOON) == WAIT


def test_rolling_of_a_service_that_sleeps_is_over_with_one_replica() -> None:
    assert step(ROLLING, progress(ready=1), 0, now=NOON) == shift(ALL_PPM)


def test_a_canary_takes_its_first_step_at_once_and_each_other_after_a_while() -> None:
    assert step(CANARY, progress(ready=1), 4, now=NOON) == shift(100_000)
    assert step(CANARY, progress(100_000, ready=2), 4, now=after(59)) == WAIT
    assert step(CANARY, progress(100_000, ready=2), 4, now=after(60)) == shift(500_000)


def test_a_canary_takes_no_share_that_it_has_no_replicas_for() -> None:
    assert step(CANARY, progress(100_000, ready=1), 4, now=after(600)) == WAIT
    assert step(CANARY, progress(500_000, ready=3), 4, now=after(600)) == WAIT
    assert step(CANARY, progress(500_000, ready=4), 4, now=after(600)) == shift(ALL_PPM)


@pytest.mark.parametrize("terms", [ROLLING, CANARY])
def test_it_is_done_when_all_of_the_traffic_was_well_for_the_whole_time(terms: Rollout) -> None:
    assert step(terms, progress(ALL_PPM, ready=4), 4, now=after(59)) == WAIT
    assert step(terms, progress(ALL_PPM, ready=4), 4, now=after(60)) == Step(verdict=Verdict.DONE)


@pytest.mark.parametrize("weight", [100_000, ALL_PPM])
def test_errors_take_it_back_at_any_share(weight: int) -> None:
    found = step(CANARY, progress(weight, ready=4, requests=20, errors=2), 4, now=after(600))
    assert found == Step(verdict=Verdict.BACK, reason="2 of 20 requests failed, more than 5.00%")


def test_few_requests_and_few_errors_say_nothing() -> None:
    assert step(CANARY, progress(100_000, ready=1, requests=19, errors=19), 4, now=NOON) == WAIT
    assert step(CANARY, progress(100_000, ready=1, requests=20, errors=1), 4, now=NOON) == WAIT


@pytest.mark.parametrize(
    ("ready", "desired", "wanted"), [(0, 0, 1), (0, 1, 1), (0, 2, 1), (1, 2, 2), (0, 12, 3), (11, 12, 12)]
)
def test_rolling_starts_a_quarter_at_a_time(ready: int, desired: int, wanted: int) -> None:
    assert wanted_of_next(ROLLING, progress(ready=ready), desired) == wanted


@pytest.mark.parametrize(("weight", "wanted"), [(0, 1), (100_000, 5), (500_000, 10), (ALL_PPM, 10)])
def test_a_canary_has_the_replicas_of_its_next_share(weight: int, wanted: int) -> None:
    assert wanted_of_next(CANARY, progress(weight, ready=1), 10) == wanted


@pytest.mark.parametrize(
    ("weight", "desired", "wanted"), [(ALL_PPM, 4, 4), (900_000, 4, 4), (1, 4, 1), (0, 4, 1), (0, 0, 0)]
)
def test_the_good_one_keeps_its_share_and_one_to_fall_back_on(weight: int, desired: int, wanted: int) -> None:
    good: Any = revision(1, state=RevisionState.READY, weight_ppm=weight, ready_at=NOON)
    assert wanted_of_good(good, desired) == wanted
