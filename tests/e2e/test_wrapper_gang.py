"""A gang of two on a real Ray cluster: what every rank tells, and that no death of a part leaves user code behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cloud_adapters.local.commands import address_of
from controlplane.executors.ray import wrapper
from controlplane.executors.ray.client import RayJobs
from controlplane.executors.ray.executor import wrapper_package
from tests.plain_ray import JOB_ENDS, PlainRay, Row, until
from tests.plane import Plane

pytestmark = pytest.mark.timeout(300)

ASK_SECONDS = 60.0
END_SECONDS = 30.0
FIRST_NODE = address_of(1)

USER_CODE = """
import json, os, signal, sys, time

def record(**fields):
    with open(os.environ["CROSSDOCK_RECORDS"], "a") as file:
        file.write(json.dumps(fields) + "\\n")

def save(*_):
    record(kind="checkpoint", uri=f"file:///rank{os.environ['RANK']}", step=7)
    sys.exit(0)

signal.signal(signal.SIGTERM, save)
names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "CROSSDOCK_NODE_IDS")
print(json.dumps({"pid": os.getpid(), **{name: os.environ[name] for name in names}}), flush=True)
if os.environ["RANK"] == os.environ.get("FAILING_RANK"):
    while not os.path.exists(os.environ["READY"]):  # the other one's word that it would save
        time.sleep(0.05)
    sys.exit(3)
if "READY" in os.environ:
    open(os.environ["READY"], "w").close()
while True:
    time.sleep(0.05)
"""


@pytest.fixture
def ray(plain_ray: PlainRay) -> Iterator[PlainRay]:
    with plain_ray.returned():
        yield plain_ray


@pytest.fixture
def plane() -> Iterator[Plane]:
    plane = Plane(lease_seconds=4, grace_seconds=2).up()
    yield plane
    plane.down()
    assert plane.faults == []


class Attempt:
    """One gang, and the pids that it told."""

    def __init__(
        self, ray: PlainRay, plane: Plane, *, package: str, folder: Path, environment: dict[str, str]
    ) -> None:
        script = folder / "train.py"
        script.write_text(USER_CODE)
        self.plane = plane
        self.order: dict[str, Any] = {
            "attempt_id": "a1",
            "job_id": "j1",
            "number": 1,
            "urls": [plane.url],
            "token": "t0ken",
            "launch": "tasks",
            "entrypoint": {"command": f"{sys.executable} {script}; exit $?"},
            "environment": environment,
            "seats": [
                {"rank": rank, "node_id": node_id, "resources": {"CPU": 1.0, "memory": 100_000_000}}
                for rank, node_id in enumerate(ray.node_ids())
            ],
            "lease_seconds": plane.lease_seconds,
            "grace_seconds": plane.grace_seconds,
            "start_timeout_seconds": 60,
            "log_quota_bytes": 1_000_000,
            "checkpoint_uri": None,
            "outputs_uri": None,
            "resume_from": None,
        }
        self._package, self._folder = package, folder

    @property
    def runtime_env(self) -> dict[str, Any]:
        """What a killed wrapper leaves goes where the test's other files go."""
        names = {"CROSSDOCK_ORDER": json.dumps(self.order), "RAY_JOB_STOP_WAIT_TIME_S": "30"}
        return {"py_modules": [self._package], "env_vars": names | {"TMPDIR": str(self._folder)}}

    def until_both_run(self) -> None:
        self.plane.until(lambda: all(b"\n" in self.plane.log(rank) for rank in (0, 1)), 60)

    def said(self, rank: int) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.plane.log(rank).partition(b"\n")[0])
        return said

    def until_ranks_ended(self, *ranks: int) -> None:
        self.plane.until(lambda: all(self.plane.records("exit", rank) for rank in ranks), 60)

    def until_user_code_is_gone(self) -> None:
        pids = [self.said(rank)["pid"] for rank in (0, 1)]
        until(lambda: not any(map(is_alive, pids)), END_SECONDS, lambda: "user code lives on")


