"""Claims over HTTP: asked for, listed, given back; and everything that is refused."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.domain.claims import ClaimState
from controlplane.domain.ids import ClaimId, LaunchId
from controlplane.domain.leftovers import Stray
from controlplane.domain.offers import OfferList
from controlplane.domain.sites import CheckIn, Phase, Site
from controlplane.identity.principals import Role
from controlplane.operations.endpoints import seal
from controlplane.store import Tx
from tests import factories
from tests.unit.api.client import BOTH, Api, problem
from tests.unit.operations.world import World

GOOD = {
    "cluster": "burst",
    "machine_type": "p5.48xlarge",
    "capacity_type": "spot",
    "zones": ["us-east-1a", "us-east-1b"],
    "machines_min": 2,
}


@BOTH
def test_a_claim_is_requested_shown_released_and_kept(plane: World, api: Api) -> None:
    plane.cluster("burst")
    made = api.post("/v1/claims", GOOD)
    claim = made.json()
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    assert (claim["state"], claim["cluster"], claim["machines_want"]) == ("requested", "burst", 2)
    assert (claim["project"], claim["launches"], claim["site"], claim["machines"]) == (None, [], None, [])
    assert api.get(f"/v1/claims/{claim['id']}").json() == claim
    released = api.post(f"/v1/claims/{claim['id']}/release").json()
    assert (released["release_requested_at"] is None, released["version"]) == (False, 2)
    assert api.post(f"/v1/claims/{claim['id']}/keep").json()["release_requested_at"] is None


@BOTH
def test_claims_are_listed_by_page_cluster_and_life(plane: World, api: Api) -> None:
    plane.cluster("burst")
    plane.cluster("other")
    ids = [
        api.post("/v1/claims", {**GOOD, "cluster": each}).json()["id"] for each in ("burst", "other", "burst")
    ]
    ids.sort()
    first = api.get("/v1/claims", params={"limit": 2}).json()
    rest = api.get("/v1/claims", params={"after": first["next"]}).json()
    assert [each["id"] for each in (*first["items"], *rest["items"])] == ids
    assert rest["next"] is None
    plane.store.write(lambda tx: tx.claims.save(_claim(tx, ids[0]).move(ClaimState.GONE, at=tx.now)))
    living = api.get("/v1/claims", params={"live": "true"}).json()["items"]
    gone = api.get("/v1/claims", params={"live": "false"}).json()["items"]
    assert ([each["id"] for each in living], [each["id"] for each in gone]) == (ids[1:], ids[:1])
    of_other = api.get("/v1/claims", params={"cluster": "other"}).json()["items"]
    assert [each["cluster"] for each in of_other] == ["other"]


def test_the_same_key_buys_once(plane: World, api: Api) -> None:
    plane.cluster("burst")
    key = {"Idempotency-Key": "once"}
    first, second = (api.post("/v1/claims", GOOD, headers=key) for _ in range(2))
    assert (second.text, second.headers["idempotent-replay"]) == (first.text, "true")
    assert len(api.get("/v1/claims").json()["items"]) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"machines_min": 0}, "machines_min"),
        ({"machines_min": -1}, "machines_min"),
        ({"machines_min": 10**9}, "machines_min"),
        ({"machines_min": "2"}, "machines_min"),
        ({"machines_want": 1}, "machines_want"),
        ({"zones": []}, "zones"),
        ({"zones": ["a", "a"]}, "zones"),
        ({"zones": ["us east 1"]}, "zones.0"),
        ({"zones": ["../metadata"]}, "zones.0"),
        ({"zones": "a"}, "zones"),
        ({"machine_type": "p5 48xlarge"}, "machine_type"),
        ({"machine_type": ""}, "machine_type"),
        ({"capacity_type": "owned"}, "capacity_type"),
        ({"capacity_type": "Spot"}, "capacity_type"),
        ({"idle_seconds": 0}, "idle_seconds"),
        ({"idle_seconds": -1.0}, "idle_seconds"),
        ({"reservation": "cr-1"}, "reservation"),
        ({"project": "No"}, "project"),
        ({"user_data": "#!/bin/sh"}, "user_data"),
        ({"state": "ready"}, "state"),
    ],
)
def test_a_claim_that_makes_no_sense_is_refused(
    plane: World, api: Api, change: dict[str, Any], field: str
) -> None:
    plane.cluster("burst")
    before = plane.counts()
    response = api.post("/v1/claims", {**GOOD, **change})
    assert problem(response, 422, "invalid")["field"] == field
    assert plane.counts() == before


def test_what_is_not_there_is_not_found(plane: World, api: Api) -> None:
    problem(api.post("/v1/claims", GOOD), 404, "not_found")
    problem(api.get("/v1/claims/claim_none"), 404, "not_found")
    problem(api.post("/v1/claims/claim_none/release"), 404, "not_found")
    problem(api.get("/v1/claims", params={"cluster": "nowhere"}), 404, "not_found")
    assert problem(api.get("/v1/claims", params={"live": "maybe"}), 422, "invalid")["field"] == "live"
    assert problem(api.get("/v1/claims", params={"lives": "1"}), 422, "invalid")["field"] == "lives"
    assert problem(api.get("/v1/orphans", params={"after": "x"}), 422, "invalid")["field"] == "after"


def test_who_only_submits_buys_nothing(plane: World, api: Api) -> None:
    plane.cluster("burst")
    made = api.post("/v1/claims", GOOD).json()["id"]
    submitter = api.as_token(plane.secret(Role.SUBMITTER))
    for path, body in (
        ("/v1/claims", GOOD),
        (f"/v1/claims/{made}/release", None),
        (f"/v1/claims/{made}/keep", None),
    ):
        problem(submitter.post(path, body), 403, "forbidden")
    assert submitter.get(f"/v1/claims/{made}").status_code == 200
    problem(api.as_token(None).get("/v1/claims"), 401, "unauthenticated")


def test_a_claim_tells_of_its_launches_machines_and_ray_and_of_no_secret(plane: World, api: Api) -> None:
    plane.cluster("burst")
    claim_id = ClaimId(api.post("/v1/claims", GOOD).json()["id"])
    launch = factories.launch(id=LaunchId("l-1"), claim_id=claim_id)
    word = CheckIn(
        claim_id=claim_id,
        launch_id=launch.id,
        machine="i-1",
        host="10.0.0.1",
        phase=Phase.UP,
        at=plane.clock.at,
    )
    with_secret = plane.store.write(lambda tx: seal(plane.context, tx, '{"token": "hunter2"}'))
    site = Site(claim_id=claim_id, url="https://10.0.0.1:8443", secret_id=with_secret, head="i-1")
    plane.store.write(lambda tx: tx.launches.add(launch))
    plane.store.write(lambda tx: tx.sites.put(site))
    plane.store.write(lambda tx: tx.sites.check_in(word))
    response = api.get(f"/v1/claims/{claim_id}")
    shown = response.json()
    assert [(each["zone"], each["machines"], each["outcome"]) for each in shown["launches"]] == [
        ("a", 2, None)
    ]
    assert (shown["site"]["url"], shown["site"]["head"]) == ("https://10.0.0.1:8443", "i-1")
    assert [(each["name"], each["phase"]) for each in shown["machines"]] == [("i-1", "up")]
    assert "hunter2" not in response.text
    assert with_secret not in response.text


@BOTH
def test_orphans_are_listed_by_page(plane: World, api: Api) -> None:
    here = plane.cluster("burst").id
    for number in (1, 2, 3):
        orphan = factories.orphan(number, cluster_id=here)
        plane.store.write(lambda tx, each=orphan: tx.orphans.add(each))  # type: ignore[misc]
    first = api.get("/v1/orphans", params={"limit": 2}).json()
    rest = api.get("/v1/orphans", params={"after": first["next"]}).json()
    items = (*first["items"], *rest["items"])
    assert [(each["cluster"], each["name"]) for each in items] == [
        ("burst", f"m-000{number}") for number in (1, 2, 3)
    ]


@BOTH
def test_offers_are_listed_by_page_and_cluster_with_their_prices(plane: World, api: Api) -> None:
    here = plane.cluster("burst").id
    plane.cluster("other")
    priced = {"price_millionths": 98_320_000, "currency": "USD", "price_as_of": plane.clock.at}
    every = [
        factories.offer(cluster_id=here, zone="a", **priced).refused(at=plane.clock.at),
        factories.offer(cluster_id=here, zone="b"),
        factories.offer(cluster_id=here, zone="c"),
    ]
    plane.store.write(lambda tx: tx.offers.put(every))
    first = api.get("/v1/offers", params={"cluster": "burst", "limit": 2}).json()
    rest = api.get("/v1/offers", params={"cluster": "burst", "after": first["next"]}).json()
    items: list[dict[str, Any]] = [*first["items"], *rest["items"]]
    assert [each["zone"] for each in items] == ["a", "b", "c"]
    shown, bare, _ = items
    assert (shown["cluster"], shown["price_per_hour"], shown["currency"]) == ("burst", "98.320000", "USD")
    assert (shown["is_price_verified"], shown["refusals"], shown["cool_until"]) == (
        False,
        1,
        "2026-03-01T12:00:45Z",
    )
    assert (bare["price_per_hour"], bare["cool_until"], bare["resources"]["cpus"]) == (None, None, 1.0)
    assert api.get("/v1/offers", params={"cluster": "other"}).json()["items"] == []
    problem(api.get("/v1/offers", params={"cluster": "nowhere"}), 404, "not_found")
    assert (
        problem(api.get("/v1/offers", params={"after": first["next"][:-1]}), 422, "invalid")["field"]
        == "after"
    )


def test_a_cluster_tells_when_its_cloud_was_asked_and_is_asked_on_demand(plane: World, api: Api) -> None:
    here = plane.cluster("burst").id
    asked = OfferList(cluster_id=here, listed_at=plane.clock.at, problem="throttled")
    plane.store.write(lambda tx: tx.offers.put_asked(asked))
    shown = api.post("/v1/clusters/burst/refresh-offers").json()
    assert (shown["offers_listed_at"], shown["offers_problem"]) == ("2026-03-01T12:00:00Z", "throttled")
    assert plane.is_poked("offer", here)
    submitter = api.as_token(plane.secret(Role.SUBMITTER))
    problem(submitter.post("/v1/clusters/burst/refresh-offers"), 403, "forbidden")
    assert submitter.get("/v1/offers").status_code == 200


@BOTH
def test_leftovers_are_listed_with_whose_they_were_and_why_they_stay(plane: World, api: Api) -> None:
    here = plane.cluster("burst").id
    with plane.store.read() as tx:
        owner = tx.projects.by_name("default")
    assert owner is not None
    plane.store.write(lambda tx: tx.claims.add(factories.claim(cluster_id=here, trust_domain=owner.id)))

    def stray(name: str, claim_id: str | None) -> Stray:
        found = None if claim_id is None else ClaimId(claim_id)
        at = plane.clock.at
        known = Stray(cluster_id=here, kind="disk", name=name, zone="a", claim_id=found, seen_at=at)
        return known if found is None else replace(known, hourly_millionths=10_000, currency="USD")

    def unit(tx: Tx) -> None:
        tx.strays.put(stray("vol-1", "claim-1"))
        tx.strays.put(stray("vol-1", "claim-1").refused("it is locked", at=tx.now))
        tx.strays.put(stray("vol-2", None))

    plane.store.write(unit)
    plane.clock.pass_seconds(90 * 60)
    first = api.get("/v1/leftovers", params={"limit": 1}).json()
    (locked,) = first["items"]
    assert (locked["cluster"], locked["kind"], locked["name"], locked["project"], locked["problem"]) == (
        "burst",
        "disk",
        "vol-1",
        "default",
        "it is locked",
    )
    assert (locked["cost_per_hour"], locked["cost"], locked["currency"]) == ("0.010000", "0.015000", "USD")
    (free,) = api.get("/v1/leftovers", params={"after": first["next"]}).json()["items"]
    assert (free["name"], free["claim_id"], free["project"], free["problem"]) == ("vol-2", None, None, None)
    assert (free["cost_per_hour"], free["cost"], free["currency"]) == (None, None, None)
    submitter = api.as_token(plane.secret(Role.SUBMITTER))
    problem(submitter.get("/v1/leftovers"), 403, "forbidden")


def _claim(tx: Any, claim_id: str) -> Any:  # noqa: ANN401 - one of the store's transactions, a claim
    return tx.claims.get(ClaimId(claim_id))
