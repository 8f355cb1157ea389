"""Every route on its good day: what is asked, what is answered."""

import io
import zipfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controlplane.api.app import openapi_document
from controlplane.domain.amounts import Amounts
from controlplane.domain.errors import Unavailable
from controlplane.identity.attempt_tokens import attempt_token
from controlplane.identity.principals import Role
from controlplane.store import Store, Tx
from controlplane.wire.base import Page
from controlplane.wire.jobs import AttemptDocument, JobDocument, MetricPoint
from tests.unit.api.client import BOTH, Api, app_over, problem
from tests.unit.api.routes import ROUTES
from tests.unit.operations.world import World

GOOD: dict[str, Any] = {"name": "train", "entrypoint": "python train.py"}
AT = "2026-03-01T12:00:00+00:00"


def push(api: Api, plane: World, attempt_id: str, *said: dict[str, Any], log: str | None = None) -> Any:  # noqa: ANN401 - JSON
    body = {"rank": 0, "records": [{"at": AT, **each} for each in said]}
    if log is not None:
        body["log"] = {"offset": 0, "data": log}
    speaker = api.as_token(attempt_token(plane.context.server_key, plane.attempt(attempt_id).id))
    response = speaker.post(f"/v1/attempts/{attempt_id}/records", body)
    assert response.status_code == 200, response.text
    return response.json()


def archive(name: str = "train.py") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr(name, "print(1)")
    return file.getvalue()


def test_a_submitted_job_is_shown_with_its_version_as_etag(plane: World, api: Api) -> None:
    response = api.post("/v1/jobs", {**GOOD, "labels": {"team": "vision"}})
    assert (response.status_code, response.headers["etag"]) == (201, '"2"')
    job = JobDocument.model_validate_json(response.content)
    assert (job.state, job.phase, job.project, job.labels) == (
        "queued",
        "queued",
        "default",
        {"team": "vision"},
    )
    assert job.spec == {**GOOD, "labels": {"team": "vision"}}
    again = api.get(f"/v1/jobs/{job.id}")
    assert (again.json(), again.headers["etag"]) == (response.json(), '"2"')


def test_an_answer_is_given_again_word_by_word(plane: World, api: Api) -> None:
    key = {"Idempotency-Key": "once"}
    first = api.post("/v1/jobs", GOOD, headers=key)
    api.post(f"/v1/jobs/{first.json()['id']}/cancel")
    second = api.post("/v1/jobs", GOOD, headers=key)
    assert (second.status_code, second.text) == (201, first.text)
    assert ("idempotent-replay" in first.headers, second.headers["idempotent-replay"]) == (False, "true")


def test_a_key_is_its_tokens_own(plane: World, api: Api) -> None:
    key = {"Idempotency-Key": "once"}
    mine = api.post("/v1/jobs", GOOD, headers=key).json()
    theirs = api.as_token(plane.secret(Role.SUBMITTER)).post("/v1/jobs", GOOD, headers=key).json()
    assert mine["id"] != theirs["id"]


def test_a_refused_request_does_not_use_up_its_key(plane: World, api: Api) -> None:
    key = {"Idempotency-Key": "once"}
    problem(api.post("/v1/jobs", {**GOOD, "queue": "later"}, headers=key), 404, "not_found")
    api.post("/v1/queues", {"project": "default", "name": "later"})
    assert api.post("/v1/jobs", {**GOOD, "queue": "later"}, headers=key).status_code == 201


@BOTH
def test_a_batch_answers_in_its_own_order(plane: World, api: Api) -> None:
    jobs = [{**GOOD, "name": "b", "depends_on": ["a"]}, {**GOOD, "name": "a"}]
    response = api.post("/v1/jobs/batch", {"jobs": jobs}, headers={"Idempotency-Key": "batch"})
    items = response.json()["items"]
    assert response.status_code == 201
    assert [(item["name"], item["state"]) for item in items] == [("b", "held"), ("a", "queued")]
    assert [item["spec"] for item in items] == jobs
    assert (
        api.post("/v1/jobs/batch", {"jobs": jobs}, headers={"Idempotency-Key": "batch"}).text == response.text
    )


