"""Residency over the API: set, listed, and holding at the door, for placings, and for copies."""

from collections.abc import Mapping
from dataclasses import replace

from controlplane.domain.attempts import AttemptState
from controlplane.domain.ids import NodeId
from controlplane.domain.jobs import ask_id
from controlplane.identity.principals import Role
from controlplane.operations.placements import apply_places
from schedulers.base import Place, Placement
from tests.unit.api.client import Api, problem
from tests.unit.operations.world import World, other_project

JOB = {"name": "train", "entrypoint": "python train.py"}


def say(api: Api, subject: str, name: str, **given: object) -> Mapping[str, object]:
    answer = api.post("/v1/residency", {"subject": subject, "name": name, **given})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_rule_is_set_shown_and_taken_back(plane: World, api: Api) -> None:
    plane.cluster()
    say(api, "project", "default", regions=["eu", "de", "eu"], providers=["ray"])
    say(api, "cluster", "lab", regions=["eu"])
    items = api.get("/v1/residency").json()["items"]
    assert [(each["subject"], each["name"], each["regions"]) for each in items] == [
        ("cluster", "lab", ["eu"]),
        ("project", "default", ["de", "eu"]),
    ]
    say(api, "project", "default")
    assert [each["subject"] for each in api.get("/v1/residency").json()["items"]] == ["cluster"]


def test_what_cannot_be_said_is_refused(plane: World, api: Api) -> None:
    plane.cluster()
    for body, status, code in (
        ({"subject": "project", "name": "none"}, 404, "not_found"),
        ({"subject": "store", "name": "none"}, 404, "not_found"),
        ({"subject": "cluster", "name": "lab", "providers": ["aws"]}, 422, "invalid"),
        ({"subject": "planet", "name": "lab"}, 422, "invalid"),
    ):
        problem(api.post("/v1/residency", body), status, code)
    bound = api.as_token(plane.secret(Role.SUBMITTER))
    problem(bound.post("/v1/residency", {"subject": "project", "name": "default"}), 403, "forbidden")


def test_another_projects_rule_is_not_shown(plane: World, api: Api) -> None:
    other_project(plane)
    say(api, "project", "default", regions=["eu"])
    bound = api.as_token(plane.secret(Role.VIEWER, "other"))
    assert bound.get("/v1/residency").json()["items"] == []


def test_a_job_that_may_be_nowhere_is_refused_at_the_door(plane: World, api: Api) -> None:
    plane.cluster()
    say(api, "project", "default", regions=["eu"])
    field = problem(api.post("/v1/jobs", JOB), 422, "invalid")
    assert field["field"] == "project"
    assert "may only be in 'eu'; cluster 'lab' is in no known region" in field["message"]
    say(api, "cluster", "lab", regions=["de", "eu"])
    assert api.post("/v1/jobs", JOB).status_code == 201


def test_a_plan_that_places_work_outside_is_refused(plane: World, api: Api) -> None:
    plane.cluster()
    plane.cluster("near", nodes=1)
    job = plane.submit().job
    say(api, "cluster", "near", regions=["eu"])
    say(api, "project", "default", regions=["eu"])
    lease = plane.store.write(lambda tx: tx.leases.take("test", "test", 60.0))
    assert lease is not None
    near = plane.store.read
    with near() as tx:
        clusters = {cluster.name: cluster.id for cluster in tx.clusters.list()}
    place = Place(
        ask_id=ask_id(job.id),
        cluster_id=clusters["lab"],
        seats=(Placement(rank=0, node_id=NodeId("node_lab_0")),),
    )
    (refusal,) = plane.store.write(lambda tx: apply_places(tx, lease, [place]))
    assert refusal.why == "the project may only be in 'eu'; cluster 'lab' is in no known region"
    allowed = replace(
        place,
        cluster_id=clusters["near"],
        seats=(Placement(rank=0, node_id=NodeId("node_near_0")),),
    )
    assert plane.store.write(lambda tx: apply_places(tx, lease, [allowed])) == ()
    with plane.store.read() as tx:
        assert [each.state for each in tx.attempts.of_job(job.id)] == [AttemptState.PLACED]


def test_data_is_not_copied_where_it_may_not_be(plane: World, api: Api) -> None:
    for name, region in (("raw", "eu-central-1"), ("far", "us-east-1")):
        api.post("/v1/stores", {"name": name, "uri": f"s3://{name}", "region": region})
    copy = {"project": "default", "source": "s3://raw/a", "target": "s3://far/a"}
    say(api, "project", "default", regions=["eu-central-1"])
    told = problem(api.post("/v1/copies", copy), 403, "forbidden")
    assert "the project may only be in 'eu-central-1'; store 'far' is in 'us-east-1'" in told["message"]
    say(api, "project", "default")
    say(api, "data", "raw", regions=["eu"])
    told = problem(api.post("/v1/copies", copy), 403, "forbidden")
    assert "what lies in store 'raw' may only be in 'eu'" in told["message"]
    say(api, "store", "far", regions=["eu"])
    assert api.post("/v1/copies", copy).status_code == 201