def is_alive(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture(scope="module")
def package(plain_ray: PlainRay) -> Iterator[str]:
    """The same bytes as every executor brings: the cluster keeps one of them."""
    jobs = RayJobs(plain_ray.endpoint)
    session = jobs.session(deadline=ASK_SECONDS)
    yield jobs.upload(wrapper_package(), session=session, deadline=ASK_SECONDS)
    jobs.close()


@pytest.fixture
def gang(ray: PlainRay, package: str, plane: Plane, tmp_path: Path) -> Callable[..., Attempt]:
    def ready(**environment: str) -> Attempt:
        return Attempt(ray, plane, package=package, folder=tmp_path, environment=environment)

    return ready


@pytest.fixture
def submit(ray: PlainRay) -> Iterator[Callable[[Attempt], str]]:
    """Hands a gang to Ray's Jobs API, and says which job it became."""
    jobs: list[str] = []

    def start(attempt: Attempt) -> str:
        job = {"entrypoint": "exec python -m crossdock_wrapper", "runtime_env": attempt.runtime_env}
        answer = ray.http.post("/api/jobs/", json=job).raise_for_status()
        jobs.append(answer.json()["submission_id"])
        return jobs[-1]

    yield start
    for job in jobs:
        ray.http.post(f"/api/jobs/{job}/stop").raise_for_status()
        ended(ray, job)
        ray.http.delete(f"/api/jobs/{job}").raise_for_status()


def ended(ray: PlainRay, job: str) -> Row:
    told: Row = until(
        lambda: next(
            (row for row in [ray.http.get(f"/api/jobs/{job}").json()] if row["status"] in JOB_ENDS), None
        ),
        END_SECONDS,
        lambda: f"{job} goes on",
    )
    return told


@pytest.fixture
def drive(
    gang: Callable[..., Attempt], ray: PlainRay, tmp_path: Path
) -> Iterator[Callable[..., tuple[Attempt, int]]]:
    """Starts a gang as Ray's own job supervisor would, without waiting for one."""
    drivers: list[subprocess.Popen[bytes]] = []

    def start(**environment: str) -> tuple[Attempt, int]:
        attempt = gang(**environment)
        names = {
            **os.environ,
            **ray.environment,
            "TMPDIR": str(tmp_path),
            "CROSSDOCK_ORDER": json.dumps(attempt.order),
            "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": attempt.runtime_env, "metadata": {}}),
        }
        drivers.append(subprocess.Popen([sys.executable, wrapper.__file__], env=names))
        return attempt, drivers[-1].pid

    yield start
    for driver in drivers:
        driver.kill()
        driver.wait()


def test_a_stop_of_the_ray_job_reaches_every_rank(
    gang: Callable[..., Attempt], submit: Callable[[Attempt], str], ray: PlainRay, plane: Plane
) -> None:
    attempt = gang()
    job = submit(attempt)
    attempt.until_both_run()
    said = [attempt.said(rank) for rank in (0, 1)]
    assert [(s["RANK"], s["WORLD_SIZE"], s["MASTER_ADDR"]) for s in said] == [
        ("0", "2", FIRST_NODE),
        ("1", "2", FIRST_NODE),
    ]
    assert len({s["MASTER_PORT"] for s in said}) == 1
    assert json.loads(said[0]["CROSSDOCK_NODE_IDS"]) == list(ray.node_ids())
    ray.http.post(f"/api/jobs/{job}/stop").raise_for_status()
    attempt.until_ranks_ended(0, 1, -1)
    for rank in (0, 1):
        assert plane.records("checkpoint", rank) == [
            {"uri": f"file:///rank{rank}", "step": 7, "sha256": None}
        ]
        assert plane.exit(rank)["reason"] == "stopped"
    assert (plane.exit(-1)["reason"], plane.exit(-1)["final"]) == ("stopped", True)
    assert sorted(plane.exit(-1)["ranks"]) == ["0", "1"]
    assert ended(ray, job)["status"] == "STOPPED"


