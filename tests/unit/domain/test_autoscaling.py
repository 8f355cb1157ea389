"""Autoscaling: up at once, down after a while, to none when nobody asks."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controlplane.domain.autoscaling import Demand, demand_of, scaled
from controlplane.domain.ids import RevisionId, ServiceId
from controlplane.domain.services import Scaling, Service
from controlplane.domain.traffic import LATENCY_EDGES_MS, Load
from tests.factories import NOON, Fields, after, service

SCALING = Scaling(target_in_flight=4.0, latency_ms=None, stable_seconds=60.0, idle_seconds=300.0)
BUSY = Demand(in_flight=0, waiting=0, last_at=NOON, slow_ms=None)


def load(seconds: float, /, **fields: Fields) -> Load:
    made = Load(
        gateway="gate-1",
        service_id=ServiceId("service-1"),
        revision_id=RevisionId("revision-1"),
        since=after(seconds - 1),
        until=after(seconds),
        in_flight=0,
        waiting=0,
        requests=0,
        errors=0,
        latency_ms=(0,) * (len(LATENCY_EDGES_MS) + 1),
    )
    return replace(made, **fields)


def wanted(start: Service, demand: Demand, *, seconds: float = 0, **fields: Fields) -> Service:
    ready = fields.pop("ready", start.desired)
    return scaled(start, replace(SCALING, **fields), demand, ready=ready, now=after(seconds))


@pytest.mark.parametrize(("in_flight", "desired"), [(0, 1), (4, 1), (5, 2), (17, 5), (1000, 8)])
def test_more_are_wanted_at_once_up_to_the_most(in_flight: int, desired: int) -> None:
    start = service(min_replicas=1, max_replicas=8, desired=1)
    assert wanted(start, replace(BUSY, in_flight=in_flight)).desired == desired


def test_fewer_are_wanted_only_when_they_were_enough_for_the_stable_time_and_then_as_many_as_its_peak() -> (
    None
):
    start = service(min_replicas=1, max_replicas=8, desired=6)
    at_first = wanted(start, replace(BUSY, in_flight=8), seconds=0)
    later = wanted(at_first, replace(BUSY, in_flight=15), seconds=30)
    calm = wanted(later, replace(BUSY, in_flight=1), seconds=59)
    assert [each.desired for each in (at_first, later, calm)] == [6, 6, 6]
    assert wanted(calm, replace(BUSY, in_flight=1), seconds=60).desired == 4


def test_a_new_peak_starts_the_wait_again() -> None:
    start = service(min_replicas=1, max_replicas=8, desired=2)
    lower = wanted(start, replace(BUSY, in_flight=1), seconds=0)
    peak = wanted(lower, replace(BUSY, in_flight=8), seconds=50)
    assert peak.lower_since is None
    assert wanted(peak, replace(BUSY, in_flight=1), seconds=61).desired == 2


def test_a_service_that_nothing_changes_for_is_the_very_same() -> None:
    start = service(min_replicas=1, max_replicas=8, desired=2)
    assert wanted(start, replace(BUSY, in_flight=8)) is start


def test_the_last_one_goes_only_after_the_idle_time() -> None:
    start = service(min_replicas=0, max_replicas=8, desired=1)
    quiet = replace(BUSY, last_at=NOON)
    assert wanted(start, quiet, seconds=300).desired == 1
    lower = wanted(start, quiet, seconds=301)
    assert (lower.desired, wanted(lower, quiet, seconds=361).desired) == (1, 0)


def test_one_who_waits_wakes_it_at_once() -> None:
    asleep = service(min_replicas=0, max_replicas=8, desired=0)
    assert wanted(asleep, replace(BUSY, in_flight=1, waiting=1)).desired == 1
    assert wanted(asleep, replace(BUSY, last_at=None)).desired == 0


def test_latency_asks_for_one_more_and_for_no_second_one_before_that_one_is_there() -> None:
    start = service(min_replicas=1, max_replicas=8, desired=2)
    slow = replace(BUSY, in_flight=2, slow_ms=500)
    assert wanted(start, slow, latency_ms=200).desired == 3
    assert wanted(start, slow, latency_ms=200, ready=1).desired == 2
    assert wanted(start, slow, latency_ms=500).desired == 2
    assert wanted(start, replace(slow, in_flight=0), latency_ms=200).desired == 2


def test_new_bounds_hold_at_once() -> None:
    start = service(min_replicas=3, max_replicas=4, desired=1)
    assert wanted(start, BUSY).desired == 3
    assert wanted(replace(start, desired=9), replace(BUSY, in_flight=99)).desired == 4


def test_demand_is_the_sum_of_what_each_gateway_said_last_and_forgets_those_that_are_silent() -> None:
    loads = [
        load(0, gateway="gone", in_flight=50, waiting=50),
        load(40, in_flight=9),
        load(50, in_flight=3, waiting=1),
        load(50, gateway="gate-2", in_flight=4),
        load(51, revision_id=None, in_flight=2, waiting=2),
    ]
    found = demand_of(loads, NOON, now=after(52))
    assert found == Demand(in_flight=9, waiting=3, last_at=NOON, slow_ms=None)


def test_a_word_from_further_ahead_than_an_old_one_may_be_behind_is_not_of_now() -> None:
    ahead = [load(16, gateway="fast", in_flight=50, waiting=50), load(15, in_flight=3)]
    assert demand_of(ahead, None, now=NOON).in_flight == 3
    behind = [load(-16, gateway="slow", in_flight=50, waiting=50), load(-15, in_flight=3)]
    assert demand_of(behind, None, now=NOON).in_flight == 3


def test_the_slow_latency_is_the_edge_within_which_nine_of_ten_end() -> None:
    nine_fast = (9, *[0] * 6, 1, *[0] * 7)
    assert demand_of([load(0, latency_ms=nine_fast)], None, now=NOON).slow_ms == 1
    eight_fast = (8, *[0] * 6, 2, *[0] * 7)
    assert demand_of([load(0, latency_ms=eight_fast)], None, now=NOON).slow_ms == 200
    endless = (*[0] * 14, 3)
    assert demand_of([load(0, latency_ms=endless)], None, now=NOON + timedelta(0)).slow_ms == 60_000
