"""What bounds requests: rates, the budget of retries, and what is told of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controlplane.domain.errors import Invalid
from controlplane.domain.ids import RevisionId, ServiceId
from controlplane.domain.traffic import LATENCY_EDGES_MS, Load
from controlplane.gateway.calls import timeout_of
from controlplane.gateway.loads import BUCKETS, Loads, bucket_of
from controlplane.gateway.rates import MOST_CALLERS, Rates
from controlplane.gateway.retries import MOST_PAID, RESERVE, Budget, Mishap, is_idempotent, may_repeat

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SERVICE, REVISION = ServiceId("s"), RevisionId("r")


def test_a_bucket_holds_a_second_and_refills_all_the_time() -> None:
    rates = Rates()
    assert [rates.wait_seconds("a", 4, 0) for _ in range(5)] == [0, 0, 0, 0, 0.25]
    assert rates.wait_seconds("b", 4, 0) == 0
    assert rates.wait_seconds("a", 4, 0.25) == 0
    assert rates.wait_seconds("slow", 0.5, 0) == 0
    assert rates.wait_seconds("slow", 0.5, 1) == 1


def test_callers_that_are_remembered_have_a_bound() -> None:
    rates = Rates()
    for number in range(MOST_CALLERS + 50):
        rates.wait_seconds(str(number), 1, number / 1000)
    assert len(rates._buckets) <= MOST_CALLERS


def test_the_budget_gives_one_retry_for_five_requests() -> None:
    budget = Budget()
    assert sum(budget.take() for _ in range(20)) == RESERVE
    for _ in range(10):
        budget.note_request()
    assert sum(budget.take() for _ in range(20)) in {1, 2}


@pytest.mark.parametrize(
    ("mishap", "is_idempotent", "is_whole", "paid", "expected"),
    [
        (Mishap.REFUSED, False, True, MOST_PAID, True),
        (Mishap.LEAVING, False, True, MOST_PAID, True),
        (Mishap.REFUSED, True, False, 0, False),
        (Mishap.BROKEN, False, True, 0, False),
        (Mishap.BROKEN, True, True, 0, True),
        (Mishap.FAILED, True, True, MOST_PAID, False),
        (Mishap.LATE, True, True, 0, False),
    ],
)
def test_what_may_be_repeated(
    *, mishap: Mishap, is_idempotent: bool, is_whole: bool, paid: int, expected: bool
) -> None:
    found = may_repeat(mishap, is_idempotent=is_idempotent, is_whole=is_whole, paid=paid, budget=Budget())
    assert found is expected


def test_inferences_and_what_has_a_key_are_idempotent() -> None:
    assert is_idempotent("POST", "/v2/models/digits/infer", has_key=False)
    assert is_idempotent("POST", "/anything", has_key=True)
    assert is_idempotent("GET", "/anything", has_key=False)
    assert not is_idempotent("POST", "/v1/completions", has_key=False)


@pytest.mark.parametrize("text", ["0", "-1", "6", "nan", "inf", "soon", ""])
def test_a_timeout_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        timeout_of(text, 5.0)


def test_an_edge_belongs_to_the_bucket_below_it() -> None:
    assert [bucket_of(each) for each in (0.0, 1.0, 1.1, 30_000.0, 30_001.0)] == [0, 0, 1, 13, 14]
    assert len(LATENCY_EDGES_MS) + 1 == BUCKETS == 15


def test_what_ended_is_told_once_and_rest_is_told_once() -> None:
    loads = Loads("g", since=NOW)
    loads.tally(SERVICE, REVISION).in_flight = 2
    loads.ended(SERVICE, REVISION, took_ms=3, is_error=True)
    first = loads.drain(NOW + timedelta(seconds=1))
    buckets = [0] * BUCKETS
    buckets[2] = 1
    expected = Load(
        gateway="g",
        service_id=SERVICE,
        revision_id=REVISION,
        since=NOW,
        until=NOW + timedelta(seconds=1),
        in_flight=2,
        waiting=0,
        requests=1,
        errors=1,
        latency_ms=tuple(buckets),
    )
    assert first == (expected,)
    loads.tally(SERVICE, REVISION).in_flight = 0
    at_rest = replace(
        expected,
        since=expected.until,
        until=NOW + timedelta(seconds=2),
        in_flight=0,
        requests=0,
        errors=0,
        latency_ms=(0,) * BUCKETS,
    )
    assert loads.drain(NOW + timedelta(seconds=2)) == (at_rest,)
    assert loads.drain(NOW + timedelta(seconds=3)) == ()
