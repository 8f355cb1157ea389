"""The client's words about bought capacity."""

import json
from decimal import Decimal

import pytest

from controlplane.sdk import Client, Invalid
from tests.unit.sdk.plane import NOW, Plane, Vice

pytestmark = pytest.mark.sockets

CLAIM = {
    "id": "claim_1",
    "cluster_id": "cluster_1",
    "cluster": "burst",
    "machine_type": "small",
    "capacity_type": "spot",
    "zones": ["a", "b"],
    "machines_min": 2,
    "machines_want": 2,
    "state": "requested",
    "since": NOW,
    "created_at": NOW,
    "generation": 0,
    "version": 1,
    "nodes": 0,
    "launches": [],
}


def test_a_claim_is_requested_with_what_was_said_and_nothing_else(client: Client, plane: Plane) -> None:
    plane.fixed["POST", "/v1/claims"] = (201, CLAIM)
    plane.vices.extend([Vice.AWAY, Vice.LOST_ANSWER])
    made = client.claims.request(
        "burst", machine_type="small", capacity_type="spot", zones=("a", "b"), machines=2, project="vision"
    )
    assert (made.id, made.state, made.launches) == ("claim_1", "requested", [])
    assert len({each.headers["idempotency-key"] for each in plane.seen}) == 1
    assert json.loads(plane.seen[-1].body) == {
        "cluster": "burst",
        "machine_type": "small",
        "capacity_type": "spot",
        "zones": ["a", "b"],
        "machines_min": 2,
        "machines_want": None,
        "project": "vision",
        "reservation": None,
        "idle_seconds": None,
        "tries_again": True,
    }


def test_what_cannot_be_right_is_refused_here(client: Client, plane: Plane) -> None:
    with pytest.raises(Invalid) as refused:
        client.claims.request("burst", machine_type="small", capacity_type="spot", zones=(), machines=0)
    assert {each.field for each in refused.value.problem.fields} == {"zones", "machines_min"}
    assert plane.seen == []


def test_claims_are_listed_and_spoken_of(client: Client, plane: Plane) -> None:
    plane.fixed["GET", "/v1/claims"] = (200, {"items": [CLAIM]})
    assert [each.id for each in client.claims.list(cluster="burst", live=True)] == ["claim_1"]
    assert plane.seen[-1].query == {"limit": ["200"], "cluster": ["burst"], "live": ["true"]}
    plane.fixed["GET", "/v1/claims/claim_1"] = (200, CLAIM)
    assert client.claims.get("claim_1").machine_type == "small"
    for verb in (client.claims.release, client.claims.keep):
        plane.fixed["POST", f"/v1/claims/claim_1/{verb.__name__}"] = (200, {**CLAIM, "version": 2})
        assert verb("claim_1").version == 2


def test_orphans_are_listed(client: Client, plane: Plane) -> None:
    orphan = {
        "cluster_id": "cluster_1",
        "cluster": "burst",
        "name": "i-1",
        "zone": "a",
        "claim_id": "claim_0",
        "launch_id": "claim_0-g1-l1",
        "seen_at": NOW,
    }
    plane.fixed["GET", "/v1/orphans"] = (200, {"items": [orphan]})
    assert [(each.name, each.cluster) for each in client.claims.orphans()] == [("i-1", "burst")]


OFFER = {
    "cluster_id": "cluster_1",
    "cluster": "burst",
    "machine_type": "small",
    "zone": "a",
    "capacity_type": "spot",
    "resources": {"cpus": 4.0, "gpus": 1.0},
    "accelerator": "H200",
    "price_per_hour": "98.320000",
    "currency": "USD",
    "is_price_verified": True,
    "boot_seconds": 60.0,
    "interruptions_per_hour": 0.0,
    "refusals": 1,
    "cool_until": NOW,
}


def test_offers_are_listed_with_exact_prices_and_asked_for_again(client: Client, plane: Plane) -> None:
    plane.fixed["GET", "/v1/offers"] = (200, {"items": [OFFER]})
    (offer,) = client.offers.list(cluster="burst")
    assert (offer.price_per_hour, offer.currency) == (Decimal("98.32"), "USD")
    assert plane.seen[-1].query == {"limit": ["200"], "cluster": ["burst"]}
    cluster = {
        "id": "c",
        "name": "burst",
        "adapter": "aws",
        "state": "ready",
        "since": NOW,
        "nodes": 0,
        "version": 1,
    }
    plane.fixed["POST", "/v1/clusters/burst/refresh-offers"] = (200, {**cluster, "offers_listed_at": NOW})
    assert client.offers.refresh("burst").offers_listed_at is not None