@BOTH
def test_pages_follow_each_other_without_gap_or_overlap(plane: World, api: Api) -> None:
    for number in range(5):
        plane.submit(name=f"job-{number}")
        plane.clock.pass_seconds(number % 2)  # some are born in the same moment
    seen: list[str] = []
    after = None
    while True:
        params = {"limit": "2", **({"after": after} if after else {})}
        page = Page[JobDocument].model_validate_json(api.get("/v1/jobs", params=params).content)
        seen += [job.id for job in page.items]
        after = page.next
        if after is None:
            break
    whole = [job["id"] for job in api.get("/v1/jobs").json()["items"]]
    assert (seen, len(set(seen))) == (whole, 5)


@BOTH
def test_filters_of_a_list_combine(plane: World, api: Api) -> None:
    plane.submit(name="one", labels={"team": "a"})
    held = plane.submit(
        name="two", labels={"team": "a=b"}, depends_on=[plane.submit(name="three").job.id]
    ).job

    def names(query: str) -> list[str]:
        return sorted(job["name"] for job in api.get(f"/v1/jobs?{query}").json()["items"])

    assert names("state=held&state=queued") == ["one", "three", "two"]
    assert names("state=held") == [held.name]
    assert names("label=team%3Da%3Db") == ["two"]
    assert names("project=default&queue=default&kind=command&name=one") == ["one"]


@BOTH
def test_counts_are_by_project_queue_and_state(plane: World, api: Api) -> None:
    jobs = [plane.submit(name=name).job for name in ("one", "two", "three")]
    api.post(f"/v1/jobs/{jobs[0].id}/cancel", {})

    where = {"project": "default", "queue": "default"}
    counts = [{**where, "state": "queued", "jobs": 2}, {**where, "state": "cancelled", "jobs": 1}]
    assert api.get("/v1/jobs/counts").json() == {"items": counts}
    assert api.get("/v1/jobs/counts", params=where).json() == {"items": counts}
    problem(api.get("/v1/jobs/counts?queue=default"), 422, "invalid")


@BOTH
def test_a_cursor_from_before_the_oldest_kept_event_is_gone(plane: World, api: Api) -> None:
    plane.submit()
    first = api.get("/v1/events").json()["items"][0]["cursor"]
    plane.submit()
    plane.store.write(lambda tx: tx.retention.prune_events(plane.clock.at + timedelta(days=1), 100))

    for path in ("/v1/events", "/v1/events/stream"):
        oldest = problem(api.get(path, params={"after": first}), 410, "no_longer_kept")["limit"]
        assert api.get("/v1/events", params={"after": oldest}).json() == api.get("/v1/events").json()


@BOTH
def test_cancel_and_retry_answer_with_the_job(plane: World, api: Api) -> None:
    job_id = plane.submit().job.id
    cancelled = api.post(f"/v1/jobs/{job_id}/cancel", {})
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    problem(api.post(f"/v1/jobs/{job_id}/cancel"), 409, "conflict")
    again = api.post(f"/v1/jobs/{job_id}/retry")
    assert (again.status_code, again.json()["retry_of"], again.json()["state"]) == (201, job_id, "queued")


@BOTH
def test_the_whole_story_of_a_job_is_told(plane: World, api: Api) -> None:
    attempt = plane.running(name="story")
    said = (
        {"seq": 1, "kind": "hello", "host": "h", "pid": 1},
        {"seq": 2, "kind": "metric", "step": 1, "values": {"loss": 0.5, "bad": None}},
        {"seq": 3, "kind": "checkpoint", "step": 1, "uri": "file:///c/1"},
        {"seq": 4, "kind": "progress", "fraction": 0.5, "message": "half"},
        {"seq": 5, "kind": "metric", "step": 2, "values": {"loss": 0.25}},
    )
    answer = push(api, plane, attempt.id, *said, log="aGVsbG8=")
    assert answer == {
        "acked_seq": 5,
        "log_offset": 5,
        "lease_seconds": 60.0,
        "stop": False,
        "grace_seconds": 30.0,
    }
    path = f"/v1/jobs/{attempt.job_id}"

    shown = Page[AttemptDocument].model_validate_json(api.get(f"{path}/attempts").content).items[0]
    assert (shown.id, shown.state, shown.progress, shown.progress_message) == (
        attempt.id,
        "running",
        0.5,
        "half",
    )
    assert [(seat.rank, seat.node, seat.resources["cpus"]) for seat in shown.seats] == [(0, "lab-0", 1.0)]
    assert api.get(f"{path}/logs").json()["data"] == "hello"
    assert api.get(f"{path}/logs?attempt=1&rank=0&offset=1&limit=4").json()["data"] == "ello"
    first = Page[MetricPoint].model_validate_json(api.get(f"{path}/metrics?limit=1").content)
    rest = Page[MetricPoint].model_validate_json(api.get(f"{path}/metrics?after={first.next}").content)
    assert [point.values for point in (*first.items, *rest.items)] == [
        {"loss": 0.5, "bad": None},
        {"loss": 0.25},
    ]
    assert rest.next is None
    assert [each["uri"] for each in api.get(f"{path}/checkpoints").json()["items"]] == ["file:///c/1"]
    assert api.get(f"{path}/explain").json()["code"] == "running"
    kinds = [event["kind"] for event in api.get("/v1/events", params={"job": attempt.job_id}).json()["items"]]
    assert kinds[0] == "job.queued"
    assert kinds[-1] == "checkpoint.committed"


