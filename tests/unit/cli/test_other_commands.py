"""Clusters, projects, queues, tokens, events and whoami, word for word."""

import json
from collections import deque
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.sdk.plane import NOW, Answer, Plane, Stream

pytestmark = pytest.mark.sockets

CLUSTER = {
    "id": "cluster_1",
    "name": "rack-a",
    "adapter": "ray",
    "state": "ready",
    "since": NOW,
    "url": "https://ray.example",
    "nodes": 2,
    "last_seen_at": NOW,
    "capacity": {"cpus": 16.0, "gpus": 4.0, "memory": 2.0 * 1024**3, "tpus": 0.0},
    "booked": {"cpus": 4.5},
    "version": 3,
}
NEW = {**CLUSTER, "state": "pending", "last_seen_at": None, "nodes": 0, "capacity": {}, "booked": {}}
FACTS = (
    "id       cluster_1\n"
    "name     rack-a\n"
    "adapter  ray\n"
    "state    ready\n"
    "since    2026-03-01 12:00:00Z\n"
    "url      https://ray.example\n"
    "nodes    2\n"
    "booked   cpus 4.5/16, gpus 0/4, memory 0B/2GiB\n"
    "seen     2026-03-01 12:00:00Z\n"
)


def test_a_cluster_is_registered_with_a_token_from_standard_input(plane: Plane, run: Run) -> None:
    plane.fixed["POST", "/v1/clusters"] = (201, NEW)
    plane.fixed["GET", "/v1/clusters/cluster_1"] = (200, CLUSTER)
    words = ("--adapter", "ray", "--url", "https://ray.example", "--token-stdin", "--set", "nodes=2")
    assert run("clusters", "add", "rack-a", *words, given="s3cret\n").stdout == FACTS
    assert json.loads(plane.seen[0].body) == {
        "name": "rack-a",
        "adapter": "ray",
        "url": "https://ray.example",
        "token": "s3cret",
        "secret": None,
        "gpu_resource": "GPU",
        "settings": {"nodes": "2"},
    }


def test_a_cluster_is_registered_with_a_secret_from_a_file_and_tells_what_is_there(
    plane: Plane, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "kubeconfig").write_text("apiVersion: v1\n")
    warned = {**CLUSTER, "url": None, "foreign": {"cpus": 2.0}, "warnings": ["may not list events"]}
    plane.fixed["POST", "/v1/clusters"] = (201, NEW)
    plane.fixed["GET", "/v1/clusters/cluster_1"] = (200, warned)
    words = ("--adapter", "kubernetes", "--secret-file", str(tmp_path / "kubeconfig"))
    shown = run("clusters", "add", "kube", *words).stdout.splitlines()
    assert ("foreign  cpus 2" in shown, shown[-1]) == (True, "warning  may not list events")
    assert json.loads(plane.seen[0].body)["secret"] == "apiVersion: v1\n"


def test_a_cluster_that_does_not_open_is_told_of_with_exit_code_1(plane: Plane, run: Run) -> None:
    plane.fixed["POST", "/v1/clusters"] = (201, NEW)
    plane.fixed["GET", "/v1/clusters/cluster_1"] = (200, {**NEW, "problem": "the kubeconfig is not YAML"})
    words = ("clusters", "add", "kube", "--adapter", "kubernetes", "--secret-stdin", "--timeout", "0")
    result = run(*words, given="{")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, "problem  the kubeconfig is not YAML")
    assert "looked at again" in result.stderr
    detached = run("clusters", "add", "kube", "--adapter", "kubernetes", "--detach")
    assert (detached.exit_code, plane.paths("GET")) == (0, ["/v1/clusters/cluster_1"])


