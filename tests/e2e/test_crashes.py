"""Crashes: real `kill -9` and cut lines, while a real job runs on a real Ray cluster."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controlplane.domain.clusters import Endpoint
from controlplane.sdk import Client, Job, JobSpec
from tests.e2e.test_first_light import attach
from tests.ray_proxy import RayProxy
from tests.server import RunningServer, eventually, running_server

SECONDS = 90.0
OUTAGE_SECONDS = 7.0
"""Longer than a write waits for a lock, shorter than a lease."""

COUNTING = 'python -c "import time\nfor i in range({count}): print(i, flush=True); time.sleep(0.1)"'


@pytest.fixture(scope="module")
def proxy(ray_cluster: Endpoint) -> Iterator[RayProxy]:
    with RayProxy(ray_cluster.url) as between:
        yield between


@pytest.fixture(scope="module")
def server(
    ray_cluster: Endpoint, proxy: RayProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """One for all: each test leaves it running and its cluster ready."""
    with running_server(tmp_path_factory.mktemp("home"), lease_seconds=20.0) as running:
        attach(running, ray_cluster, url=proxy.url)
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with server.client() as connected:
        yield connected


def counting(client: Client, count: int) -> Job:
    return client.jobs.submit(JobSpec(name="counts", entrypoint=COUNTING.format(count=count)))


def has_counted_to(job: Job, count: int) -> bool:
    return len(list(job.logs())) >= count


def finished_in_one_attempt(job: Job, count: int) -> None:
    job.wait(timeout_seconds=SECONDS)
    assert [(attempt.number, attempt.outcome) for attempt in job.attempts()] == [(1, "succeeded")]
    assert list(job.logs()) == [str(number) for number in range(count)]


def test_a_killed_server_finds_its_attempt_again_and_the_log_has_no_hole(
    server: RunningServer, client: Client
) -> None:
    job = counting(client, 60)
    followed: list[str] = []
    follower = threading.Thread(target=lambda: followed.extend(job.logs(follow=True)))
    follower.start()
    eventually(lambda: has_counted_to(job, 5), SECONDS, "the job must have begun")
    server.kill("api", "loops")
    server.start("api", "loops")
    finished_in_one_attempt(job, 60)
    follower.join(SECONDS)
    assert followed == [str(number) for number in range(60)]


@pytest.mark.parametrize("moment", ["before ray was called", "before ray's answer was written"])
def test_killed_around_the_start_nothing_is_started_twice_or_lost(
    server: RunningServer, client: Client, proxy: RayProxy, moment: str
) -> None:
    struck = threading.Event()

    def strike(method: str, path: str) -> None:
        if (method, path) == ("POST", "/api/jobs/") and not struck.is_set():
            struck.set()
            server.kill("loops")

    if moment == "before ray was called":
        proxy.before = strike
    else:
        proxy.after = strike
    job = counting(client, 10)
    assert struck.wait(SECONDS)
    server.start("loops")
    finished_in_one_attempt(job, 10)


def test_an_unreachable_cluster_changes_nothing_while_the_lease_holds(
    server: RunningServer, client: Client, proxy: RayProxy
) -> None:
    job = counting(client, 80)
    eventually(lambda: has_counted_to(job, 5), SECONDS, "the job must have begun")
    proxy.is_cut = True
    eventually(
        lambda: client.clusters.get("lab").state == "unreachable", 15.0, "it must be called unreachable"
    )
    assert job.refresh().state == "active"
    proxy.is_cut = False
    eventually(lambda: client.clusters.get("lab").state == "ready", 15.0, "it must come back")
    finished_in_one_attempt(job, 80)


def test_a_locked_database_pauses_everything_and_fails_nothing(server: RunningServer, client: Client) -> None:
    job = counting(client, 120)
    eventually(lambda: has_counted_to(job, 5), SECONDS, "the job must have begun")
    with locked(server.settings.home / "crossdock.db"):
        threading.Event().wait(OUTAGE_SECONDS)
    finished_in_one_attempt(job, 120)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()