def test_an_attempt_that_is_over_is_told_so(plane: World, api: Api) -> None:
    attempt = plane.running()
    push(api, plane, attempt.id, {"seq": 1, "kind": "hello", "host": "h", "pid": 1})
    plane.end(plane.attempt(attempt.id))
    token = attempt_token(plane.context.server_key, attempt.id)
    response = api.as_token(token).post(f"/v1/attempts/{attempt.id}/records", {"rank": 0})
    problem(response, 410, "gone")


def test_an_api_token_opens_no_attempt_and_an_attempts_token_opens_nothing_else(
    plane: World, api: Api
) -> None:
    attempt = plane.running()
    for body in ({"rank": 0}, {"nonsense": 1}):
        problem(api.post(f"/v1/attempts/{attempt.id}/records", body), 401, "unauthenticated")
    own = api.as_token(attempt_token(plane.context.server_key, attempt.id))
    problem(own.get("/v1/jobs"), 401, "unauthenticated")


@BOTH
def test_checkpoints_and_attempts_come_in_pages_too(plane: World, api: Api) -> None:
    attempt = plane.running()
    said = [{"seq": n, "kind": "checkpoint", "step": n, "uri": f"file:///c/{n}"} for n in (1, 2, 3)]
    push(api, plane, attempt.id, *said)
    path = f"/v1/jobs/{attempt.job_id}/checkpoints"
    first = api.get(path, params={"limit": 2}).json()
    second = api.get(path, params={"limit": 2, "after": first["next"]}).json()
    assert [each["step"] for each in (*first["items"], *second["items"])] == [1, 2, 3]
    assert second["next"] is None
    assert api.get(f"/v1/jobs/{attempt.job_id}/attempts", params={"limit": 1}).json()["next"] is None


@BOTH
def test_a_cluster_is_registered_looked_at_and_spoken_of(plane: World, api: Api) -> None:
    body = {"name": "lab", "adapter": "ray", "url": "https://lab.example:8265", "token": "ray-secret"}
    made = api.post("/v1/clusters", body)
    assert (made.status_code, made.json()["state"], made.headers["etag"]) == (201, "pending", '"1"')
    assert "ray-secret" not in made.text
    for verb in ("cordon", "uncordon", "drain", "undrain", "detach"):
        assert api.post(f"/v1/clusters/lab/{verb}").status_code == 200
    by_id = api.get(f"/v1/clusters/{made.json()['id']}")
    assert (by_id.json()["name"], by_id.json()["version"]) == ("lab", 6)
    plane.cluster("second", nodes=3, gpus=1)
    listed = api.get("/v1/clusters", params={"limit": 1}).json()
    rest = api.get("/v1/clusters", params={"after": listed["next"]}).json()
    assert [each["name"] for each in (*listed["items"], *rest["items"])] == ["lab", "second"]
    assert rest["items"][0]["capacity"] == {"cpus": 12.0, "gpus": 3.0, "memory": 24.0 * 1024**3}


def test_a_clusters_secret_is_changed_once_per_key_and_never_shown(plane: World, api: Api) -> None:
    plane.cluster("lab")
    key = {"Idempotency-Key": "rotate"}
    first, again = (api.post("/v1/clusters/lab/secret", {"secret": "hunter2"}, headers=key) for _ in range(2))
    assert (first.status_code, first.json()["version"], again.text) == (200, 3, first.text)
    assert "hunter2" not in first.text
    for file in plane.context.settings.home.glob("crossdock.db*"):
        assert b"hunter2" not in file.read_bytes()
    problem(api.post("/v1/clusters/nowhere/secret", {"secret": "x"}), 404, "not_found")


