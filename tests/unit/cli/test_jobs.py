"""`crossdock jobs`, word for word."""

import json
import re
from collections import deque
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.sdk.plane import Plane, Stream, attempt_document, chunk, job_document

pytestmark = pytest.mark.sockets

JOB_FILE = "name: train\nentrypoint: python train.py\ntasks: 2\nresources: {cpus: 2, memory: 1GiB}\n"


@pytest.fixture
def job_file(tmp_path: Path) -> str:
    path = tmp_path / "job.yaml"
    path.write_text(JOB_FILE)
    return str(path)


def test_submit_tells_what_was_accepted(plane: Plane, run: Run, job_file: str) -> None:
    result = run("jobs", "submit", job_file)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "job_1 train: queued\n", "")
    assert plane.jobs["job_1"]["spec"] == {
        "name": "train",
        "entrypoint": "python train.py",
        "tasks": 2,
        "resources": {"cpus": 2.0, "memory": "1GiB"},
    }


def test_submit_as_json_prints_the_document(plane: Plane, run: Run, job_file: str) -> None:
    document = json.loads(run("jobs", "submit", job_file, "--json").stdout)
    assert (document["id"], document["spec"]["tasks"]) == ("job_1", 2)


def test_submit_reads_standard_input(plane: Plane, run: Run) -> None:
    result = run("jobs", "submit", "-", given=json.dumps({"name": "x", "entrypoint": "true"}))
    assert result.stdout == "job_1 x: queued\n"


