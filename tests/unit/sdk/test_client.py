"""The client against a control plane with vices."""

from collections import deque

import pytest

from controlplane.sdk import (
    ApiProblem,
    Client,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    JobFailed,
    JobSpec,
    NotFound,
    Resources,
    ServerFault,
    Timeout,
    TooLarge,
    Unauthenticated,
    Unreachable,
)
from tests.unit.sdk.plane import Plane, Vice, running_plane

pytestmark = pytest.mark.sockets

SPEC = {"name": "train", "entrypoint": "python train.py"}


def test_a_submitted_job_comes_back_as_a_handle(client: Client) -> None:
    job = client.jobs.submit(JobSpec(name="train", entrypoint="python train.py", resources=Resources(cpus=2)))
    assert (job.id, job.state, job.document.spec) == (
        "job_1",
        "queued",
        {"name": "train", "entrypoint": "python train.py", "resources": {"cpus": 2.0}},
    )


@pytest.mark.parametrize("vice", Vice)
def test_whatever_happens_to_the_answer_a_submit_makes_one_job(
    client: Client, plane: Plane, vice: Vice
) -> None:
    plane.vices.extend([vice, vice])
    job = client.jobs.submit(SPEC)
    assert list(plane.jobs) == [job.id]


def test_every_try_of_one_call_has_one_key_and_every_call_its_own(client: Client, plane: Plane) -> None:
    plane.vices.extend([Vice.AWAY, Vice.LOST_ANSWER])
    client.jobs.submit(SPEC)
    client.jobs.submit(SPEC)
    keys = [each.headers["idempotency-key"] for each in plane.seen]
    assert (len(keys), len(set(keys[:3])), len(set(keys))) == (4, 1, 2)


def test_a_batch_is_one_request(client: Client, plane: Plane) -> None:
    jobs = client.jobs.submit_many([{**SPEC, "name": "a"}, {**SPEC, "name": "b", "depends_on": ["a"]}])
    assert [job.document.name for job in jobs] == ["a", "b"]
    assert plane.paths("POST") == ["/v1/jobs/batch"]


def test_the_token_is_sent_with_every_request(client: Client, plane: Plane) -> None:
    client.jobs.submit(SPEC)
    assert plane.seen[0].headers["authorization"] == "Bearer cd_test"


def test_a_misspelt_field_is_refused_before_anything_is_sent(client: Client, plane: Plane) -> None:
    with pytest.raises(Invalid) as refused:
        client.jobs.submit({**SPEC, "prority": 3})
    assert [field.field for field in refused.value.problem.fields] == ["prority"]
    assert plane.seen == []


def test_an_empty_batch_is_refused_before_anything_is_sent(client: Client, plane: Plane) -> None:
    with pytest.raises(Invalid):
        client.jobs.submit_many([])
    assert plane.seen == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, Invalid),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (410, Gone),
        (413, TooLarge),
        (418, ApiProblem),
        (422, Invalid),
        (500, ServerFault),
    ],
)
def test_a_refusal_carries_the_problem_and_is_not_repeated(
    client: Client, plane: Plane, code: int, kind: type[ApiProblem]
) -> None:
    field = {"field": "tasks", "message": "too many", "value": 9, "limit": 4}
    problem = {
        "type": "/problems/x",
        "title": "X",
        "status": code,
        "detail": "no",
        "code": "x",
        "fields": [field],
    }
    plane.fixed["GET", "/v1/jobs/job_1"] = (code, problem)
    with pytest.raises(ApiProblem) as refused:
        client.jobs.get("job_1")
    assert type(refused.value) is kind
    assert refused.value.problem.model_dump(exclude_none=True) == problem
    assert str(refused.value) == "no"
    assert len(plane.seen) == 1


def test_an_answer_of_something_else_is_the_servers_fault(client: Client, plane: Plane) -> None:
    plane.fixed["GET", "/v1/jobs/job_1"] = (200, {"hello": "world"})
    with pytest.raises(ServerFault) as refused:
        client.jobs.get("job_1")
    assert refused.value.problem.code == "not_understood"


def test_pages_are_fetched_as_they_are_needed(client: Client, plane: Plane) -> None:
    for number in range(7):
        plane.add_job({**SPEC, "name": f"j{number}"})
    listed = client.jobs.list(project="default", state=["queued", "active"], label=("team", "blue"))
    first = next(listed)
    assert (first.document.name, len(plane.seen)) == ("j6", 1)
    assert [job.document.name for job in listed] == ["j5", "j4", "j3", "j2", "j1", "j0"]
    assert plane.seen[1].query == {
        "limit": ["200"],
        "project": ["default"],
        "state": ["queued", "active"],
        "label": ["team=blue"],
        "after": ["3"],
    }


