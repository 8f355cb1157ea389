"""What bad input gets: a 4xx problem that names field, value and limit, and nothing half-created."""

import base64
import json
import threading
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from controlplane.identity.principals import Role
from tests.unit.api.client import BOTH, Api, problem
from tests.unit.operations.world import World, other_project

JSON = {"Content-Type": "application/json"}
GOOD: dict[str, Any] = {"name": "train", "entrypoint": "python train.py"}
AFTER_TIME, BEFORE_TIME = "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"
"""Moments whose UTC no calendar has."""

READING: dict[str, Any] = {"inputs": {"corpus": "s3://data/corpus/"}}
RAY: dict[str, Any] = {"name": "lab-2", "adapter": "ray", "url": "https://lab:8265"}


def refused(
    plane: World, api: Api, body: object, *, status: int = 422, code: str = "invalid"
) -> dict[str, Any]:
    """Submits, expects the problem, and checks that no table has a row more."""
    before = plane.counts()
    field = problem(api.post("/v1/jobs", body), status, code)
    assert plane.counts() == before
    return field


def raw(api: Api, content: bytes, *, path: str = "/v1/jobs", **headers: str) -> httpx.Response:
    return api.post(path, content=content, headers={**JSON, **headers})


@pytest.mark.parametrize(
    ("change", "field", "value", "limit"),
    [
        ({"entrypiont": "typo"}, "entrypiont", "typo", None),
        ({"resources": {"cpu": 1}}, "resources.cpu", 1, None),
        ({"entrypoint": None}, "entrypoint", None, None),
        ({"entrypoint": "  "}, "entrypoint", "  ", None),
        ({"name": "Träin"}, "name", "Träin", "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"),
        ({"tasks": 0}, "tasks", 0, 1),
        ({"tasks": -3}, "tasks", -3, 1),
        ({"tasks": 1_000_000}, "tasks", 1_000_000, 4096),
        ({"tasks": "two"}, "tasks", "two", None),
        ({"resources": {"cpus": -1}}, "resources.cpus", -1, 0),
        ({"resources": {"cpus": 1e300}}, "resources.cpus", 1e300, 1_000_000),
        ({"resources": {"cpus": 10**400}}, "resources.cpus", "a whole number of 1329 bits", None),
        ({"resources": {"cpus": 0.0005}}, "resources.cpus", 0.0005, None),
        ({"resources": {"gpus": 1.5}}, "resources.gpus", 1.5, None),
        ({"resources": {"memory": -1}}, "resources.memory", -1, None),
        ({"resources": {"memory": "much"}}, "resources.memory", "much", None),
        ({"resources": {"memory": f"{'9' * 400}TiB"}}, "resources.memory", f"{'9' * 120}...", None),
        ({"resources": {"memory": "9000TiB"}}, "resources.memory", "9000TiB", None),
        ({"resources": {"cpus": 0}}, "resources", None, None),
        ({"resources": {"custom": {"tpu": -1}}}, "resources.custom.tpu", -1, 0),
        ({"retry": {"max_attempts": 0}}, "retry.max_attempts", 0, 1),
        ({"max_runtime_seconds": 0}, "max_runtime_seconds", 0, 0),
        ({"environment": {"RAY_ADDRESS": "x"}}, "environment", None, None),
        ({"working_dir": "sha256:short"}, "working_dir", "sha256:short", "^sha256:[0-9a-f]{64}$"),
        ({"working_dir": f"sha256:{'0' * 64}"}, "working_dir", f"sha256:{'0' * 64}", None),
        ({"checkpoint_uri": "s3://bucket"}, "checkpoint_uri", "s3://bucket", None),
        ({**READING, "input_gib": {"corpus": 0}}, "input_gib.corpus", 0, 0),
        ({**READING, "input_gib": {"corpus": 1e9}}, "input_gib.corpus", 1e9, 1024**2),
        ({**READING, "input_gib": {"corpus": "7 GiB"}}, "input_gib.corpus", "7 GiB", None),
        ({"depends_on": ["job_nobody"]}, "depends_on", "job_nobody", None),
        ({"labels": {"Bad Key": "x"}}, "labels.Bad Key", "Bad Key", "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"),
        ({"deadline": "2026-03-01T12:00:00"}, "deadline", "2026-03-01T12:00:00", None),
        ({"deadline": AFTER_TIME}, "deadline", AFTER_TIME, None),
        ({"deadline": BEFORE_TIME}, "deadline", BEFORE_TIME, None),
    ],
)
def test_a_bad_field_is_named_with_its_value_and_limit(
    plane: World, api: Api, *, change: dict[str, Any], field: str, value: object, limit: object
) -> None:
    found = refused(plane, api, {**GOOD, **change})
    assert (found["field"], found["value"], found["limit"]) == (field, value, limit)
    assert found["message"]


