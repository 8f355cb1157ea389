"""Models on the command line, word for word."""

import base64
import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.sdk.plane import NOW, Plane

pytestmark = pytest.mark.sockets

GATE = {"name": "good", "metric": "accuracy", "comparison": "at_least", "limit": 0.95, "slack": 0.01}
MODEL = {
    "id": "model_1",
    "project": "default",
    "name": "digits",
    "description": "",
    "created_at": NOW,
    "versions": 2,
    "production": 1,
    "gates": [GATE],
    "version": 4,
}
VERSION = {
    "id": "version_1",
    "project": "default",
    "model": "digits",
    "number": 2,
    "stage": "candidate",
    "since": NOW,
    "created_at": NOW,
    "created_by": "anna",
    "artifacts": [{"name": "checkpoint", "uri": "s3://m/state.pt", "size_bytes": 2048, "sha256": "ab"}],
    "metrics": {"accuracy": 0.975, "loss": None},
    "lineage": {"job_id": "job_1", "checkpoint_step": 7, "code": "sha256:cd", "parameters": {}},
    "key_id": "k",
    "version": 1,
}
AT = "2026-03-01 12:00:00Z"
SHOWN = (
    "model      default/digits\n"
    "version    2\n"
    "stage      candidate\n"
    "artifact   checkpoint 2KiB sha256:ab s3://m/state.pt\n"
    "metrics    accuracy 0.975, loss -\n"
    "job        job_1\n"
    "step       7\n"
    "code       sha256:cd\n"
    f"published  {AT} by anna\n"
)
VERSIONS = "/v1/models/default/digits/versions"


def test_models_and_versions_are_tables(plane: Plane, run: Run) -> None:
    plane.fixed["GET", "/v1/models"] = (200, {"items": [MODEL]})
    plane.fixed["GET", VERSIONS] = (200, {"items": [VERSION]})
    assert run("models", "list").stdout == (
        "PROJECT  NAME    VERSIONS  PRODUCTION  GATES  CREATED\n"
        f"default  digits  2         1           1      {AT}\n"
    )
    assert run("models", "versions", "digits").stdout == (
        "NUMBER  STAGE      SIZE  JOB    METRICS                 CREATED\n"
        f"2       candidate  2KiB  job_1  accuracy 0.975, loss -  {AT}\n"
    )


def test_a_job_is_published_and_the_version_is_shown(plane: Plane, run: Run) -> None:
    plane.fixed["POST", VERSIONS] = (201, VERSION)
    words = ("--job", "job_1", "--artifact", "best=s3://m/best.pt", "--parent", "1")
    assert run("models", "publish", "digits", *words).stdout == SHOWN
    assert json.loads(plane.seen[0].body) == {
        "job": "job_1",
        "artifacts": [{"name": "best", "uri": "s3://m/best.pt", "sha256": None, "size_bytes": None}],
        "evaluated_by": None,
        "data": None,
        "parent": 1,
    }


def test_a_version_is_promoted_by_number_or_by_what_serves(plane: Plane, run: Run) -> None:
    plane.fixed["POST", f"{VERSIONS}/2/promote"] = (200, VERSION)
    plane.fixed["POST", f"{VERSIONS}/production/archive"] = (200, VERSION)
    assert run("models", "promote", "digits", "2", "--stage", "staging").stdout == SHOWN
    assert json.loads(plane.seen[0].body) == {"stage": "staging"}
    assert run("models", "archive", "digits", "production").exit_code == 0
    assert run("models", "promote", "digits", "newest").exit_code == 2


def test_a_gate_says_which_way_is_better(plane: Plane, run: Run) -> None:
    plane.fixed["POST", "/v1/models/default/digits/gates"] = (200, MODEL)
    plane.fixed["GET", "/v1/models/default/digits"] = (200, MODEL)
    set_gate = ("models", "gates", "set", "digits", "good", "--metric", "accuracy")
    assert run(*set_gate, "--at-least", "0.95", "--slack", "0.01").stdout == (
        "project     default\n"
        "name        digits\n"
        "versions    2\n"
        "production  1\n"
        "gate        good: accuracy, at least 0.95, at most 0.01 worse than production\n"
    )
    run(*set_gate, "--slack", "0.01", "--less-is-better")
    assert [json.loads(each.body)["comparison"] for each in plane.seen] == ["at_least", "at_most"]
    assert run(*set_gate, "--at-least", "1", "--at-most", "2").exit_code == 2
    assert run("models", "gates", "list", "digits").stdout == (
        "NAME  METRIC    COMPARISON  LIMIT  SLACK\ngood  accuracy  at least    0.95   0.01\n"
    )


def test_a_manifest_is_written_as_it_was_signed(plane: Plane, run: Run, tmp_path: Path) -> None:
    signed = {"manifest": '{"number":2}', "signature": base64.b64encode(b"sig").decode(), "key_id": "k"}
    plane.fixed["GET", f"{VERSIONS}/2/manifest"] = (200, signed)
    plane.fixed["GET", "/v1/models/key"] = (200, {"key_id": "k", "public_key": "PEM\n"})
    assert run("models", "manifest", "digits", "2").stdout == '{"number":2}\n'
    assert run("models", "manifest", "digits", "2", "--output", str(tmp_path / "signed")).exit_code == 0
    found = {path.name: path.read_bytes() for path in (tmp_path / "signed").iterdir()}
    assert found == {"manifest.json": b'{"number":2}', "manifest.sig": b"sig", "signer.pem": b"PEM\n"}
    assert run("models", "key").stdout == "PEM\n"
