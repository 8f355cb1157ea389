"""Rollbacks over the API: an earlier revision comes back with the version of the model that it served."""

from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest

from controlplane.domain.ids import ServiceId
from controlplane.domain.traffic import LATENCY_EDGES_MS, Load
from controlplane.identity.principals import Role
from controlplane.operations import object_stores, traffic
from controlplane.operations.serving_packages import artifact_uris
from controlplane.operations.uploads import upload_key
from controlplane.storage.file import FileStore
from controlplane.wire.data import StoreCreate
from controlplane.wire.jobspec import JobSpec
from tests.unit.api.client import Api, app_over, problem
from tests.unit.api.service_site import Site


@pytest.fixture
def echoes(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """With versions 1 and 2 of the model echo, in a store of their own."""
    plane, folder = site.plane, tmp_path_factory.mktemp("models")
    plane.context = replace(plane.context, object_stores=lambda _kind, _place, top: FileStore(top))
    object_stores.add(plane.context, plane.root, StoreCreate(name="models", uri=folder.as_uri()))
    site.api = Api(app_over(plane.context), plane.secret(Role.ADMIN))
    assert site.api.post("/v1/models", {"name": "echo", "description": ""}).status_code == 201
    for weights in ("old", "new"):
        (folder / f"{weights}.pt").write_bytes(weights.encode())
        wanted = {"artifacts": [{"name": "echo.pt", "uri": f"{folder.as_uri()}/{weights}.pt"}]}
        assert site.api.post("/v1/models/default/echo/versions", wanted).status_code == 201
    return site


def promote(site: Site, version: int) -> None:
    path = f"/v1/models/default/echo/versions/{version}/promote"
    assert site.api.post(path, {"stage": "production"}).status_code == 200


def served(site: Site, service_id: str, number: int) -> str:
    """The artifact that replicas of this revision load."""
    with site.plane.store.read() as tx:
        revision = tx.revisions.by_number(ServiceId(service_id), number)
    assert revision is not None
    digest = JobSpec.model_validate_json(revision.template).working_dir
    with site.plane.context.objects.get(upload_key(str(digest))) as package:
        (uri,) = artifact_uris(package.read())
    return uri.rpartition("/")[2]


def replaced_in_production(site: Site) -> str:
    """A service whose first revision served version 1 in production, and whose second one serves version 2."""
    promote(site, 1)
    service_id = cast("str", site.deploy(model="echo@production")["id"])
    site.look()
    site.start(service_id)
    promote(site, 2)
    site.revise(service_id, model="echo@production")
    site.look()
    site.start(service_id, port=9001)
    for _ in range(6):
        site.look(3)
    assert [served(site, service_id, number) for number in (1, 2)] == ["old.pt", "new.pt"]
    assert site.shares() == {2: 1_000_000}
    return service_id


def test_a_rollback_serves_the_version_that_was_served_not_the_one_in_production_by_now(echoes: Site) -> None:
    service_id = replaced_in_production(echoes)
    again = echoes.do(service_id, "rollback", {})
    assert (again["revisions"][-1]["number"], again["revisions"][-1]["spec"]["model"]) == (3, "echo@1")
    assert served(echoes, service_id, 3) == "old.pt"
    echoes.do(service_id, "rollback", {"number": 2})
    echoes.do(service_id, "rollback", {"number": 3})
    assert [served(echoes, service_id, number) for number in (4, 5)] == ["new.pt", "old.pt"]


def test_a_rollback_to_a_version_that_nothing_tells_any_more_is_refused(echoes: Site) -> None:
    service_id = replaced_in_production(echoes)
    with echoes.plane.store.read() as tx:
        old = tx.revisions.by_number(ServiceId(service_id), 1)
    assert old is not None
    package = JobSpec.model_validate_json(old.template).working_dir
    echoes.plane.context.objects.delete(upload_key(str(package)))
    refused = problem(echoes.api.post(f"/v1/services/{service_id}/rollback", {}), 409, "conflict")
    assert (refused["field"], refused["value"]) == ("number", 1)
    assert "echo@production" in refused["message"]
    shown = echoes.api.get(f"/v1/services/{service_id}").json()
    assert [each["number"] for each in shown["revisions"]] == [1, 2]


def test_a_canary_that_is_taken_back_leaves_the_version_that_was_served(echoes: Site) -> None:
    promote(echoes, 1)
    service_id = echoes.deploy(model="echo@production")["id"]
    echoes.look()
    echoes.start(service_id)
    promote(echoes, 2)
    canary = {"strategy": "canary", "steps": [10.0], "bake_seconds": 600.0, "min_requests": 10}
    echoes.revise(service_id, model="echo@production", release=canary)
    echoes.look()
    echoes.start(service_id, port=9001)
    echoes.look(2)
    revisions = {each.number: each.revision_id for each in echoes.route().revisions}
    now = echoes.plane.clock.at
    failing = Load(
        gateway="gate",
        service_id=ServiceId(service_id),
        revision_id=revisions[2],
        since=now - timedelta(seconds=1),
        until=now,
        in_flight=0,
        waiting=0,
        requests=20,
        errors=20,
        latency_ms=(0,) * (len(LATENCY_EDGES_MS) + 1),
    )
    traffic.report(echoes.plane.context, [failing])
    echoes.look(2)
    assert (echoes.shares(), served(echoes, service_id, 1)) == ({1: 1_000_000}, "old.pt")