def test_the_first_rank_that_fails_ends_the_gang(
    drive: Callable[..., tuple[Attempt, int]], plane: Plane, tmp_path: Path
) -> None:
    attempt, _ = drive(FAILING_RANK="1", READY=str(tmp_path / "ready"))
    attempt.until_ranks_ended(0, 1, -1)
    ended = plane.exit(-1)
    assert (ended["code"], ended["reason"], ended["final"], ended["ranks"]["1"]) == (3, "failed", True, 3)
    assert plane.exit(0)["reason"] == "stopped"
    assert plane.records("checkpoint", 0) != []


def test_a_killed_coordinator_stops_every_rank_and_each_says_so(
    drive: Callable[..., tuple[Attempt, int]], plane: Plane
) -> None:
    attempt, driver = drive()
    attempt.until_both_run()
    os.kill(driver, signal.SIGKILL)
    attempt.until_ranks_ended(0, 1)
    attempt.until_user_code_is_gone()
    for rank in (0, 1):
        assert (plane.exit(rank)["reason"], plane.exit(rank)["final"]) == ("stopped", False)
        assert plane.records("checkpoint", rank) != []


def test_a_killed_actor_ends_the_gang_and_nobody_claims_to_know_how(
    gang: Callable[..., Attempt], submit: Callable[[Attempt], str], ray: PlainRay, plane: Plane
) -> None:
    attempt = gang()
    job = submit(attempt)
    attempt.until_both_run()
    (pid,) = [
        actor["pid"]
        for actor in ray.rows("actors")
        if actor["node_id"] == ray.node_ids()[0]
        and actor["state"] == "ALIVE"
        and actor["class_name"] == "Seat"
    ]
    os.kill(pid, signal.SIGKILL)
    attempt.until_ranks_ended(0, 1)
    attempt.until_user_code_is_gone()
    assert [plane.exit(rank)["reason"] for rank in (0, 1)] == ["stopped", "stopped"]
    over = ended(ray, job)
    assert (over["status"], over["driver_exit_code"]) == ("FAILED", -9)  # no exit code of the wrapper's own
    assert b"rank 0 was lost" in plane.log(-1)
    assert plane.records("exit", -1) == []


def test_a_stop_of_the_ray_job_reaches_a_lone_task_once(
    gang: Callable[..., Attempt],
    submit: Callable[[Attempt], str],
    ray: PlainRay,
    plane: Plane,
    tmp_path: Path,
) -> None:
    attempt = gang()
    script = tmp_path / "count.py"
    script.write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('term', flush=True), time.sleep(0.5), sys.exit(4)))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.05)\n"
    )
    attempt.order |= {
        "seats": attempt.order["seats"][:1],
        "entrypoint": {"command": f"{sys.executable} {script}"},
    }
    job = submit(attempt)
    plane.until(lambda: b"ready\n" in plane.log(), 60)
    ray.http.post(f"/api/jobs/{job}/stop").raise_for_status()
    attempt.until_ranks_ended(0)
    assert plane.log() == b"ready\nterm\n"
    assert (plane.exit()["code"], plane.exit()["reason"], plane.exit()["final"]) == (4, "stopped", True)


def test_a_killed_keeper_takes_its_user_code_along_and_fails_the_gang(
    drive: Callable[..., tuple[Attempt, int]], plane: Plane
) -> None:
    attempt, _ = drive()
    attempt.until_both_run()
    os.kill(plane.records("hello", 1)[0]["pid"], signal.SIGKILL)
    attempt.until_ranks_ended(0, -1)
    attempt.until_user_code_is_gone()
    ended = plane.exit(-1)
    assert (ended["code"], ended["reason"], ended["final"], ended["ranks"]["1"]) == (137, "failed", True, 137)
    assert b"the keeper of rank 1 was killed" in plane.log(-1)
    assert plane.exit(0)["reason"] == "stopped"