@pytest.mark.parametrize(
    ("inputs", "known"),
    [({"labels": "s3://data/l", "corpus": "s3://data/c/"}, "corpus, labels"), ({}, "none")],
)
def test_the_size_of_what_is_no_input_is_refused(
    plane: World, api: Api, inputs: dict[str, str], known: str
) -> None:
    found = refused(plane, api, {**GOOD, "inputs": inputs, "input_gib": {"corpse": 7}})
    assert found["field"] == "input_gib"
    assert found["message"] == f"corpse is none of the job's inputs, which are: {known}"


def test_every_bad_field_is_named_at_once(plane: World, api: Api) -> None:
    response = api.post("/v1/jobs", {"name": "A", "tasks": 0, "extra": 1})
    fields = [each["field"] for each in response.json()["fields"]]
    assert sorted(fields) == ["entrypoint", "extra", "name", "tasks"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["cpus", "gpus", "memory"])
def test_a_number_that_is_none_is_refused(plane: World, api: Api, number: str, field: str) -> None:
    before = plane.counts()
    body = f'{{"name": "a", "entrypoint": "true", "resources": {{"{field}": {number}}}}}'
    found = problem(raw(api, body.encode()), 422, "invalid")
    assert (found["field"], plane.counts()) == (f"resources.{field}", before)


def test_a_gang_that_no_cluster_could_ever_hold_names_what_the_largest_holds(plane: World, api: Api) -> None:
    plane.cluster("lab", nodes=2, gpus=2)
    found = refused(plane, api, {**GOOD, "tasks": 8, "resources": {"gpus": 1}})
    assert (found["field"], found["value"], found["limit"]) == ("tasks", 8, 4)
    assert found["message"] == "needs 8 x {cpu 1, gpu 1}, the largest cluster 'lab' holds 4"


@BOTH
def test_the_last_moment_of_all_is_one(plane: World, api: Api) -> None:
    job_id = api.post("/v1/jobs", {**GOOD, "deadline": "9999-12-31T23:59:59.999999Z"}).json()["id"]
    with plane.store.read() as tx:
        (ask,) = tx.asks.queued().classes
    assert (ask.job_id, ask.traits.deadline) == (job_id, datetime.max.replace(tzinfo=UTC))


@pytest.mark.parametrize("at", [AFTER_TIME, BEFORE_TIME])
def test_a_moment_that_is_none_is_refused_everywhere(plane: World, api: Api, at: str) -> None:
    rate = {"per": "gpu", "price_per_hour": "1", "currency": "EUR", "valid_from": at}
    token = {"name": "ci", "role": "viewer", "expires_at": at}
    for path, body, field in (("/v1/rates", rate, "valid_from"), ("/v1/tokens", token, "expires_at")):
        before = plane.counts()
        found = problem(api.post(path, body), 422, "invalid")
        assert (found["field"], found["value"], plane.counts()) == (field, at, before)
    for end in ("from", "to"):
        assert problem(api.get("/v1/costs", params={end: at}), 422, "invalid")["field"] == end


@BOTH
def test_a_cycle_is_named_by_its_jobs(plane: World, api: Api) -> None:
    before = plane.counts()
    jobs = [{**GOOD, "name": "a", "depends_on": ["b"]}, {**GOOD, "name": "b", "depends_on": ["a"]}]
    found = problem(api.post("/v1/jobs/batch", {"jobs": jobs}), 422, "invalid")
    assert found["field"] == "jobs"
    assert found["value"] in {"a -> b -> a", "b -> a -> b"}
    assert plane.counts() == before


def test_a_bad_job_of_a_batch_is_named_by_its_place(plane: World, api: Api) -> None:
    before = plane.counts()
    jobs = [GOOD, {**GOOD, "tasks": 0}]
    found = problem(api.post("/v1/jobs/batch", {"jobs": jobs}), 422, "invalid")
    assert (found["field"], found["limit"], plane.counts()) == ("jobs.1.tasks", 1, before)


@pytest.mark.parametrize("jobs", [[], [GOOD] * 1001])
def test_a_batch_has_a_size(plane: World, api: Api, jobs: list[object]) -> None:
    assert problem(api.post("/v1/jobs/batch", {"jobs": jobs}), 422, "invalid")["field"] == "jobs"


@BOTH
def test_a_key_that_comes_back_with_another_body_is_a_conflict(plane: World, api: Api) -> None:
    key = {"Idempotency-Key": "once"}
    assert api.post("/v1/jobs", GOOD, headers=key).status_code == 201
    before = plane.counts()
    response = api.post("/v1/jobs", {**GOOD, "name": "other"}, headers=key)
    found = problem(response, 409, "idempotency_key_reused")
    assert (found["field"], found["value"], plane.counts()) == ("Idempotency-Key", "once", before)


