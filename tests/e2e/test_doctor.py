"""`crossdock doctor` on a real server: beside it and after it, in the books and among real processes."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import httpx
import pytest

from controlplane.admin.server import environment_of
from controlplane.domain.clusters import Endpoint
from controlplane.sdk import Client, Job, JobSpec
from tests.e2e.test_first_light import attach
from tests.forked import ran
from tests.server import COMMAND, RunningServer, eventually, running_server
from tests.store.planting import raw

SECONDS = 90.0
DOCTOR_SECONDS = 60.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "home") as running:
        yield running


def doctor(server: RunningServer, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code, and its documents, which are JSON."""
    ended = crossdock_doctor(server, "--json", *options)
    assert not ended.stderr, ended.stderr
    return ended.returncode, [json.loads(line) for line in ended.stdout.splitlines()]


def crossdock_doctor(server: RunningServer, *options: str) -> CompletedProcess[str]:
    return ran(
        COMMAND,
        ("doctor", *options),
        environment=os.environ | environment_of(server.settings),
        within_seconds=DOCTOR_SECONDS,
    )


def found(server: RunningServer, *options: str) -> set[tuple[str, str]]:
    _, documents = doctor(server, *options)
    return {(each["rule"], each["subject"]) for each in documents if each["kind"] == "finding"}


def operate(server: RunningServer, *statements: str, **values: str) -> None:
    """As somebody with a console, behind the server's back."""
    with raw(server.settings.database_url) as operator:
        for statement in statements:
            operator.execute(statement.format(**values))


def test_books_that_were_changed_by_hand_are_found_beside_the_server_and_after_it(
    server: RunningServer,
) -> None:
    with server.client() as client:
        job = client.jobs.submit(JobSpec(name="waits", entrypoint="true"))
        other = client.jobs.submit(JobSpec(name="waits-too", entrypoint="true"))
        eventually(lambda: job.explain().code == "no_cluster", SECONDS, "it must have been considered")
    code, documents = doctor(server)
    assert (code, [(each["kind"], each["jobs"]) for each in documents]) == (0, [("summary", 2)])
    operate(
        server,
        "DROP TRIGGER jobs_moves",
        "UPDATE jobs SET came_from = 'active', state = 'succeeded' WHERE id = '{job}'",
        "DELETE FROM events WHERE subject = '{other}'",
        "UPDATE job_counts SET jobs = jobs + 1 WHERE state = 'queued'",
        job=job.id,
        other=other.id,
    )
    wrong = {("outcome_decides", job.id), ("events_tell_all", job.id), ("events_tell_all", other.id)}
    beside = found(server)
    assert {each for each in beside if each[0] != "counts"} == wrong
    assert "counts" in {rule for rule, _ in beside}
    server.stop()
    assert found(server, "--repair") == beside
    assert found(server) == wrong  # the counts are right again; the rest is not ours to decide
    operate(server, "DROP TABLE feed_floor")
    ended = crossdock_doctor(server)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(
        "could not look: the database refused a statement: no such table: feed_floor"
    )


@pytest.mark.timeout(300)
def test_processes_that_nobody_accounts_for_and_attempts_without_one_are_found(
    server: RunningServer, ray_cluster: Endpoint
) -> None:
    attach(server, ray_cluster)
    with server.client() as client:
        over = _finished(client)
        lost = _running(client)

        def rules() -> set[tuple[str, str]]:
            """Of our two; others' servers may have left something on the shared cluster."""
            return {each for each in found(server) if each[1] in {over, lost}}

        assert rules() == set()
        _run_again(ray_cluster, over)
        eventually(lambda: rules() == {("process_of_nobody", over)}, SECONDS, "its process runs")
        server.kill("loops")  # else they would see to the killed one themselves
        os.kill(_wrapper_of(lost), signal.SIGKILL)
        both = {("process_of_nobody", over), ("attempt_without_process", lost)}
        eventually(lambda: rules() == both, SECONDS, "the other one's process is gone")
        found(server, "--repair")
        eventually(lambda: rules() == {("attempt_without_process", lost)}, SECONDS, "it was to be stopped")
        server.start("loops")
        eventually(lambda: rules() == set(), SECONDS, "the loops were to look at the lost one")
        client.jobs.get(lost.rpartition("-a")[0]).cancel()


def _finished(client: Client) -> str:
    """Id of its attempt."""
    job = client.jobs.submit(JobSpec(name="ends", entrypoint="true"))
    job.wait(timeout_seconds=SECONDS, check=True)
    return job.attempts()[0].id


def _running(client: Client) -> str:
    job: Job = client.jobs.submit(JobSpec(name="runs", entrypoint="echo here; sleep 600"))
    eventually(lambda: list(job.logs()) == ["here"], SECONDS, "it must have begun")
    return job.attempts()[0].id


def _run_again(endpoint: Endpoint, attempt_id: str) -> None:
    """By hand, under the id of an attempt that has ended."""
    token = {"Authorization": f"Bearer {endpoint.token}"}
    with httpx.Client(base_url=endpoint.url, headers=token, timeout=SECONDS, trust_env=False) as ray:
        ray.delete(f"/api/jobs/{attempt_id}").raise_for_status()
        body = {"submission_id": attempt_id, "entrypoint": "sleep 600"}
        ray.post("/api/jobs/", json=body).raise_for_status()


def _wrapper_of(attempt_id: str) -> int:
    """Its process: the wrapper's own, which is told its order through the environment."""
    mark = f'"attempt_id":"{attempt_id}"'.encode()
    for folder in Path("/proc").iterdir():
        try:
            if (
                b"crossdock_wrapper" in (folder / "cmdline").read_bytes()
                and mark in (folder / "environ").read_bytes()
            ):
                return int(folder.name)
        except OSError:
            continue
    raise LookupError(attempt_id)