def test_a_cluster_tells_what_others_use_and_what_we_may_not(plane: World, api: Api) -> None:
    cluster = plane.cluster("lab", nodes=1)
    warned = replace(cluster, warnings=("may not list pods",), version=cluster.version + 1)

    def unit(tx: Tx) -> None:
        (node,) = tx.nodes.present(cluster.id)
        tx.nodes.put(replace(node, foreign=Amounts(cpu_milli=1500)))
        tx.clusters.save(warned)

    plane.store.write(unit)
    shown = api.get("/v1/clusters/lab").json()
    assert (shown["warnings"], shown["foreign"]["cpus"]) == (["may not list pods"], 1.5)


def test_nodes_are_listed_of_one_cluster_and_of_all(plane: World, api: Api) -> None:
    plane.cluster("one", nodes=2)
    plane.cluster("two", nodes=1)
    assert [node["name"] for node in api.get("/v1/clusters/one/nodes").json()["items"]] == ["one-0", "one-1"]
    first = api.get("/v1/nodes", params={"limit": 2}).json()
    rest = api.get("/v1/nodes", params={"after": first["next"]}).json()
    assert [node["cluster"] for node in (*first["items"], *rest["items"])] == ["one", "one", "two"]


@BOTH
def test_projects_queues_and_tokens_are_made_and_listed(plane: World, api: Api) -> None:
    assert api.post("/v1/projects", {"name": "vision"}).status_code == 201
    assert api.post("/v1/queues", {"project": "vision", "name": "night"}).status_code == 201
    assert [each["name"] for each in api.get("/v1/projects").json()["items"]] == ["default", "vision"]
    queues = api.get("/v1/queues", params={"project": "vision"}).json()["items"]
    assert [(each["project"], each["name"]) for each in queues] == [
        ("vision", "default"),
        ("vision", "night"),
    ]
    made = api.post("/v1/tokens", {"name": "ci", "role": "submitter", "project": "vision"}).json()
    assert api.as_token(made["secret"]).get("/v1/me").json() == {
        "name": "ci",
        "role": "submitter",
        "project": "vision",
    }
    shown = [each for each in api.get("/v1/tokens").json()["items"] if each["id"] == made["id"]]
    assert "secret" not in shown[0]
    revoked = api.post(f"/v1/tokens/{made['id']}/revoke")
    assert revoked.json()["revoked_at"] is not None
    assert api.get("/v1/me").json() == {"name": "a-admin", "role": "admin", "project": None}


def test_a_tokens_secret_is_not_kept_for_a_replay(plane: World, api: Api) -> None:
    key = {"Idempotency-Key": "token"}
    made = api.post("/v1/tokens", {"name": "ci", "role": "viewer"}, headers=key).json()
    again = api.post("/v1/tokens", {"name": "ci", "role": "viewer"}, headers=key)
    problem(again, 409, "conflict")
    assert made["id"] in again.json()["detail"]
    for file in plane.context.settings.home.glob("crossdock.db*"):
        assert made["secret"].encode() not in file.read_bytes()


def test_an_archive_is_uploaded_once_and_used(plane: World, api: Api) -> None:
    zipped = {"Content-Type": "application/zip"}
    made = api.post("/v1/uploads", content=archive(), headers=zipped)
    digest = made.json()["digest"]
    assert (made.status_code, made.json()["size_bytes"]) == (201, len(archive()))
    assert api.send("HEAD", f"/v1/uploads/{digest}").status_code == 200
    assert api.send("HEAD", f"/v1/uploads/sha256:{'0' * 64}").status_code == 404
    assert api.post("/v1/jobs", {**GOOD, "working_dir": digest}).status_code == 201


def test_a_bad_upload_is_refused_and_nothing_is_kept(plane: World, api: Api) -> None:
    zipped = {"Content-Type": "application/zip"}
    limit = plane.context.settings.upload_limit_bytes
    before = plane.counts()
    found = problem(api.post("/v1/uploads", content=archive("../up"), headers=zipped), 422, "invalid")
    assert (found["field"], found["value"]) == ("body", "../up")
    found = problem(api.post("/v1/uploads", content=b"x" * (limit + 1), headers=zipped), 413, "too_large")
    assert (found["value"], found["limit"]) == (limit + 1, limit)
    found = problem(api.post("/v1/uploads", content=archive(), headers={}), 415, "unsupported_media_type")
    assert found["limit"] == "application/zip"
    viewer = api.as_token(plane.secret(Role.VIEWER))
    problem(viewer.post("/v1/uploads", content=archive(), headers=zipped), 403, "forbidden")
    assert list(plane.context.objects.list("")) == []
    assert {**plane.counts(), "tokens": 0, "events": 0} == {**before, "tokens": 0, "events": 0}