def test_a_slow_cloud_that_misses_the_first_look_is_seen_by_the_next(
    plane: Plane, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.sdk.clusters.LOOK_SECONDS", 0.01)
    missed = (200, {**NEW, "problem": "it did not answer within 10 s"})
    looks = deque([missed, missed, (200, CLUSTER)])

    class Looked(dict[tuple[str, str], Answer]):
        def __getitem__(self, key: tuple[str, str]) -> Answer:
            return looks.popleft() if key[0] == "GET" else super().__getitem__(key)

    path = ("GET", "/v1/clusters/cluster_1")
    plane.fixed = Looked({("POST", "/v1/clusters"): (201, NEW), path: missed})
    result = run("clusters", "add", "rack-a", "--adapter", "aws")
    assert (result.exit_code, result.stdout, len(looks)) == (0, FACTS, 0)


def test_a_cluster_that_nobody_could_look_at_in_time_is_registered(plane: Plane, run: Run) -> None:
    plane.fixed["POST", "/v1/clusters"] = (201, NEW)
    plane.fixed["GET", "/v1/clusters/cluster_1"] = (200, NEW)
    result = run("clusters", "add", "rack-a", "--adapter", "aws", "--timeout", "0")
    assert (result.exit_code, result.stdout.splitlines()[3]) == (0, "state    pending")
    assert result.stderr == (
        "cluster rack-a was not seen within 0 s\n"
        "it is registered; to see what was found: crossdock clusters get rack-a\n"
    )


def test_a_wait_for_a_cluster_has_an_end(plane: Plane, run: Run) -> None:
    starting = {**NEW, "adapter": "local", "problem": "is still starting"}
    plane.fixed["POST", "/v1/clusters"] = (201, starting)
    plane.fixed["GET", "/v1/clusters/cluster_1"] = (200, starting)
    result = run("clusters", "add", "rack-a", "--adapter", "local", "--timeout", "0")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (
        0,
        "cluster rack-a was not seen within 0 s: is still starting",
    )


def test_a_secret_is_changed_and_tried(plane: Plane, run: Run) -> None:
    plane.fixed["POST", "/v1/clusters/rack-a/secret"] = (200, CLUSTER)
    later = "2026-03-01T12:00:09Z"
    plane.fixed["GET", "/v1/clusters/cluster_1"] = (200, {**CLUSTER, "last_seen_at": later})
    result = run("clusters", "update", "rack-a", "--secret-stdin", given="new\n")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "seen     2026-03-01 12:00:09Z")
    assert json.loads(plane.seen[0].body) == {"secret": "new\n"}


@pytest.mark.parametrize(
    "words", [(), ("--secret-file", "/nowhere/at-all"), ("--secret-file", "/etc/hosts", "--secret-stdin")]
)
def test_a_secret_that_is_not_there_is_a_usage_error(plane: Plane, run: Run, words: tuple[str, ...]) -> None:
    assert run("clusters", "update", "rack-a", *words).exit_code == 2
    assert plane.seen == []


@pytest.mark.parametrize("setting", ["nodes", "=2"])
def test_a_setting_that_is_no_pair_is_a_usage_error(plane: Plane, run: Run, setting: str) -> None:
    assert run("clusters", "add", "x", "--adapter", "local", "--set", setting).exit_code == 2


@pytest.mark.parametrize("verb", ["cordon", "uncordon", "drain", "undrain", "detach"])
def test_each_verb_asks_for_its_deed_and_shows_the_cluster(plane: Plane, run: Run, verb: str) -> None:
    plane.fixed["POST", f"/v1/clusters/rack-a/{verb}"] = (200, CLUSTER)
    assert run("clusters", verb, "rack-a").stdout == FACTS


def test_clusters_are_a_table(plane: Plane, run: Run) -> None:
    gone = {
        **CLUSTER,
        "name": "b",
        "state": "unreachable",
        "problem": "timed\nout",
        "cordoned_at": NOW,
        "last_seen_at": None,
        "capacity": {},
    }
    small = {**CLUSTER, "capacity": {"cpus": 16.0, "gpus": 4.0}}
    plane.fixed["GET", "/v1/clusters"] = (200, {"items": [small, gone]})
    assert run("clusters", "list").stdout == (
        "NAME    ADAPTER  STATE        CORDONED  NODES  BOOKED                 SEEN                  PROBLEM\n"
        "rack-a  ray      ready        no        2      cpus 4.5/16, gpus 0/4  2026-03-01 12:00:00Z  -\n"
        "b       ray      unreachable  yes       2      -                      -                     timed\\nout\n"
    )