@pytest.mark.parametrize("key", ["", "k" * 256, "tab\there"])
def test_a_key_that_is_none_is_refused(plane: World, api: Api, key: str) -> None:
    found = problem(api.post("/v1/jobs", GOOD, headers={"Idempotency-Key": key}), 422, "invalid")
    assert found["field"] == "Idempotency-Key"


@pytest.mark.parametrize("token", [None, "", "cd_short", f"cd_{'x' * 43}", "cd_" + "é" * 43])
def test_a_wrong_token_is_refused_before_anything_else(plane: World, api: Api, token: str | None) -> None:
    stranger = api.as_token(token)
    stranger.headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}  # type: ignore[dict-item]
    before = plane.counts()
    for response in (stranger.get("/v1/jobs"), stranger.post("/v1/jobs", {"nonsense": 1})):
        problem(response, 401, "unauthenticated")
    assert plane.counts() == before


@BOTH
def test_another_projects_job_is_not_found_by_any_route(plane: World, api: Api) -> None:
    other_project(plane)
    job_id = plane.submit(project="other").job.id
    ours = api.as_token(plane.secret(Role.ADMIN, "default"))
    before = plane.counts()
    parts = ("", "/attempts", "/logs", "/logs/stream", "/metrics", "/checkpoints", "/explain")
    answers = [ours.get(f"/v1/jobs/{job_id}{part}") for part in parts]
    answers += [ours.post(f"/v1/jobs/{job_id}/{verb}") for verb in ("cancel", "retry")]
    answers += [ours.get("/v1/events", params={"job": job_id})]
    nobodys = ours.get("/v1/jobs/job_nobody").json()["detail"]
    for response in answers:
        problem(response, 404, "not_found")
        assert response.json()["detail"].replace(job_id, "job_nobody") == nobodys
    assert plane.counts() == before


def tampered(cursor: str) -> list[str]:
    encoded, _, mac = cursor.partition(".")
    forged = base64.urlsafe_b64encode(b'["job_other"]').decode().rstrip("=")
    return [cursor[:-1], f"{forged}.{mac}", f"{encoded}.{'0' * len(mac)}", encoded, "", "é", "a.b.c", "'; --"]


@BOTH
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/projects", "/v1/tokens", "/v1/queues"])
def test_a_tampered_cursor_is_refused(plane: World, api: Api, path: str) -> None:
    for name in ("one", "two"):
        plane.submit(name=name)
        other_project(plane, name)
        plane.secret(Role.VIEWER)
    cursor = api.get(path, params={"limit": 1}).json()["next"]
    assert api.get(path, params={"limit": 1, "after": cursor}).status_code == 200
    for bad in tampered(cursor):
        found = problem(api.get(path, params={"after": bad}), 422, "invalid")
        assert (found["field"], found["value"]) == ("after", bad)


def test_a_cursor_of_another_list_is_refused(plane: World, api: Api) -> None:
    for name in ("one", "two"):
        plane.submit(name=name)
    cursor = api.get("/v1/jobs", params={"limit": 1}).json()["next"]
    assert problem(api.get("/v1/queues", params={"after": cursor}), 422, "invalid")["field"] == "after"


@BOTH
def test_a_tampered_event_cursor_is_refused(plane: World, api: Api) -> None:
    cursor = api.get("/v1/events", params={"limit": 1}).json()["items"][0]["cursor"]
    for path in ("/v1/events", "/v1/events/stream"):
        for bad in (f"{cursor}0", cursor[1:], "0", "", "é"):
            found = problem(api.get(path, params={"after": bad}), 422, "invalid")
            assert (found["field"], found["value"]) == ("after", bad)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b"[1, 2",
        b'"text"',
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"name": "\xff"}',
        b'{"a": 1,}',
    ],
)
def test_what_is_no_json_object_is_refused(plane: World, api: Api, body: bytes) -> None:
    before = plane.counts()
    assert problem(raw(api, body), 422, "invalid")["field"] == "body"
    assert plane.counts() == before


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting_is_refused(plane: World, api: Api, opening: bytes) -> None:
    for path in ("/v1/jobs", "/v1/jobs/batch", "/v1/projects"):
        assert problem(raw(api, opening * 100_000, path=path), 422, "invalid")["field"] == "body"


def test_an_unpaired_surrogate_is_refused(plane: World, api: Api) -> None:
    found = problem(raw(api, b'{"name": "a", "entrypoint": "echo \\ud800"}'), 422, "invalid")
    assert found["field"] == "body"


