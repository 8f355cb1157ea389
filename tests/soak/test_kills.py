"""Soak: random kills of api and loops under a stream of real jobs, for as long as `make soak SECONDS=...` says."""

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.domain.clusters import Endpoint
from controlplane.sdk import Client, Job, JobSpec
from tests.e2e.test_first_light import attach
from tests.server import running_server

COUNT = 40
ENTRYPOINT = f'python -c "import time\nfor i in range({COUNT}): print(i, flush=True); time.sleep(0.1)"'
AT_ONCE = 4
JOB_SECONDS = 180.0


@pytest.mark.soak
def test_no_kill_of_the_server_starts_a_job_twice_loses_it_or_tears_its_log(
    ray_cluster: Endpoint, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = time.time_ns()
    record_property("seed", seed)
    rng, ends_at = random.Random(seed), time.monotonic() + float(os.environ["CROSSDOCK_SOAK_SECONDS"])
    with running_server(tmp_path / "home", lease_seconds=30.0) as server, server.client() as client:
        attach(server, ray_cluster)
        while time.monotonic() < ends_at:
            jobs = [submit(client) for _ in range(AT_ONCE)]
            for _ in range(rng.randint(1, 4)):
                threading.Event().wait(rng.uniform(0.0, 3.0))  # a random moment is the point
                struck = rng.choice([("api",), ("loops",), ("api", "loops")])
                server.kill(*struck)
                server.start(*struck)
            for job in jobs:
                check(job)


def submit(client: Client) -> Job:
    return client.jobs.submit(JobSpec(name="counts", entrypoint=ENTRYPOINT))


def check(job: Job) -> None:
    job.wait(timeout_seconds=JOB_SECONDS)
    assert [(attempt.number, attempt.outcome) for attempt in job.attempts()] == [(1, "succeeded")]
    assert list(job.logs()) == [str(number) for number in range(COUNT)]
