"""Residency: which part of a rule keeps whom out, and by what name."""

import pytest

from controlplane.domain.residency import Residency, Whereabouts, refusal

LAB = Whereabouts(called="cluster 'lab'", provider="kubernetes", regions=("de", "eu"), cluster="lab")
BURST = Whereabouts(called="cluster 'burst'", provider="aws", regions=("us-east-1",), cluster="burst")
TWO = Whereabouts(
    called="cluster 'two'", provider="aws", regions=(), spread=("eu-west-1", "us-east-1"), cluster="two"
)
BUCKET = Whereabouts(called="store 'raw'", provider="", regions=())


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        (Residency(), BURST),
        (Residency(regions=("eu",)), LAB),
        (Residency(regions=("fr", "de"), providers=("aws", "kubernetes"), clusters=("lab",)), LAB),
        (Residency(clusters=("lab",)), BUCKET),
        (Residency(regions=("us-east-1", "eu-west-1", "eu")), TWO),
    ],
)
def test_what_a_rule_allows_is_allowed(rule: Residency, place: Whereabouts) -> None:
    assert refusal(rule, "the project", place) is None


@pytest.mark.parametrize(
    ("rule", "place", "why"),
    [
        (Residency(regions=("eu",)), BURST, "may only be in 'eu'; cluster 'burst' is in 'us-east-1'"),
        (
            Residency(regions=("eu-west-1",)),
            TWO,
            "may only be in 'eu-west-1'; cluster 'two' is in 'eu-west-1', 'us-east-1'",
        ),
        (Residency(regions=("eu",)), BUCKET, "may only be in 'eu'; store 'raw' is in no known region"),
        (
            Residency(providers=("alibaba",)),
            LAB,
            "may only be with 'alibaba'; cluster 'lab' is with 'kubernetes'",
        ),
        (
            Residency(regions=("eu",), clusters=("on-site",)),
            LAB,
            "may only be on 'on-site', and not on cluster 'lab'",
        ),
    ],
)
def test_the_part_that_limits_is_named(rule: Residency, place: Whereabouts, why: str) -> None:
    assert refusal(rule, "the project", place) == f"the project {why}"