def test_a_dead_replica_is_left_for_the_next(plane: Plane) -> None:
    with running_plane() as dead:
        gone = dead.url
    with Client([gone, plane.url], "cd_test", patience_seconds=5) as client:
        assert client.jobs.submit(SPEC).id == "job_1"
        assert client.jobs.get("job_1").id == "job_1"


def test_several_addresses_may_come_in_one_text(plane: Plane) -> None:
    with Client(f"{plane.url}, {plane.url}/", "cd_test") as client:
        assert client.jobs.submit(SPEC).id == "job_1"


def test_nobody_there_is_unreachable_when_patience_ends(plane: Plane) -> None:
    plane.stop()
    with Client(plane.url, "cd_test", patience_seconds=0.2) as client, pytest.raises(Unreachable) as failure:
        client.jobs.get("job_1")
    assert str(failure.value).startswith(f"{plane.url} does not answer: ")


def test_a_server_that_stays_away_is_unreachable_and_says_why(plane: Plane) -> None:
    plane.vices.extend([Vice.AWAY] * 100)
    with Client(plane.url, "cd_test", patience_seconds=0.2) as client, pytest.raises(Unreachable) as failure:
        client.jobs.get("job_1")
    assert str(failure.value) == f"{plane.url} asks to come back later (503): the database is away"


def test_wait_returns_the_finished_job_whatever_its_outcome(client: Client, plane: Plane) -> None:
    job = client.jobs.submit(SPEC)
    plane.phases[job.id] = deque(["active", "active", "failed"])
    assert job.wait().state == "failed"


def test_a_checked_wait_raises_for_a_job_that_did_not_succeed(client: Client, plane: Plane) -> None:
    job = client.jobs.submit(SPEC)
    plane.jobs[job.id]["reason"] = "exit code 3"
    plane.phases[job.id] = deque(["failed"])
    with pytest.raises(JobFailed) as failed:
        job.wait(check=True)
    assert str(failed.value) == "job job_1 (train) failed: exit code 3"
    assert failed.value.document.id == job.id


def test_a_wait_that_takes_too_long_ends_and_the_job_goes_on(client: Client) -> None:
    job = client.jobs.submit(SPEC)
    with pytest.raises(Timeout) as late:
        job.wait(timeout_seconds=0.3)
    assert str(late.value) == "job job_1 is still queued"


def test_a_wait_outlasts_a_restart_of_the_server(plane: Plane) -> None:
    with Client(plane.url, "cd_test", patience_seconds=0) as client:
        job = client.jobs.submit(SPEC)
        looks = job.watch(patience_seconds=10)
        assert next(looks).state == "queued"
        plane.stop()
        with pytest.raises(Unreachable):
            client.jobs.get(job.id)
        plane.vices.extend([Vice.AWAY, Vice.BROKEN_PROXY])
        plane.start()
        plane.phases[job.id] = deque(["succeeded"])
        assert [each.state for each in looks] == ["succeeded"]


def test_a_wait_loses_patience_with_a_server_that_stays_away(client: Client, plane: Plane) -> None:
    job = client.jobs.submit(SPEC)
    plane.stop()
    with pytest.raises(Unreachable):
        job.wait(patience_seconds=0.2)


def test_cancel_updates_the_handle(client: Client) -> None:
    job = client.jobs.submit(SPEC)
    assert job.cancel().state == "cancelled"


def test_retry_returns_a_new_job(client: Client) -> None:
    job = client.jobs.submit(SPEC).cancel()
    again = job.retry()
    assert (again.id, again.document.retry_of, job.id) == ("job_2", "job_1", "job_1")


def test_a_metric_tail_reads_every_point_once(client: Client, plane: Plane) -> None:
    job = client.jobs.submit(SPEC)
    tail = job.metric_tail()
    read = []
    for steps in (range(2), range(2, 7), range(7, 7), range(7, 9)):
        plane.metrics.extend(_point(step) for step in steps)
        read.append([point.step for point in tail.read()])
    assert read == [[0, 1], [2, 3, 4, 5, 6], [], [7, 8]]
    assert [point.step for point in job.metrics()] == list(range(9))


def _point(step: int) -> dict[str, object]:
    return {
        "attempt_id": "attempt_1",
        "attempt_number": 1,
        "rank": 0,
        "seq": step + 1,
        "step": step,
        "at": "2026-03-01T12:00:00Z",
        "values": {"loss": 1.0 / (step + 1)},
    }
