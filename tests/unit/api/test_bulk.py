"""The bulk route: one answer per job, and what is wrong with one job is said of that one alone."""

import json
from typing import Any

import pytest

from controlplane.wire.jobs import MAX_BULK, MAX_BULK_BYTES, JobBulkAnswer, JobReceipt, JobRefusal
from tests.unit.api.client import BOTH, Api, problem
from tests.unit.operations.world import World

GOOD: dict[str, Any] = {"name": "train", "entrypoint": "python train.py"}
PATH = "/v1/jobs/bulk"


def items(api: Api, *jobs: object, key: str | None = None) -> list[Any]:
    headers = {} if key is None else {"Idempotency-Key": key}
    response = api.post(PATH, {"jobs": jobs}, headers=headers)
    assert response.status_code == 200, response.text
    found: list[Any] = response.json()["items"]
    return found


@BOTH
def test_each_job_has_an_answer_in_the_order_of_the_request(plane: World, api: Api) -> None:
    first = plane.submit(name="first").job
    labels = {"team": "vision"}
    jobs = [
        {**GOOD, "name": "a", "labels": labels},
        {**GOOD, "tasks": 0},
        {**GOOD, "queue": "nowhere"},
        {**GOOD, "name": "b", "depends_on": [first.id]},
    ]
    a, bad, lost, b = items(api, *jobs)
    assert (a, b) == (
        {"id": a["id"], "name": "a", "state": "queued"},
        {"id": b["id"], "name": "b", "state": "held"},
    )
    assert (bad["code"], bad["detail"]) == ("invalid", "tasks: Input should be greater than or equal to 1")
    assert (lost["code"], lost["fields"][0]["field"]) == ("not_found", "queue")
    stored = api.get(f"/v1/jobs/{a['id']}").json()
    assert (stored["spec"], stored["labels"], stored["state"]) == (jobs[0], labels, "queued")
    answer = JobBulkAnswer.model_validate({"items": [a, bad]})
    assert [type(each) for each in answer.items] == [JobReceipt, JobRefusal]


BAD: list[Any] = [
    None,
    7,
    "text",
    [],
    {},
    {"name": "A"},
    {**GOOD, "prority": 3},
    {**GOOD, "tasks": True},
    {**GOOD, "tasks": "1"},
    {**GOOD, "tasks": 1.0},
    {**GOOD, "tasks": 2**70},
    {**GOOD, "priority": 1001},
    {**GOOD, "resources": {"cpus": 0.0001}},
    {**GOOD, "resources": {"cpus": 0, "gpus": 0}},
    {**GOOD, "resources": {"memory": "much"}},
    {**GOOD, "resources": {"memory": f"{'9' * 400}TiB"}},
    {**GOOD, "resources": {"memory": 2**63}},
    {**GOOD, "resources": {"custom": {"fpga": 2**63}}},
    {**GOOD, "environment": {"RAY_X": "1"}},
    {**GOOD, "environment": {"X": 1}},
    {**GOOD, "labels": {"Bad Key": "x"}},
    {**GOOD, "labels": {"a": "nul \0"}},
    {**GOOD, "deadline": "2026-03-01T12:00:00"},
    {**GOOD, "deadline": "soon"},
    {**GOOD, "deadline": "9999-12-31T23:59:59-14:00"},
    {**GOOD, "deadline": "0001-01-01T00:00:00+14:00"},
    {**GOOD, "depends_on": [""]},
    {**GOOD, "working_dir": f"sha256:{'0' * 64}"},
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_a_bad_job_is_refused_as_it_would_be_alone(plane: World, api: Api, bad: object) -> None:
    alone = api.post("/v1/jobs", content=json.dumps(bad), headers={"Content-Type": "application/json"}).json()
    first, refused, last = items(api, GOOD, bad, GOOD)
    assert refused == {name: alone[name] for name in ("code", "detail", "fields")}
    assert first["state"] == last["state"] == "queued"


GOOD_ONES: list[dict[str, Any]] = [
    {**GOOD, "deadline": "2026-03-01T12:00:00+01:00", "max_runtime_seconds": 5},
    {**GOOD, "resources": {"cpus": 2, "memory": 4096, "custom": {"fpga": 1}}},
    {**GOOD, "retry": {"max_attempts": 3, "retryable_exit_codes": [1]}, "name": "ünïcode".encode().hex()},
    {**GOOD, "environment": {"GREETING": "grüß \\u0000 dich"}},
]


@pytest.mark.parametrize("good", GOOD_ONES, ids=range(len(GOOD_ONES)))
def test_a_good_job_is_stored_as_it_would_be_alone(plane: World, api: Api, good: dict[str, Any]) -> None:
    alone = api.post("/v1/jobs", good).json()
    (receipt,) = items(api, good)
    stored = api.get(f"/v1/jobs/{receipt['id']}").json()
    assert {**stored, "id": alone["id"]} == alone


def test_a_call_has_a_size(plane: World, api: Api) -> None:
    for jobs in ([], [GOOD] * (MAX_BULK + 1)):
        assert problem(api.post(PATH, {"jobs": jobs}), 422, "invalid")["field"] == "jobs"
    big = b'{"jobs": [' + b" " * MAX_BULK_BYTES + b"]}"
    found = problem(
        api.post(PATH, content=big, headers={"Content-Type": "application/json"}), 413, "too_large"
    )
    assert found["limit"] == MAX_BULK_BYTES


def test_a_stranger_is_refused_before_the_body_is_read(plane: World, api: Api) -> None:
    big = b" " * (MAX_BULK_BYTES + 1)
    stranger = api.as_token(f"cd_{'x' * 43}")
    problem(
        stranger.post(PATH, content=big, headers={"Content-Type": "application/json"}), 401, "unauthenticated"
    )


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"jobs": 7}', b'{"jobs": [{"name": "\\ud800"}]}'])
def test_what_is_no_list_of_jobs_is_refused_as_a_whole(plane: World, api: Api, body: bytes) -> None:
    problem(api.post(PATH, content=body, headers={"Content-Type": "application/json"}), 422, "invalid")
    assert plane.counts()["jobs"] == 0


@BOTH
def test_an_answer_is_given_again_word_by_word(plane: World, api: Api) -> None:
    jobs = [{**GOOD, "name": f"job-{number}"} for number in range(450)]
    first = items(api, *jobs, {"name": "bad"}, key="once")
    before = plane.counts()
    assert items(api, *jobs, {"name": "bad"}, key="once") == first
    assert plane.counts() == before
    other = api.post(PATH, {"jobs": jobs}, headers={"Idempotency-Key": "once"})
    problem(other, 409, "idempotency_key_reused")
    problem(api.post("/v1/jobs", GOOD, headers={"Idempotency-Key": "once"}), 409, "idempotency_key_reused")


def test_more_calls_than_there_is_room_for_are_told_to_come_back(plane: World, api: Api) -> None:
    room = api.app.state.site.bulk_calls
    while room.acquire(blocking=False):
        pass
    response = api.post(PATH, {"jobs": [GOOD]})
    problem(response, 503, "unavailable")
    assert (response.headers["retry-after"], plane.counts()["jobs"]) == ("1", 0)
    room.release()
    for _ in range(2):
        assert items(api, GOOD)[0]["state"] == "queued"