def test_nodes_are_a_table(plane: Plane, run: Run) -> None:
    node = {
        "id": "node_1",
        "cluster_id": "cluster_1",
        "cluster": "rack-a",
        "name": "n1",
        "host": "10.0.0.1",
        "accelerator": "A100",
        "allocatable": {"cpus": 8.0},
        "foreign": {"cpus": 0.5},
        "booked": {"cpus": 2.0},
        "seen_at": NOW,
    }
    expected = (
        "NODE  CLUSTER  HOST      ACCELERATOR  BOOKED    FOREIGN   STATE\n"
        "n1    rack-a   10.0.0.1  A100         cpus 2/8  cpus 0.5  present\n"
    )
    for words, path in ((("rack-a",), "/v1/clusters/rack-a/nodes"), ((), "/v1/nodes")):
        plane.fixed["GET", path] = (200, {"items": [node]})
        assert run("clusters", "nodes", *words).stdout == expected


def test_a_project_a_queue_and_a_token_are_created(plane: Plane, run: Run) -> None:
    plane.fixed["POST", "/v1/projects"] = (201, {"id": "project_1", "name": "vision", "created_at": NOW})
    queue = {"id": "queue_1", "project": "vision", "name": "nightly", "created_at": NOW}
    plane.fixed["POST", "/v1/queues"] = (201, queue)
    token = {"id": "token_1", "name": "ci", "role": "submitter", "created_at": NOW, "secret": "cd_once"}
    plane.fixed["POST", "/v1/tokens"] = (201, token)
    assert run("projects", "create", "vision").stdout == "id    project_1\nname  vision\n"
    assert run("queues", "create", "nightly", "-p", "vision").stdout == (
        "id       queue_1\nproject  vision\nname     nightly\n"
    )
    created = run("tokens", "create", "ci", "--role", "submitter", "-p", "vision", "--expires-in-days", "30")
    assert created.stdout == "id      token_1\nsecret  cd_once\n"
    body = json.loads(plane.seen[-1].body)
    assert (body["name"], body["role"], body["project"]) == ("ci", "submitter", "vision")
    assert body["expires_at"].endswith("Z")


def test_tokens_are_listed_and_revoked(plane: Plane, run: Run) -> None:
    token = {"id": "token_1", "name": "ci", "role": "viewer", "created_at": NOW}
    plane.fixed["GET", "/v1/tokens"] = (200, {"items": [token]})
    plane.fixed["POST", "/v1/tokens/token_1/revoke"] = (200, {**token, "revoked_at": NOW})
    assert run("tokens", "list").stdout == (
        "ID       NAME  ROLE    PROJECT  CREATED               EXPIRES  REVOKED\n"
        "token_1  ci    viewer  all      2026-03-01 12:00:00Z  -        -\n"
    )
    assert run("tokens", "revoke", "token_1").stdout == "id       token_1\nrevoked  2026-03-01 12:00:00Z\n"


def test_whoami_shows_role_and_project(plane: Plane, run: Run) -> None:
    plane.fixed["GET", "/v1/me"] = (200, {"name": "ci", "role": "submitter"})
    assert run("whoami").stdout == "token    ci\nrole     submitter\nproject  all\n"
    assert run("whoami", "--json").stdout == '{"name":"ci","role":"submitter","project":null}\n'


def test_events_are_lines(plane: Plane, run: Run) -> None:
    plane.fixed["GET", "/v1/events"] = (
        200,
        {"items": [_event("1", {"from": "held", "reason": None}), _event("2", {})]},
    )
    assert run("events", "--after", "0", "--job", "job_1").stdout == (
        '2026-03-01 12:00:00Z  job.queued  job_1  {"from": "held"}\n2026-03-01 12:00:00Z  job.queued  job_1\n'
    )
    assert plane.seen[0].query == {"limit": ["200"], "job": ["job_1"], "after": ["0"]}


def test_followed_events_as_json_are_one_document_a_line(plane: Plane, run: Run) -> None:
    plane.streams.append(Stream(messages=[(each, json.dumps(_event(each, {}))) for each in ("1", "2")]))
    problem = {"type": "/p", "title": "t", "status": 401, "detail": "revoked", "code": "unauthenticated"}
    plane.refused_streams = (401, problem)
    result = run("events", "--follow", "--json")
    assert [json.loads(line)["cursor"] for line in result.stdout.splitlines()] == ["1", "2"]
    assert (result.exit_code, json.loads(result.stderr)["code"]) == (1, "unauthenticated")


def _event(cursor: str, data: dict[str, str | None]) -> dict[str, object]:
    return {
        "cursor": cursor,
        "kind": "job.queued",
        "subject": "job_1",
        "at": NOW,
        "job_id": "job_1",
        "data": data,
    }