def test_roles_are_kept_by_every_deed(plane: World, api: Api) -> None:
    job_id = plane.submit().job.id
    plane.cluster("lab")
    viewer, submitter = (api.as_token(plane.secret(role)) for role in (Role.VIEWER, Role.SUBMITTER))
    before = plane.counts()
    forbidden = [
        viewer.post("/v1/jobs", GOOD),
        viewer.post("/v1/jobs/batch", {"jobs": [GOOD]}),
        viewer.post("/v1/jobs/bulk", {"jobs": [GOOD]}),
        viewer.post(f"/v1/jobs/{job_id}/cancel"),
        submitter.post("/v1/projects", {"name": "mine"}),
        submitter.post("/v1/queues", {"project": "default", "name": "mine"}),
        submitter.post("/v1/clusters", {"name": "mine", "adapter": "local"}),
        submitter.post("/v1/clusters/lab/cordon"),
        submitter.post("/v1/tokens", {"name": "mine", "role": "admin"}),
        submitter.get("/v1/tokens"),
    ]
    for response in forbidden:
        problem(response, 403, "forbidden")
    assert plane.counts() == before


def test_readiness_names_what_is_missing(plane: World, api: Api) -> None:
    stranger = api.as_token(None)
    assert stranger.get("/healthz").json()["ok"] is True
    before = stranger.get("/readyz")
    assert (before.status_code, before.json()["checks"]["database"]) == (503, "ok")
    plane.store.write(lambda tx: tx.leases.take("scheduler", "test", 60.0))
    after = stranger.get("/readyz")
    assert (after.status_code, after.json()) == (
        200,
        {"ready": True, "checks": {"database": "ok", "scheduler": "ok"}},
    )


def test_a_database_that_is_away_is_503_and_come_back_later(plane: World, tmp_path: Path) -> None:
    absent = Store.open(f"sqlite:///{tmp_path}/no-such-folder/crossdock.db")
    try:
        with pytest.raises(Unavailable), absent.read():
            pass
    finally:
        absent.close()
    plane.store.close()
    context = plane.context
    (context.settings.home / "crossdock.db").unlink()
    (context.settings.home / "crossdock.db").mkdir()
    away = Api(app_over(context), f"cd_{'x' * 43}")
    response = away.get("/v1/jobs")
    problem(response, 503, "unavailable")
    assert int(response.headers["retry-after"]) >= 1
    assert away.get("/readyz").json()["checks"]["database"] != "ok"
    assert away.get("/healthz").status_code == 200


def test_a_fault_of_ours_tells_nothing_of_the_inside(plane: World, api: Api) -> None:
    def broken() -> None:
        secret_detail = 1 / 0
        assert secret_detail

    api.app.add_api_route("/broken", broken)
    response = api.get("/broken")
    problem(response, 500, "internal")
    assert "ZeroDivision" not in response.text


def test_a_request_id_is_taken_over_if_it_is_a_decent_one(api: Api) -> None:
    assert api.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    for bad in ("a b", "x" * 65, "<script>"):
        assert api.get("/healthz", headers={"X-Request-Id": bad}).headers["x-request-id"] != bad


def test_the_page_needs_no_token_and_may_load_nothing_from_elsewhere(api: Api) -> None:
    stranger = api.as_token(None)
    page = stranger.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert stranger.get("/static/main.js").status_code == 200
    problem(stranger.get("/static/nothing.js"), 404, "not_found")


def test_the_document_of_the_api_names_every_route_body_and_problem() -> None:
    document = openapi_document()
    schemas = document["components"]["schemas"]
    assert {"JobSpec", "Resources", "Problem", "FieldProblem", "RecordBatch", "JobDocument"} <= set(schemas)
    operations = [each for path in document["paths"].values() for each in path.values()]
    names = [each["operationId"] for each in operations]
    assert len(names) == len(set(names)) == len(ROUTES)
    assert {
        f"{method.upper()} {path}" for path, each in document["paths"].items() for method in each
    } == ROUTES
    references = {ref for ref in str(document).split("'") if ref.startswith("#/components/schemas/")}
    assert {ref.rpartition("/")[2] for ref in references} <= set(schemas)
    submit = document["paths"]["/v1/jobs"]["post"]
    body = submit["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/JobSpec"}
    assert document == openapi_document()
