"""Pipelines over the API: accepted whole or refused with step, value and limit; published past gates; by cron."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.domain.ids import ServiceId
from controlplane.domain.jobs import JobState
from controlplane.domain.residency import Residency, Subject
from controlplane.domain.revisions import RevisionState
from controlplane.identity.principals import Role
from controlplane.operations import executions, residency, schedules
from controlplane.runtime.pipelines import PipelineTurn
from tests.unit.api.client import Api, app_over, problem
from tests.unit.operations.world import other_project
from tests.unit.runtime.pipeline_world import PipelineWorld, chain, job_step, makes, pipeline_world

Document = dict[str, Any]  # JSON
EXECUTIONS = "/v1/executions"
PUBLISHED: Document = {
    "name": "release",
    "steps": [
        job_step(
            "train", outputs=makes("model.pt", "model") | {"data": {"kind": "file", "path": "data.json"}}
        ),
        job_step("judge", inputs={"model": {"source": "steps.train.outputs.made", "kind": "model"}}),
        {
            "name": "publish",
            "publish": {
                "model": "digits",
                "artifacts": {"model.pt": "steps.train.outputs.made"},
                "evaluated_by": "judge",
                "data": "steps.train.outputs.data",
                "stage": "production",
            },
        },
    ],
}


@pytest.fixture
def world(tmp_path: Path, sqlite_url: str) -> Iterator[PipelineWorld]:
    with pipeline_world(tmp_path, sqlite_url) as made:
        yield made


@pytest.fixture
def api(world: PipelineWorld) -> Api:
    """As a submitter of one project."""
    return Api(app_over(world.plane.context), world.plane.secret(Role.SUBMITTER, "default"))


def submitted(api: Api, world: PipelineWorld, pipeline: object) -> Document:
    answer = api.post(EXECUTIONS, pipeline)
    assert answer.status_code == 201, answer.text
    world.settle()
    return shown(api, answer.json()["id"])


def shown(api: Api, execution: str) -> Document:
    found: Document = api.get(f"{EXECUTIONS}/{execution}").json()
    return found


def test_an_accepted_pipeline_is_shown_with_its_steps(api: Api, world: PipelineWorld) -> None:
    first = submitted(api, world, chain())
    world.end(first["id"], "first", made="x")
    found = shown(api, first["id"])
    one, two = found["steps"]
    assert one.pop("outputs") == [
        {
            "name": "made",
            "kind": "file",
            "uri": f"file://{world.folder}/{first['id']}/first/1/outputs/made",
            "size_bytes": 1,
            "sha256": hashlib.sha256(b"x").hexdigest(),
        }
    ]
    assert (one["name"], one["kind"], one["state"], one["number"]) == ("first", "job", "succeeded", 1)
    assert (two["name"], two["needs"], two["state"]) == ("second", ["first"], "running")
    assert (found["pipeline"], found["project"], found["state"]) == ("chain", "default", "running")
    assert found["spec"] == chain()
    (listed,) = api.get(EXECUTIONS).json()["items"]
    assert (listed["id"], listed["state"], listed["steps"], listed["done"]) == (first["id"], "running", 2, 1)
    assert "spec" not in listed
    assert api.get(f"{EXECUTIONS}/{first['id']}").headers["etag"] == f'"{found["version"]}"'


def test_a_repeated_submit_makes_one_execution(api: Api, world: PipelineWorld) -> None:
    headers = {"Idempotency-Key": "k"}
    answers = [api.post(EXECUTIONS, chain(), headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len(api.get(EXECUTIONS).json()["items"]) == 1


def test_deeds_move_an_execution_and_refuse_one_that_is_over(api: Api, world: PipelineWorld) -> None:
    execution = submitted(api, world, chain())["id"]
    assert api.post(f"{EXECUTIONS}/{execution}/pause").json()["paused_at"] is not None
    assert api.post(f"{EXECUTIONS}/{execution}/resume").json()["paused_at"] is None
    assert problem(api.post(f"{EXECUTIONS}/{execution}/retry"), 409, "conflict")["value"] == "running"
    assert api.post(f"{EXECUTIONS}/{execution}/cancel").json()["cancel_requested_at"] is not None
    world.settle()
    assert shown(api, execution)["state"] == "cancelled"
    for deed in ("pause", "resume", "cancel"):
        assert problem(api.post(f"{EXECUTIONS}/{execution}/{deed}"), 409, "conflict")["field"] == "state"
    again = api.post(f"{EXECUTIONS}/{execution}/retry")
    assert (again.status_code, again.json()["retry_of"]) == (201, execution)


def test_a_version_is_published_with_its_lineage_and_serves(api: Api, world: PipelineWorld) -> None:
    execution = submitted(api, world, PUBLISHED)["id"]
    world.end(execution, "train", made={"model.pt": "weights", "data.json": "{}"})
    world.end(execution, "judge")
    world.settle()
    found = shown(api, execution)
    assert found["state"] == "succeeded", found
    (version,) = found["steps"][2]["outputs"]
    assert (version["uri"], version["kind"]) == ("model://default/digits/1", "version")
    said = api.get("/v1/models/default/digits/versions/1").json()
    assert said["stage"] == "production"
    assert [each["sha256"] for each in said["artifacts"]] == [hashlib.sha256(b"weights").hexdigest()]
    assert said["lineage"]["job_id"] == found["steps"][0]["job_id"]
    assert said["lineage"]["evaluation_job_id"] == found["steps"][1]["job_id"]
    assert said["lineage"]["data_sha256"] == hashlib.sha256(b"{}").hexdigest()


def test_a_gate_that_is_not_passed_fails_the_step_and_the_version_stays(
    api: Api, world: PipelineWorld
) -> None:
    admin = api.as_token(world.plane.secret(Role.ADMIN))
    admin.post("/v1/models", {"name": "digits"})
    admin.post("/v1/models/default/digits/gates", {"name": "good", "metric": "accuracy", "limit": 0.9})
    execution = submitted(api, world, PUBLISHED)["id"]
    world.end(execution, "train", made={"model.pt": "weights", "data.json": "{}"})
    world.end(execution, "judge")
    world.settle()
    found = shown(api, execution)
    assert found["reason"] == "step 'publish' failed: gate 'good': the metric 'accuracy' was not reported"
    assert api.get("/v1/models/default/digits/versions/1").json()["stage"] == "candidate"


def test_what_was_published_is_published_once_though_the_answer_got_lost(
    api: Api, world: PipelineWorld
) -> None:
    execution = submitted(api, world, PUBLISHED)["id"]
    world.end(execution, "train", made={"model.pt": "weights", "data.json": "{}"})
    with world.store.read() as tx:
        judging = tx.jobs.get(world.job_id(execution, "judge"))
    assert judging is not None
    active = judging.move(JobState.ACTIVE, at=world.plane.clock.at)
    world.store.write(lambda tx: tx.jobs.save(active))
    world.store.write(lambda tx: tx.jobs.save(active.move(JobState.SUCCEEDED, at=world.plane.clock.at)))
    lost: list[PipelineTurn] = []
    while not lost:
        world.plane.clock.pass_seconds(31)
        items = world.store.write(lambda tx: tx.work.claim("execution", "dies", 9, 1.0))
        turns = world.steps.begin(items, [])
        lost = [turn for turn in turns if turn.calls]
        world.steps.act(lost)  # and dies before it records
        kept = [turn for turn in turns if not turn.calls]
        if kept:
            world.store.write(lambda tx, kept=kept: world.steps.record(tx, kept))  # type: ignore[misc] # bound now
    world.restart()
    world.pass_seconds(200)
    assert shown(api, execution)["state"] == "succeeded"
    assert len(api.get("/v1/models/default/digits/versions").json()["items"]) == 1


@pytest.mark.parametrize(
    ("pipeline", "field"),
    [
        ({"name": "p", "steps": []}, "steps"),
        ({"name": "p", "steps": [{"name": "a"}]}, "steps.0"),
        ({"name": "p", "steps": [job_step("a.b")]}, "steps.0.name"),
        ({"name": "p", "steps": [job_step("a"), job_step("a")]}, "steps.1.name"),
        ({"name": "p", "steps": [job_step("a", outputs={"o": {"path": "../b"}})]}, "steps.0.outputs.o.path"),
        ({"name": "p", "steps": [job_step("a", inputs={"x": "s3://b/c"})]}, "steps.0.inputs.x"),
        ({"name": "p", "steps": [job_step("a", inputs={"x": "steps.b.outputs.c"})]}, "steps.0.inputs.x"),
        ({"name": "p", "steps": [job_step("a", after=["b"]), job_step("b", after=["a"])]}, "steps"),
        (
            {
                "name": "p",
                "steps": [{"name": "a", "job": {"entrypoint": "x", "outputs_uri": "s3://bucket/x"}}],
            },
            "steps.0.job",
        ),
        (
            {
                "name": "p",
                "steps": [{"name": "a", "job": {"entrypoint": "x", "working_dir": f"sha256:{'0' * 64}"}}],
            },
            "steps.0.job.working_dir",
        ),
        ({"name": "p", "queue": "none", "steps": [job_step("a")]}, "queue"),
        ({"name": "p", "outputs_uri": "s3://elsewhere/x", "steps": [job_step("a")]}, "uri"),
    ],
)
def test_a_pipeline_that_cannot_be_is_refused_and_leaves_nothing(
    api: Api, world: PipelineWorld, pipeline: Document, field: str
) -> None:
    before = world.plane.counts()
    answer = api.post(EXECUTIONS, pipeline)
    assert answer.status_code in {403, 404, 422}, answer.text
    assert any(each["field"].startswith(field) for each in answer.json()["fields"]), answer.text
    assert world.plane.counts() == before
    assert api.get(EXECUTIONS).json()["items"] == []


def test_a_job_that_no_cluster_could_seat_is_refused_with_its_step(api: Api, world: PipelineWorld) -> None:
    world.plane.cluster(nodes=1)
    pipeline: Document = {"name": "p", "steps": [job_step("a"), job_step("b")]}
    pipeline["steps"][1]["job"] |= {"resources": {"cpus": 999}}
    assert problem(api.post(EXECUTIONS, pipeline), 422, "invalid")["field"].startswith("steps.1.job.")


def test_a_version_is_made_of_objects_of_one_step(api: Api) -> None:
    train = job_step("train", outputs=makes("all/", "model"))
    publish: Document = {"model": "m", "artifacts": {"a": "steps.train.outputs.made"}}
    pipeline = {"name": "p", "steps": [train, {"name": "publish", "publish": publish}]}
    assert "name one object" in api.post(EXECUTIONS, pipeline).text
    other = job_step("other", outputs=makes("x", "dataset"))
    publish["artifacts"] |= {"b": "steps.other.outputs.made"}
    assert (
        "asks for steps.other.outputs.made as model"
        in api.post(
            EXECUTIONS, {"name": "p", "steps": [train, other, {"name": "publish", "publish": publish}]}
        ).text
    )
    other["outputs"] = makes("x", "model")
    assert (
        "a version comes from one step"
        in api.post(
            EXECUTIONS, {"name": "p", "steps": [train, other, {"name": "publish", "publish": publish}]}
        ).text
    )


def test_artifacts_go_nowhere_where_the_project_may_not_be(api: Api, world: PipelineWorld) -> None:
    away = Residency(providers=("aws",), regions=(), clusters=())
    residency.put(world.plane.context, world.plane.root, Subject.PROJECT, "default", away)
    answer = api.post(EXECUTIONS, chain())
    assert "residency" in problem(answer, 403, "forbidden")["message"]


def test_another_projects_token_sees_neither_execution_nor_schedule(api: Api, world: PipelineWorld) -> None:
    execution = submitted(api, world, chain())["id"]
    api.post("/v1/schedules", {"name": "s", "cron": "0 3 * * *", "pipeline": chain()})
    other_project(world.plane)
    stranger = api.as_token(world.plane.secret(Role.ADMIN, "other"))
    assert stranger.get(EXECUTIONS).json()["items"] == []
    assert stranger.get("/v1/schedules").json()["items"] == []
    problem(stranger.get(f"{EXECUTIONS}/{execution}"), 404, "not_found")
    problem(stranger.post(f"{EXECUTIONS}/{execution}/cancel"), 404, "not_found")
    problem(stranger.post("/v1/schedules/default/s/remove"), 404, "not_found")
    viewer = api.as_token(world.plane.secret(Role.VIEWER, "default"))
    assert viewer.get(f"{EXECUTIONS}/{execution}").status_code == 200
    problem(viewer.post(f"{EXECUTIONS}/{execution}/cancel"), 403, "forbidden")
    problem(viewer.post(EXECUTIONS, chain()), 403, "forbidden")


def test_a_schedule_is_kept_paused_and_removed(api: Api) -> None:
    wanted = {"name": "s", "cron": "0 3 * * *", "zone": "Europe/Berlin", "pipeline": chain()}
    made = api.post("/v1/schedules", wanted)
    assert made.status_code == 201, made.text
    assert (made.json()["next_at"], made.json()["overlap"]) == ("2026-03-02T02:00:00Z", "skip")
    assert api.get("/v1/schedules/default/s").json() == made.json()
    assert api.post("/v1/schedules/default/s/pause").json()["next_at"] is None
    assert api.post("/v1/schedules/default/s/resume").json()["next_at"] == "2026-03-02T02:00:00Z"
    problem(api.post("/v1/schedules", wanted), 409, "conflict")
    assert api.post("/v1/schedules/default/s/remove").status_code == 200
    problem(api.get("/v1/schedules/default/s"), 404, "not_found")
    bad = wanted | {"pipeline": {"name": "p", "steps": [job_step("a", after=["b"])]}}
    assert problem(api.post("/v1/schedules", bad), 422, "invalid")["field"] == "steps.0.after"


RELEASED = {
    "name": "release",
    "steps": [
        *PUBLISHED["steps"],
        {
            "name": "deploy",
            "deploy": {"version": "steps.publish.outputs.version", "service": {"name": "digits"}},
        },
    ],
}


def released(api: Api, world: PipelineWorld) -> tuple[str, Document]:
    """The execution, and the service that its last step deployed."""
    execution = submitted(api, world, RELEASED)["id"]
    world.end(execution, "train", made={"model.pt": "weights", "data.json": "{}"})
    world.end(execution, "judge")
    world.settle()
    (service,) = api.get("/v1/services").json()["items"]
    return execution, service


def moved(world: PipelineWorld, service: Document, *states: RevisionState) -> None:
    for state in states:
        with world.store.read() as tx:
            revision = tx.revisions.by_number(ServiceId(service["id"]), service["revisions"][0]["number"])
            found = tx.services.get(ServiceId(service["id"]))
        assert revision is not None
        assert found is not None
        changed = revision.move(state, at=world.plane.clock.at, reason="because")
        world.store.write(lambda tx, found=found, changed=changed: tx.revisions.save(found, changed))  # type: ignore[misc] # bound now
    world.pass_seconds(6)


def test_a_deployment_is_over_when_its_revision_is_ready(api: Api, world: PipelineWorld) -> None:
    execution, service = released(api, world)
    assert service["revisions"][0]["spec"]["model"] == "digits@1"
    world.pass_seconds(60)
    world.restart()
    world.store.write(lambda tx: tx.idempotency.prune(tx.now))  # as after a week
    world.pass_seconds(200)
    assert shown(api, execution)["steps"][3]["state"] == "running"
    assert len(api.get(f"/v1/services/{service['id']}/revisions").json()["items"]) == 1
    moved(world, service, RevisionState.DEPLOYING, RevisionState.READY)
    assert shown(api, execution)["state"] == "succeeded"


def test_a_revision_that_fails_fails_the_step_with_its_reason(api: Api, world: PipelineWorld) -> None:
    execution, service = released(api, world)
    moved(world, service, RevisionState.DEPLOYING, RevisionState.FAILED)
    found = shown(api, execution)
    assert found["reason"] == "step 'deploy' failed: revision 1 of the service is failed: because"
    again = api.post(f"{EXECUTIONS}/{execution}/retry").json()["id"]
    world.settle()
    states = [step["state"] for step in shown(api, again)["steps"]]
    assert states == ["cached", "cached", "cached", "running"]
    (service,) = api.get("/v1/services").json()["items"]
    assert service["revisions"][-1]["number"] == 2


def test_what_is_no_service_is_refused_with_its_field(api: Api) -> None:
    for service, said in (
        ({"name": "digits", "model": "x@1"}, "model is given by the pipeline"),
        ({"name": "digits", "tasks": 0}, "service.tasks"),
        ({}, "service.name"),
    ):
        deploy = {"version": "steps.publish.outputs.version", "service": service}
        steps = [*PUBLISHED["steps"], {"name": "deploy", "deploy": deploy}]
        assert said in api.post(EXECUTIONS, {"name": "p", "steps": steps}).text


def test_a_project_has_so_many_executions_and_schedules_and_no_more(
    api: Api, world: PipelineWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions, "MOST_OPEN", 1)
    monkeypatch.setattr(schedules, "MOST_SCHEDULES", 1)
    first = submitted(api, world, chain())["id"]
    refused = problem(api.post(EXECUTIONS, chain()), 409, "conflict")
    assert (refused["field"], refused["value"], refused["limit"]) == ("project", "default", 1)
    api.post(f"{EXECUTIONS}/{first}/cancel")
    world.settle()
    assert api.post(EXECUTIONS, chain()).status_code == 201
    nightly = {"name": "a", "cron": "0 3 * * *", "pipeline": chain()}
    assert api.post("/v1/schedules", nightly).status_code == 201
    refused = problem(api.post("/v1/schedules", nightly | {"name": "b"}), 409, "conflict")
    assert (refused["field"], refused["limit"]) == ("project", 1)
