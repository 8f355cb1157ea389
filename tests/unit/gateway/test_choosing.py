"""Who answers a request: revisions by weight, replicas by load, and those that are left out for a while."""

import random
from math import sqrt

from controlplane.domain.ids import AttemptId
from controlplane.gateway.choosing import ALL_PPM, least_outstanding, revision_for
from controlplane.gateway.outliers import (
    FIRST_EJECTION_SECONDS,
    FIRST_REFUSAL_SECONDS,
    LONGEST_EJECTION_SECONDS,
    MOST_IN_A_ROW,
    Outliers,
)
from tests.unit.gateway.stage import backend, revision

A, B, C = backend("a"), backend("b"), backend("c")


def test_a_canary_gets_its_share_within_four_deviations() -> None:
    stable, canary = revision(1, A, weight_ppm=950_000), revision(2, B, weight_ppm=50_000)
    chance, draws = random.Random(7), 20_000
    chosen = [revision_for([stable, canary], chance.randrange(ALL_PPM)) for _ in range(draws)]
    hits = sum(each is canary for each in chosen)
    assert abs(hits - 0.05 * draws) <= 4 * sqrt(draws * 0.05 * 0.95)
    assert set(map(id, chosen)) == {id(stable), id(canary)}


def test_weights_end_exactly_where_they_should() -> None:
    revisions = [revision(1, A, weight_ppm=1), revision(2, B, weight_ppm=999_999)]
    numbers = [chosen.number for draw in (0, 1, 999_999) if (chosen := revision_for(revisions, draw))]
    assert numbers == [1, 2, 2]


def test_who_is_left_out_hands_its_share_on() -> None:
    canary = revision(2, B, weight_ppm=50_000)
    assert {revision_for([canary], draw) for draw in (0, 500_000, 999_999)} == {canary}
    assert revision_for([], 3) is None
    assert revision_for([revision(1, A, weight_ppm=0)], 3) is None


def test_the_replica_with_the_fewest_requests_is_asked_and_equals_take_turns() -> None:
    def asked(turn: int, **outstanding: int) -> str | None:
        counts = {AttemptId(name): count for name, count in outstanding.items()}
        found = least_outstanding([A, B, C], counts, concurrency=3, turn=turn)
        return None if found is None else found.attempt_id

    assert [asked(turn) for turn in range(4)] == ["a", "b", "c", "a"]
    assert asked(0, a=2, b=1, c=2) == "b"
    assert asked(1, a=0, b=3, c=1) == "a"
    assert asked(0, a=3, b=3, c=3) is None
    assert least_outstanding([], {}, concurrency=1, turn=5) is None


def fail(outliers: Outliers, name: str, times: int, now: float) -> None:
    for _ in range(times):
        outliers.failed(AttemptId(name), now)


def test_a_replica_that_keeps_failing_is_ejected_for_a_time_that_grows() -> None:
    outliers = Outliers()
    fail(outliers, "a", MOST_IN_A_ROW - 1, 0)
    assert outliers.usable([A, B], 0) == (A, B)
    fail(outliers, "a", 1, 0)
    assert outliers.usable([A, B], FIRST_EJECTION_SECONDS - 0.1) == (B,)
    assert outliers.usable([A, B], FIRST_EJECTION_SECONDS) == (A, B)
    fail(outliers, "a", 1, FIRST_EJECTION_SECONDS)
    assert outliers.usable([A, B], 3 * FIRST_EJECTION_SECONDS - 0.1) == (B,), "on trial, once was enough"
    now = 0.0
    for _ in range(20):
        now += 2 * LONGEST_EJECTION_SECONDS
        fail(outliers, "a", 1, now)
    assert outliers.usable([A, B], now + LONGEST_EJECTION_SECONDS) == (A, B)


def test_a_good_answer_in_between_is_no_row() -> None:
    outliers = Outliers()
    for _ in range(3):
        fail(outliers, "a", MOST_IN_A_ROW - 1, 0)
        outliers.succeeded(AttemptId("a"))
    assert outliers.usable([A, B], 0) == (A, B)


def test_at_most_half_are_ejected_and_never_the_last() -> None:
    outliers = Outliers()
    for moment, name in enumerate("abc"):
        fail(outliers, name, MOST_IN_A_ROW, moment)
    assert outliers.usable([A, B, C], 2) == (A, B), "the first to come back are let in"
    assert outliers.usable([A], 2) == (A,)


def test_who_refuses_connections_or_leaves_is_left_out_even_if_nobody_is_left() -> None:
    outliers = Outliers()
    outliers.refused(AttemptId("a"), 0)
    outliers.leaves(AttemptId("b"))
    assert outliers.usable([A, B], 0) == ()
    assert outliers.usable([A, B], FIRST_REFUSAL_SECONDS) == (A,)
    outliers.forget_but([AttemptId("a")])
    assert outliers.usable([B], 0) == (B,)