def test_a_job_files_working_dir_is_relative_to_it(plane: Plane, run: Run, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("print(1)\n")
    (tmp_path / "job.yaml").write_text(f"{JOB_FILE}working_dir: code\n")
    assert run("jobs", "submit", str(tmp_path / "job.yaml")).exit_code == 0
    assert plane.jobs["job_1"]["spec"]["working_dir"] in plane.uploads


def test_submit_and_wait_ends_with_the_jobs_outcome(plane: Plane, run: Run, job_file: str) -> None:
    plane.phases["job_1"] = deque(["active", "succeeded"])
    result = run("jobs", "submit", job_file, "--wait")
    assert (result.exit_code, result.stdout) == (0, "job_1 train: active\njob_1 train: succeeded\n")


def test_a_job_that_fails_is_exit_code_1(plane: Plane, run: Run, job_file: str) -> None:
    plane.phases["job_1"] = deque(["failed"])
    result = run("jobs", "submit", job_file, "--wait", "--json")
    assert (result.exit_code, json.loads(result.stdout)["state"]) == (1, "failed")


def test_submit_and_follow_prints_the_logs_on_the_way(plane: Plane, run: Run, job_file: str) -> None:
    messages = [("1", json.dumps(chunk("attempt_1", rank, 0, f"hello from {rank}\n"))) for rank in (0, 1)]
    plane.streams.append(Stream(messages=list(messages)))
    plane.phases["job_1"] = deque(["succeeded"])
    result = run("jobs", "submit", job_file, "--follow")
    assert result.stdout == "[0] hello from 0\n[1] hello from 1\njob_1 train: succeeded\n"


def test_a_refused_field_is_named_with_value_and_limit(plane: Plane, run: Run, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("name: x\nentrypoint: 'true'\ntasks: 0\n")
    result = run("jobs", "submit", str(tmp_path / "job.yaml"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "refused (invalid): tasks: Input should be greater than or equal to 1 (sent: 0) (limit: 1)\n"
    )


def test_several_refused_fields_come_one_per_line(plane: Plane, run: Run, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("name: x\nentrypoint: 'true'\nresources: {cpu: 1}\ntasks: many\n")
    result = run("jobs", "submit", str(tmp_path / "job.yaml"))
    assert result.stderr == (
        "refused (invalid): 2 fields\n"
        "  tasks: Input should be a valid integer (sent: many)\n"
        "  resources.cpu: Extra inputs are not permitted (sent: 1)\n"
    )


def test_a_servers_refusal_is_told_the_same_way_and_whole_as_json(
    plane: Plane, run: Run, job_file: str
) -> None:
    field = {"field": "tasks", "message": "too many", "value": 2, "limit": "the largest cluster holds 1"}
    problem = {
        "type": "/p",
        "title": "t",
        "status": 422,
        "detail": "no",
        "code": "invalid",
        "fields": [field],
    }
    plane.fixed["POST", "/v1/jobs"] = (422, problem)
    result = run("jobs", "submit", job_file)
    assert result.exit_code == 1
    assert result.stderr == (
        "refused (invalid): tasks: too many (sent: 2) (limit: the largest cluster holds 1)\n"
    )
    assert json.loads(run("jobs", "submit", job_file, "--json").stderr)["fields"] == [field]


@pytest.mark.parametrize("text", ["[1, 2]", "name: [", "\x00"])
def test_a_job_file_that_cannot_be_read_is_a_usage_error(
    plane: Plane, run: Run, tmp_path: Path, text: str
) -> None:
    (tmp_path / "job.yaml").write_text(text)
    result = run("jobs", "submit", str(tmp_path / "job.yaml"))
    assert (result.exit_code, plane.seen) == (2, [])


def test_a_folder_that_cannot_be_shipped_is_a_usage_error(plane: Plane, run: Run, job_file: str) -> None:
    result = run("jobs", "submit", job_file, "--working-dir", "/nowhere")
    assert (result.exit_code, result.stderr) == (2, "/nowhere is not a folder\n")


def test_list_is_a_table(plane: Plane, run: Run) -> None:
    plane.add_job({"name": "a", "tasks": 4}, attempts=2, state="active", phase="running")
    plane.add_job({"name": "longer-name", "queue": "nightly"})
    assert run("jobs", "list").stdout == (
        "ID     NAME         QUEUE            PHASE    TASKS  ATTEMPTS  SUBMITTED\n"
        "job_2  longer-name  default/nightly  queued   1      0         2026-03-01 12:00:00Z\n"
        "job_1  a            default/default  running  4      2         2026-03-01 12:00:00Z\n"
    )


def test_list_as_json_is_one_document_a_line(plane: Plane, run: Run) -> None:
    for name in ("a", "b", "c", "d"):
        plane.add_job({"name": name})
    lines = run("jobs", "list", "--json", "--limit", "3").stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["d", "c", "b"]


def test_filters_are_passed_on(plane: Plane, run: Run) -> None:
    run(
        "jobs",
        "list",
        "-p",
        "p",
        "-q",
        "q",
        "-s",
        "queued",
        "-s",
        "active",
        "--kind",
        "batch",
        "--name",
        "n",
        "-l",
        "a=b=c",
    )
    assert plane.seen[0].query == {
        "limit": ["200"],
        "project": ["p"],
        "queue": ["q"],
        "state": ["queued", "active"],
        "kind": ["batch"],
        "name": ["n"],
        "label": ["a=b=c"],
    }


@pytest.mark.parametrize(
    "words", [("--state", "running"), ("--label", "novalue"), ("--limit", "0"), ("--nope",)]
)
def test_a_filter_that_makes_no_sense_is_a_usage_error(
    plane: Plane, run: Run, words: tuple[str, ...]
) -> None:
    assert (run("jobs", "list", *words).exit_code, plane.seen) == (2, [])


def test_get_shows_the_facts(plane: Plane, run: Run) -> None:
    spec = {
        "name": "a",
        "kind": "training",
        "entrypoint": "python a.py",
        "resources": {"gpus": 0.5, "memory": "2GiB"},
    }
    job = job_document(
        "job_1", spec=spec, labels={"team": "x\x1b[2J"}, reason="exit code 3", retry_of="job_0"
    )
    plane.jobs["job_1"] = job
    assert run("jobs", "get", "job_1").stdout == (
        "id          job_1\n"
        "name        a\n"
        "kind        training\n"
        "queue       default/default\n"
        "phase       queued\n"
        "reason      exit code 3\n"
        "priority    0\n"
        "tasks       1 x (cpus 1, gpus 0.5, memory 2GiB)\n"
        "attempts    0\n"
        "submitted   2026-03-01 12:00:00Z\n"
        "since       2026-03-01 12:00:00Z\n"
        "retry of    job_0\n"
        "labels      team=x\\x1b[2J\n"
        "entrypoint  python a.py\n"
    )


def test_get_shows_what_each_role_needs(plane: Plane, run: Run) -> None:
    roles = [
        {"name": "server", "resources": {"cpus": 8}},
        {"name": "worker", "tasks": 4, "resources": {"gpus": 1}},
    ]
    plane.jobs["job_1"] = job_document("job_1", spec={"name": "a", "entrypoint": "a", "roles": roles})
    shown = "tasks       server 1 x (cpus 8), worker 4 x (cpus 1, gpus 1)\n"
    assert shown in run("jobs", "get", "job_1").stdout


def test_logs_of_a_single_task_come_as_they_are(plane: Plane, run: Run) -> None:
    plane.add_job({"name": "a"})
    plane.attempts["job_1"] = [attempt_document("attempt_1")]
    plane.logs["attempt_1", 0] = "one\n\x1b[32mtwo\x1b[0m\n"
    assert run("jobs", "logs", "job_1").stdout == "one\n\x1b[32mtwo\x1b[0m\n"


def test_attempts_are_a_table(plane: Plane, run: Run) -> None:
    plane.add_job({"name": "a"})
    ended = {"state": "ended", "outcome": "failed", "exit_code": 3, "reason": "rank 1 ended with 3"}
    plane.attempts["job_1"] = [
        attempt_document("attempt_1", ranks=2) | ended | {"ended_at": "2026-03-01T12:01:00Z"},
        attempt_document("attempt_2", number=2, progress=0.25, progress_message="epoch 1"),
    ]
    lines = run("jobs", "attempts", "job_1").stdout.splitlines()
    placed, over = "2026-03-01 12:00:00Z", "2026-03-01 12:01:00Z"
    assert [re.split(" {2,}", line) for line in lines] == [
        ["NUMBER", "ID", "CLUSTER", "STATE", "EXIT", "PROGRESS", "PLACED", "ENDED", "NODES", "REASON"],
        ["1", "attempt_1", "local", "failed", "3", "-", placed, over, "node-0,node-1", "rank 1 ended with 3"],
        ["2", "attempt_2", "local", "running", "-", "25% epoch 1", placed, "-", "node-0", "-"],
    ]
    assert (
        len({line.index(word) for line, word in zip(lines, ("CLUSTER", "local", "local"), strict=True)}) == 1
    )


def test_metrics_are_a_table(plane: Plane, run: Run) -> None:
    plane.add_job({"name": "a"})
    plane.metrics.append(
        {
            "attempt_id": "attempt_1",
            "attempt_number": 1,
            "rank": 0,
            "seq": 1,
            "step": 10,
            "at": "2026-03-01T12:00:00Z",
            "values": {"loss": 0.123456789, "accuracy": None},
        }
    )
    assert run("jobs", "metrics", "job_1").stdout == (
        "ATTEMPT  RANK  STEP  AT                    VALUES\n"
        "1        0     10    2026-03-01 12:00:00Z  loss=0.123457 accuracy=-\n"
    )


def test_explain_says_why_and_what_would_help(plane: Plane, run: Run) -> None:
    plane.add_job({"name": "a"})
    told = {
        "job_id": "job_1",
        "state": "queued",
        "phase": "queued",
        "code": "no_room",
        "sentence": "needs 2 gpus, 1 is free",
        "remedy": "a free gpu",
        "as_of": "2026-03-01T12:00:00Z",
        "unused_fields": ["labels", "deadline"],
    }
    plane.fixed["GET", "/v1/jobs/job_1/explain"] = (200, told)
    assert run("jobs", "explain", "job_1").stdout == (
        "queued (no_room): needs 2 gpus, 1 is free\n"
        "what would help: a free gpu\n"
        "stored, but not used by any decision yet: labels, deadline\n"
        "as of 2026-03-01 12:00:00Z\n"
    )
    assert json.loads(run("jobs", "explain", "job_1", "--json").stdout)["code"] == "no_room"


def test_cancel_and_retry_tell_the_outcome(plane: Plane, run: Run) -> None:
    plane.add_job({"name": "a", "entrypoint": "true"})
    assert run("jobs", "cancel", "job_1").stdout == "job_1 a: cancelled\n"
    assert run("jobs", "retry", "job_1").stdout == "job_2 a: queued\n"


def test_a_wait_that_takes_too_long_is_exit_code_1(plane: Plane, run: Run) -> None:
    plane.add_job({"name": "a"})
    result = run("jobs", "wait", "job_1", "--timeout", "0.2")
    assert (result.exit_code, result.stderr) == (1, "job job_1 is still queued\n")


def test_a_job_that_is_not_there_is_exit_code_1(plane: Plane, run: Run) -> None:
    result = run("jobs", "get", "job_9")
    assert (result.exit_code, result.stderr) == (1, "refused (not_found): nothing at /v1/jobs/job_9\n")
