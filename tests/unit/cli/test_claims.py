"""Bought capacity on the command line, word for word."""

import json

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.sdk.plane import NOW, Plane
from tests.unit.sdk.test_capacity import CLAIM, OFFER

pytestmark = pytest.mark.sockets

FACTS = (
    "id        claim_1\n"
    "cluster   burst\n"
    "state     requested\n"
    "since     2026-03-01 12:00:00Z\n"
    "machines  2 x small (spot)\n"
    "zones     a, b\n"
    "project   all\n"
    "nodes     0\n"
)


def test_a_claim_is_requested(plane: Plane, run: Run) -> None:
    plane.fixed["POST", "/v1/claims"] = (201, CLAIM)
    words = ("--type", "small", "--capacity", "spot", "--zone", "a", "--zone", "b", "-n", "2", "--once")
    assert run("claims", "request", "burst", *words, "--idle-seconds", "60").stdout == FACTS
    body = json.loads(plane.seen[0].body)
    assert (body["zones"], body["machines_min"], body["idle_seconds"], body["tries_again"]) == (
        ["a", "b"],
        2,
        60.0,
        False,
    )


@pytest.mark.parametrize(
    "words",
    [
        ("--type", "small"),
        ("--type", "small", "--zone", "a", "-n", "0"),
        ("--type", "small", "--zone", "a", "--capacity", "owned"),
    ],
)
def test_a_request_that_cannot_be_is_a_usage_error(plane: Plane, run: Run, words: tuple[str, ...]) -> None:
    assert run("claims", "request", "burst", *words).exit_code == 2
    assert plane.seen == []


def test_claims_are_a_table_of_the_living(plane: Plane, run: Run) -> None:
    grown = {**CLAIM, "id": "claim_2", "machines_want": 4, "project": "vision", "problem": "sold out"}
    plane.fixed["GET", "/v1/claims"] = (200, {"items": [CLAIM, grown]})
    assert run("claims", "list", "-c", "burst").stdout == (
        "ID       CLUSTER  TYPE   CAPACITY  MACHINES  PROJECT  STATE      SINCE                 PROBLEM\n"
        "claim_1  burst    small  spot      2         all      requested  2026-03-01 12:00:00Z  -\n"
        "claim_2  burst    small  spot      2..4      vision   requested  2026-03-01 12:00:00Z  sold out\n"
    )
    assert plane.seen[0].query["live"] == ["true"]
    run("claims", "list", "--all")
    assert "live" not in plane.seen[1].query


def test_a_claim_tells_its_launches_its_ray_and_its_machines(plane: Plane, run: Run) -> None:
    launch = {"id": "l", "generation": 1, "ordinal": 1, "zone": "a", "machines": 2, "created_at": NOW}
    machine = {"name": "i-1", "launch_id": "l", "host": "10.0.0.1", "phase": "up", "at": NOW}
    document = {
        **CLAIM,
        "launches": [
            {**launch, "outcome": "refused", "problem": "sold out"},
            {**launch, "ordinal": 2, "zone": "b"},
        ],
        "site": {"url": "https://10.0.0.1:8443", "seen_at": NOW, "members": {}},
        "machines": [machine, {**machine, "name": "i-2", "notice": "spot"}],
    }
    plane.fixed["GET", "/v1/claims/claim_1"] = (200, document)
    shown = run("claims", "get", "claim_1").stdout
    assert shown.splitlines()[8:] == [
        "launch 1.1   2 in a: refused (sold out)",
        "launch 1.2   2 in b: open",
        "ray          https://10.0.0.1:8443, seen 2026-03-01 12:00:00Z",
        "machine i-1  10.0.0.1 up, 2026-03-01 12:00:00Z",
        "machine i-2  10.0.0.1 up, 2026-03-01 12:00:00Z (spot)",
    ]


@pytest.mark.parametrize("verb", ["release", "keep"])
def test_each_verb_asks_for_its_deed_and_shows_the_claim(plane: Plane, run: Run, verb: str) -> None:
    plane.fixed["POST", f"/v1/claims/claim_1/{verb}"] = (200, CLAIM)
    assert run("claims", verb, "claim_1").stdout == FACTS


def test_orphans_are_a_table(plane: Plane, run: Run) -> None:
    orphan = {
        "cluster_id": "cluster_1",
        "cluster": "burst",
        "name": "i-1",
        "zone": "a",
        "claim_id": "claim_0",
        "launch_id": "l",
        "seen_at": NOW,
    }
    plane.fixed["GET", "/v1/orphans"] = (200, {"items": [orphan]})
    assert run("claims", "orphans").stdout == (
        "CLUSTER  MACHINE  ZONE  CLAIM    SEEN\nburst    i-1      a     claim_0  2026-03-01 12:00:00Z\n"
    )


def test_offers_are_a_table_and_prices_that_nobody_checked_have_a_question_mark(
    plane: Plane, run: Run
) -> None:
    dated = {**OFFER, "zone": "b", "is_price_verified": False, "cool_until": None, "price_per_hour": "1.50"}
    free = {**OFFER, "zone": "c", "price_per_hour": None, "currency": None, "cool_until": None}
    plane.fixed["GET", "/v1/offers"] = (200, {"items": [OFFER, dated, free]})
    assert run("offers", "list").stdout == (
        "CLUSTER  TYPE   ZONE  CAPACITY  HOLDS           ACCELERATOR  PER HOUR   REFUSED UNTIL\n"
        "burst    small  a     spot      cpus 4, gpus 1  H200         98.32 USD  2026-03-01 12:00:00Z\n"
        "burst    small  b     spot      cpus 4, gpus 1  H200         1.5 USD?   -\n"
        "burst    small  c     spot      cpus 4, gpus 1  H200         -          -\n"
    )


def test_offers_are_asked_for_again(plane: Plane, run: Run) -> None:
    cluster = {
        "id": "c",
        "name": "burst",
        "adapter": "aws",
        "state": "ready",
        "since": NOW,
        "nodes": 0,
        "version": 1,
    }
    plane.fixed["POST", "/v1/clusters/burst/refresh-offers"] = (
        200,
        {**cluster, "offers_problem": "throttled"},
    )
    assert run("offers", "refresh", "burst").stdout == "cluster  burst\nproblem  throttled\n"