@BOTH
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"entrypoint": "echo \0"}, "entrypoint"),
        ({"environment": {"A": "\0"}}, "environment"),
        ({"labels": {"a": "x\0y"}}, "labels.a"),
        ({"resources": {"accelerator": "\0"}}, "resources.accelerator"),
        ({"depends_on": ["\0"]}, "depends_on.0"),
    ],
)
def test_a_nul_character_is_refused(plane: World, api: Api, change: dict[str, Any], field: str) -> None:
    assert refused(plane, api, {**GOOD, **change})["field"] == field


def test_text_that_only_spells_a_nul_is_fine(plane: World, api: Api) -> None:
    response = api.post("/v1/jobs", {**GOOD, "entrypoint": r"printf '\u0000'"})
    assert response.status_code == 201
    assert response.json()["spec"]["entrypoint"] == r"printf '\u0000'"


@pytest.mark.parametrize(
    "path", ["/v1/jobs/%00", "/v1/jobs?name=%00", "/v1/clusters/a%00b", "/v1/events?job=%00"]
)
def test_a_nul_character_in_an_address_is_refused(plane: World, api: Api, path: str) -> None:
    problem(api.get(path), 422, "invalid")


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded", "application/zip"])
def test_a_body_of_another_type_is_refused(plane: World, api: Api, kind: str) -> None:
    response = api.post("/v1/jobs", content=json.dumps(GOOD), headers={"Content-Type": kind})
    found = problem(response, 415, "unsupported_media_type")
    assert (found["field"], found["value"], found["limit"]) == ("Content-Type", kind, "application/json")


def test_a_type_may_carry_its_charset(plane: World, api: Api) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert api.post("/v1/jobs", content=json.dumps(GOOD), headers=headers).status_code == 201


def test_a_body_over_the_limit_is_refused(plane: World, api: Api) -> None:
    before = plane.counts()
    found = problem(raw(api, b" " * (4 * 1024**2 + 1)), 413, "too_large")
    assert (found["field"], found["limit"], plane.counts()) == ("body", 4 * 1024**2, before)


def test_an_unknown_route_is_not_found(api: Api) -> None:
    problem(api.get("/v1/nothing"), 404, "not_found")
    problem(api.get("/v1/jobs/"), 404, "not_found")
    problem(api.get("/static/../../etc/passwd"), 404, "not_found")


def test_a_wrong_method_is_told_the_right_ones(api: Api) -> None:
    response = api.send("DELETE", "/v1/jobs/some")
    problem(response, 405, "method_not_allowed")
    assert "GET" in response.headers["allow"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("state=asleep", "state.0"),
        ("kind=inference", "kind"),
        ("label=noequals", "label"),
        ("sate=queued", "sate"),
        ("queue=default", "queue"),
    ],
)
def test_a_bad_parameter_is_named(api: Api, query: str, field: str) -> None:
    assert problem(api.get(f"/v1/jobs?{query}"), 422, "invalid")["field"] == field


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_a_deed_that_needs_no_words_refuses_them(plane: World, api: Api, verb: str) -> None:
    job_id = plane.submit().job.id
    found = problem(api.post(f"/v1/jobs/{job_id}/{verb}", {"reason": "why not"}), 422, "invalid")
    assert found["field"] == "reason"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/clusters", {**RAY, "token": {"hunter2": 1}}),
        ("/v1/clusters", {**RAY, "token": "hunter2\0"}),
        ("/v1/clusters", {**RAY, "url": None, "secret": ["hunter2"]}),
        ("/v1/clusters", {**RAY, "secret": "hunter2"}),
        ("/v1/clusters", {**RAY, "url": None, "secret": "hunter2" * 100_000}),
        ("/v1/clusters/lab/secret", {"secret": {"hunter2": 1}}),
        ("/v1/clusters/lab/secret", {"secret": "hunter2\0"}),
        ("/v1/clusters/lab/secret", {"secret": "hunter2", "more": 1}),
        ("/v1/clusters/lab/secret", {"secret": ""}),
    ],
)
def test_a_clusters_secret_is_never_repeated(plane: World, api: Api, path: str, body: dict[str, Any]) -> None:
    plane.cluster("lab")
    response = api.post(path, body)
    problem(response, 422, "invalid")
    assert "hunter2" not in response.text


@BOTH
def test_equal_requests_at_once_make_one_job(plane: World, api: Api) -> None:
    answers: list[httpx.Response] = []

    def submit() -> None:
        answers.append(api.post("/v1/jobs", GOOD, headers={"Idempotency-Key": "race"}))

    threads = [threading.Thread(target=submit) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert sum("idempotent-replay" in answer.headers for answer in answers) == 15
    assert plane.counts()["jobs"] == 1
