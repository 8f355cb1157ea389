"""Pipelines on the command line, word for word."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.sdk.plane import NOW, Plane

pytestmark = pytest.mark.sockets

ARTIFACT = {"name": "model", "kind": "model", "uri": "s3://m/model.pt", "size_bytes": 2048, "sha256": "ab"}
TRAIN = {
    "name": "train",
    "kind": "job",
    "needs": [],
    "state": "succeeded",
    "since": "2026-03-01T12:01:05Z",
    "begun_at": NOW,
    "number": 2,
    "job_id": "job_1",
    "outputs": [ARTIFACT],
}
PUBLISH = {
    "name": "publish",
    "kind": "publish",
    "needs": ["train"],
    "state": "failed",
    "since": NOW,
    "number": 1,
    "reason": "gate 'good'",
    "outputs": [],
}
EXECUTION: dict[str, Any] = {
    "id": "execution_1",
    "project": "default",
    "pipeline": "digits",
    "state": "failed",
    "since": NOW,
    "created_at": NOW,
    "reason": "step 'publish' failed: gate 'good'",
    "outputs_uri": "s3://m/",
    "steps": [TRAIN, PUBLISH],
    "spec": {},
    "version": 3,
}
DONE = EXECUTION | {"state": "succeeded", "reason": None, "steps": [TRAIN]}
SCHEDULE = {
    "id": "schedule_1",
    "project": "default",
    "name": "nightly",
    "pipeline": "digits",
    "cron": "0 3 * * *",
    "zone": "Europe/Berlin",
    "overlap": "skip",
    "created_at": NOW,
    "next_at": "2026-03-02T02:00:00Z",
    "version": 1,
}
AT = "2026-03-01 12:00:00Z"
STEPS = (
    "\n"
    "STEP     STATE      TRIES  TOOK  JOB    OUTPUTS     REASON\n"
    "train    succeeded  2      1:05  job_1  model 2KiB  -\n"
    "publish  failed     1      -     -      -           gate 'good'\n"
)
SHOWN = (
    "id        execution_1\n"
    "pipeline  default/digits\n"
    "state     failed\n"
    "reason    step 'publish' failed: gate 'good'\n"
    f"created   {AT}\n"
    f"since     {AT}\n"
    "outputs   s3://m/execution_1/\n"
) + STEPS
ONE = "/v1/executions/execution_1"
FILE = "name: digits\nsteps:\n- {name: train, job: {entrypoint: make}}\n"


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "pipeline.yaml"
    path.write_text(FILE)
    return str(path)


def test_a_pipeline_is_submitted_and_followed_to_its_end(plane: Plane, run: Run, file: str) -> None:
    plane.fixed["POST", "/v1/executions"] = (201, DONE | {"state": "waiting"})
    plane.fixed["GET", ONE] = (200, DONE)
    followed = run("pipelines", "submit", file)
    assert followed.exit_code == 0
    assert followed.stdout.startswith("execution_1 train: succeeded\nid        execution_1\n")
    assert json.loads(plane.seen[0].body) == {
        "name": "digits",
        "steps": [{"name": "train", "job": {"entrypoint": "make"}}],
    }


def test_an_execution_that_fails_ends_the_command_with_1(plane: Plane, run: Run, file: str) -> None:
    plane.fixed["POST", "/v1/executions"] = (201, EXECUTION | {"state": "running"})
    plane.fixed["GET", ONE] = (200, EXECUTION)
    assert run("pipelines", "submit", file).exit_code == 1
    assert run("pipelines", "watch", "execution_1").exit_code == 1
    followed = run("pipelines", "watch", "execution_1", "--json")
    assert (followed.exit_code, json.loads(followed.stdout)["state"]) == (1, "failed")
    detached = run("pipelines", "submit", file, "--detach")
    assert (detached.exit_code, "running" in detached.stdout) == (0, True)


def test_executions_and_their_steps_are_tables(plane: Plane, run: Run) -> None:
    summary = {name: EXECUTION[name] for name in EXECUTION.keys() - {"spec", "outputs_uri"}}
    summary |= {"steps": 2, "done": 1}
    paused = summary | {"id": "execution_2", "state": "running", "paused_at": NOW, "steps": 1}
    plane.fixed["GET", "/v1/executions"] = (200, {"items": [paused, summary]})
    plane.fixed["GET", ONE] = (200, EXECUTION)
    assert run("pipelines", "list").stdout == (
        "ID           PIPELINE        STATE   STEPS  CREATED\n"
        f"execution_2  default/digits  paused  1/1    {AT}\n"
        f"execution_1  default/digits  failed  1/2    {AT}\n"
    )
    assert run("pipelines", "show", "execution_1").stdout == SHOWN


def test_deeds_are_asked_for_by_name(plane: Plane, run: Run) -> None:
    for deed in ("cancel", "pause", "resume", "retry"):
        plane.fixed["POST", f"{ONE}/{deed}"] = (200, EXECUTION)
        extra = ("--detach",) if deed == "retry" else ()
        assert run("pipelines", deed, "execution_1", *extra).stdout == SHOWN


def test_a_file_that_is_no_pipeline_is_refused_before_anything_is_sent(
    plane: Plane, run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "bad.yaml"
    for text, code in (
        ("- 1", 2),
        ("a: [", 2),
        ("name: x\nsteps: 7\n", 1),
        ("name: x\nsteps: [{name: a}]", 1),
    ):
        path.write_text(text)
        assert run("pipelines", "submit", str(path)).exit_code == code, text
    assert plane.seen == []


def test_schedules_are_added_listed_and_removed(plane: Plane, run: Run, file: str) -> None:
    plane.fixed["POST", "/v1/schedules"] = (201, SCHEDULE)
    plane.fixed["GET", "/v1/schedules"] = (200, {"items": [SCHEDULE]})
    plane.fixed["POST", "/v1/schedules/default/nightly/pause"] = (200, SCHEDULE)
    words = ("--cron", "0 3 * * *", "--zone", "Europe/Berlin")
    assert run("pipelines", "schedule", "add", "nightly", file, *words).stdout == (
        "name      default/nightly\n"
        "pipeline  digits\n"
        "cron      0 3 * * * (Europe/Berlin)\n"
        "overlap   skip\n"
        "next      2026-03-02 02:00:00Z\n"
    )
    assert json.loads(plane.seen[0].body)["cron"] == "0 3 * * *"
    assert run("pipelines", "schedule", "list").stdout == (
        "NAME             PIPELINE  CRON       ZONE           OVERLAP  NEXT                  LAST  PROBLEM\n"
        "default/nightly  digits    0 3 * * *  Europe/Berlin  skip     2026-03-02 02:00:00Z  -     -\n"
    )
    assert run("pipelines", "schedule", "pause", "nightly").exit_code == 0
