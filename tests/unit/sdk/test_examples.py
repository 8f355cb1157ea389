"""The examples do what they say."""

import json
import os
import runpy
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest

from controlplane.cli import jobfile
from controlplane.sdk import Client, JobSpec
from controlplane.sdk.archive import entries
from tests.unit.sdk.plane import NOW, Plane, Stream, attempt_document, chunk

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_the_job_file_is_a_job_with_a_folder_that_can_be_shipped() -> None:
    spec, folder = jobfile.read(EXAMPLES / "train.yaml")
    assert JobSpec.model_validate(spec).launch == "driver"
    assert folder is not None
    assert "digits/__main__.py" in {entry.name for entry in entries(folder)}


@pytest.mark.sockets
def test_the_sdk_example_runs_to_its_end(
    client: Client, plane: Plane, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"job_id": "job_1", "state": "queued", "phase": "queued", "code": "x", "remedy": "", "as_of": NOW}
    plane.fixed["GET", "/v1/jobs/job_1/explain"] = (200, {**told, "sentence": "not considered yet"})
    plane.streams.append(Stream(messages=[("1", json.dumps(chunk("attempt_1", 0, 0, "step 1\n")))]))
    plane.phases["job_1"] = deque(["active", "succeeded"])
    plane.attempts["job_1"] = [attempt_document("attempt_1", ranks=2, outcome="succeeded")]
    runpy.run_path(str(EXAMPLES / "sdk_example.py"))["main"](client)
    assert capsys.readouterr().out == (
        "job_1: not considered yet\nstep 1\nattempt 1 on local (node-0, node-1): succeeded, last losses {}\n"
    )


def test_the_gangs_code_reports_in_the_form_that_the_wrapper_reads(tmp_path: Path) -> None:
    records = tmp_path / "records"
    given = {"CROSSDOCK_RANK": "1", "CROSSDOCK_WORLD_SIZE": "2", "CROSSDOCK_RECORDS": str(records)}
    code = "import time, runpy, sys; time.sleep = lambda _: None; runpy.run_path(sys.argv[1], run_name='__main__')"
    command = [sys.executable, "-c", code, str(EXAMPLES / "gang" / "train.py")]
    done = subprocess.run(command, env={**os.environ, **given}, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "task 1 of 2: step 40, loss 0.056"
    last = [json.loads(line) for line in records.read_text().splitlines()][-2:]
    assert [each["kind"] for each in last] == ["metric", "progress"]
    assert last[1]["fraction"] == 1.0
