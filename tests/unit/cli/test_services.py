"""Services on the command line, word for word."""

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.sdk.plane import NOW, Plane

pytestmark = pytest.mark.sockets

REVISION = {
    "id": "revision_1",
    "service_id": "service_1",
    "number": 2,
    "state": "retiring",
    "since": NOW,
    "created_at": NOW,
    "created_by": "anna",
    "weight_percent": 12.5,
    "reason": "2 of 20 requests failed",
    "spec": {},
    "version": 3,
}
SERVICE = {
    "id": "service_1",
    "project": "default",
    "queue": "default",
    "name": "digits",
    "phase": "rolling",
    "created_at": NOW,
    "min_replicas": 1,
    "max_replicas": 4,
    "desired": 2,
    "replicas": 3,
    "ready": 2,
    "revisions": [REVISION],
    "version": 5,
}
REPLICA = {
    "job_id": "job_1",
    "revision": 2,
    "ordinal": 0,
    "is_surplus": True,
    "state": "active",
    "is_ready": True,
    "is_leaving": False,
    "created_at": NOW,
}
AT = "2026-03-01 12:00:00Z"
SHOWN = (
    "name        default/digits\n"
    "id          service_1\n"
    "phase       rolling\n"
    "queue       default\n"
    "replicas    2 ready of 3; 1 to 4, 2 asked for\n"
    "revision 2  retiring, 12.5 % of the traffic: 2 of 20 requests failed\n"
    f"created     {AT}\n"
)
LIST = ("GET", "/v1/services")


def test_services_revisions_and_replicas_are_tables(plane: Plane, run: Run) -> None:
    plane.fixed[LIST] = (200, {"items": [SERVICE]})
    plane.fixed["GET", "/v1/services/service_1/revisions"] = (200, {"items": [REVISION]})
    plane.fixed["GET", "/v1/services/service_1/replicas"] = (200, {"items": [REPLICA]})
    assert run("services", "list").stdout == (
        "PROJECT  NAME    PHASE    READY  REVISIONS   CREATED\n"
        f"default  digits  rolling  2/3    2 retiring  {AT}\n"
    )
    assert run("services", "revisions", "digits").stdout == (
        "NUMBER  STATE     TRAFFIC  SINCE                 BY    REASON\n"
        f"2       retiring  12.5 %   {AT}  anna  2 of 20 requests failed\n"
    )
    assert run("services", "replicas", "digits").stdout == (
        "JOB    REVISION  PLACE  KIND     STATE  REASON\njob_1  2         0      surplus  ready  -\n"
    )


def test_a_new_name_is_deployed_and_a_known_one_gets_its_next_revision(plane: Plane, run: Run) -> None:
    plane.fixed[LIST] = (200, {"items": []})
    plane.fixed["POST", "/v1/services"] = (201, SERVICE)
    assert run("services", "deploy", "--model", "digits@3", "--max", "4").stdout == SHOWN
    wanted = {"name": "digits", "model": "digits@3", "replicas": {"max": 4}}
    assert bodies(plane, "/v1/services")[-1] == wanted

    plane.fixed[LIST] = (200, {"items": [SERVICE]})
    path = "/v1/services/service_1/revisions"
    plane.fixed["POST", path] = (201, SERVICE)
    assert run("services", "deploy", "-", given="{name: digits, model: digits@4}").stdout == SHOWN
    assert bodies(plane, path)[-1] == {"name": "digits", "model": "digits@4"}


def test_deeds_find_their_service_by_name(plane: Plane, run: Run) -> None:
    plane.fixed[LIST] = (200, {"items": [SERVICE]})
    for words, deed in (
        (("scale", "digits", "--min", "0", "--max", "9"), "scale"),
        (("promote", "digits"), "promote"),
        (("rollback", "digits", "--to", "1"), "rollback"),
        (("delete", "digits"), "delete"),
    ):
        plane.fixed["POST", f"/v1/services/service_1/{deed}"] = (200, SERVICE)
        assert run("services", *words).stdout == SHOWN
    assert bodies(plane, "/v1/services/service_1/scale") == [{"min": 0, "max": 9}]
    assert bodies(plane, "/v1/services/service_1/rollback") == [{"number": 1}]
    assert json.loads(run("services", "show", "digits", "--json").stdout) == SERVICE | {
        "revisions": [REVISION | {"ready_at": None}]
    }


def test_what_is_missing_or_wrong_is_told_before_anything_is_sent(
    plane: Plane, run: Run, tmp_path: Path
) -> None:
    plane.fixed[LIST] = (200, {"items": []})
    nothing, unknown = run("services", "deploy"), run("services", "show", "digits")
    assert (nothing.exit_code, unknown.exit_code) == (2, 2)
    assert "has no service 'digits'" in unknown.stderr
    path = tmp_path / "service.yaml"
    path.write_text("name: digits\nreplicas: {min: 3, max: 2}\nmodel: digits@1\n")
    refused = run("services", "deploy", str(path))
    assert refused.exit_code != 0
    assert "min is 3, more than max, which is 2" in refused.stderr


def bodies(plane: Plane, path: str) -> list[object]:
    """Of all that was posted there."""
    return [json.loads(each.body) for each in plane.seen if (each.method, each.path) == ("POST", path)]
