"""A gang of two on a real Ray cluster: what every rank tells, and that no death of a part leaves user code behind."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from controlplane.executors.ray import wrapper
from tests.parts import require_part
from tests.plane import Plane

pytestmark = pytest.mark.timeout(300)

HEAD = "127.0.0.42"
NODES = ("127.0.0.43", "127.0.0.44")
RAY = Path(sys.executable).parent / "ray"
TAG = "CROSSDOCK_TEST_GANG"
AUTH = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-of-at-least-some-length"}

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
    sys.exit(3)
while True:
    time.sleep(0.05)
"""


http = httpx.Client(
    base_url=f"http://{HEAD}:13265", headers={"Authorization": f"Bearer {AUTH['RAY_AUTH_TOKEN']}"}, timeout=60
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    node_ids: tuple[str, ...]
    """Of the two nodes that are not the head, in order of their addresses."""

    package: str


def until(look: Callable[[], Any], seconds: float = 30) -> Any:  # noqa: ANN401 - what `look` found
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)  # poll
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    require_part("ray", RAY.exists(), "no `ray` beside this Python")
    folder = Path(tempfile.mkdtemp(prefix="xdgang"))  # a socket's path must stay short
    tag = f"{os.getpid()}-{time.time_ns()}"
    try:
        _start_nodes(folder, tag)
        yield Cluster(node_ids=until(_node_ids, 90), package=_upload_wrapper())
    finally:
        for pid in _family(tag):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def _start_nodes(folder: Path, tag: str) -> None:
    names = {**os.environ, **AUTH, TAG: tag, "RAY_USAGE_STATS_ENABLED": "0"}
    names |= {"PATH": f"{RAY.parent}:{names['PATH']}", "TMPDIR": str(folder)}
    head = [
        *("--head", f"--temp-dir={folder}", f"--node-ip-address={HEAD}", "--port=13379", "--num-cpus=0"),
        *(f"--dashboard-host={HEAD}", "--dashboard-port=13265", "--ray-client-server-port=13001"),
        *("--min-worker-port=23000", "--max-worker-port=23499"),
        *("--dashboard-agent-listen-port=13375", "--metrics-export-port=13101"),
    ]
    nodes = [
        [
            *(f"--address={HEAD}:13379", f"--node-ip-address={address}", "--num-cpus=2"),
            *(f"--min-worker-port={23500 + 500 * i}", f"--max-worker-port={23999 + 500 * i}"),
            *(f"--dashboard-agent-listen-port={13376 + i}", f"--metrics-export-port={13102 + i}"),
        ]
        for i, address in enumerate(NODES)
    ]
    for options in (head, *nodes):
        command = [str(RAY), "start", *options, "--object-store-memory=80000000"]
        with (folder / "out").open("w+b") as output:  # Ray's daemons keep it open: a pipe would never end
            # A node may join after its command has lost patience, so the list of nodes decides, not the code.
            subprocess.run(command, env=names, stdout=output, stderr=output, check=False, timeout=120)


def _family(tag: str) -> list[int]:
    """Every process that grew from ours: Ray's own detach themselves, and some overwrite their environment."""
    parents: dict[int, int] = {}
    family: set[int] = set()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if f"{TAG}={tag}".encode() in (path / "environ").read_bytes():
                family.add(int(path.name))
    while children := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= children
    return sorted(family)


def _node_ids() -> tuple[str, ...]:
    ids = {node["node_ip"]: node["node_id"] for node in _rows("nodes") if node["state"] == "ALIVE"}
    return tuple(ids[address] for address in NODES) if set(NODES) <= set(ids) else ()


def _rows(kind: str) -> list[dict[str, Any]]:
    answer = http.get(f"/api/v0/{kind}?detail=1").raise_for_status().json()
    rows: list[dict[str, Any]] = answer["data"]["result"]["result"]
    return rows


def _upload_wrapper() -> str:
    """Ray puts the folder of the unpacked archive on the path, so the module stands at the archive's root."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as package:
        package.writestr(zipfile.ZipInfo("crossdock_wrapper.py"), Path(wrapper.__file__).read_bytes())
    content = archive.getvalue()
    name = f"_ray_pkg_{hashlib.sha1(content, usedforsecurity=False).hexdigest()}.zip"
    http.put(f"/api/packages/gcs/{name}", content=content).raise_for_status()
    return f"gcs://{name}"


@pytest.fixture
def plane() -> Iterator[Plane]:
    plane = Plane(lease_seconds=4, grace_seconds=2).up()
    yield plane
    plane.down()
    assert plane.faults == []


class Attempt:
    """One gang, and the pids that it told."""

    def __init__(self, cluster: Cluster, plane: Plane, folder: Path, environment: dict[str, str]) -> None:
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
                for rank, node_id in enumerate(cluster.node_ids)
            ],
            "lease_seconds": plane.lease_seconds,
            "grace_seconds": plane.grace_seconds,
            "start_timeout_seconds": 60,
            "log_quota_bytes": 1_000_000,
            "checkpoint_uri": None,
            "outputs_uri": None,
            "resume_from": None,
        }
        self.runtime_env: dict[str, Any] = {
            "py_modules": [cluster.package],
            "env_vars": {"CROSSDOCK_ORDER": json.dumps(self.order), "RAY_JOB_STOP_WAIT_TIME_S": "30"},
        }

    def submit(self, submission_id: str) -> None:
        job = {
            "entrypoint": "exec python -m crossdock_wrapper",
            "submission_id": submission_id,
            "runtime_env": self.runtime_env,
        }
        http.post("/api/jobs/", json=job).raise_for_status()

    def until_both_run(self) -> None:
        self.plane.until(lambda: all(b"\n" in self.plane.log(rank) for rank in (0, 1)), 60)

    def said(self, rank: int) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.plane.log(rank).partition(b"\n")[0])
        return said

    def until_ranks_ended(self, *ranks: int) -> None:
        self.plane.until(lambda: all(self.plane.records("exit", rank) for rank in ranks), 60)

    def until_user_code_is_gone(self) -> None:
        until(lambda: not any(is_alive(self.said(rank)["pid"]) for rank in (0, 1)))


def is_alive(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture
def drive(cluster: Cluster, plane: Plane, tmp_path: Path) -> Iterator[Callable[..., tuple[Attempt, int]]]:
    """Starts a gang as Ray's own job supervisor would, without waiting for one."""
    drivers: list[subprocess.Popen[bytes]] = []

    def start(**environment: str) -> tuple[Attempt, int]:
        attempt = Attempt(cluster, plane, tmp_path, environment)
        names = {
            **os.environ,
            **AUTH,
            "TMPDIR": str(tmp_path),
            "CROSSDOCK_ORDER": json.dumps(attempt.order),
            "RAY_ADDRESS": f"{HEAD}:13379",
            "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": attempt.runtime_env, "metadata": {}}),
        }
        drivers.append(subprocess.Popen([sys.executable, wrapper.__file__], env=names))
        return attempt, drivers[-1].pid

    yield start
    for driver in drivers:
        driver.kill()
        driver.wait()


def test_a_stop_of_the_ray_job_reaches_every_rank(cluster: Cluster, plane: Plane, tmp_path: Path) -> None:
    attempt = Attempt(cluster, plane, tmp_path, {})
    attempt.submit("stopped")
    attempt.until_both_run()
    said = [attempt.said(rank) for rank in (0, 1)]
    assert [(s["RANK"], s["WORLD_SIZE"], s["MASTER_ADDR"]) for s in said] == [
        ("0", "2", NODES[0]),
        ("1", "2", NODES[0]),
    ]
    assert len({s["MASTER_PORT"] for s in said}) == 1
    assert json.loads(said[0]["CROSSDOCK_NODE_IDS"]) == list(cluster.node_ids)
    http.post("/api/jobs/stopped/stop").raise_for_status()
    attempt.until_ranks_ended(0, 1, -1)
    for rank in (0, 1):
        assert plane.records("checkpoint", rank) == [
            {"uri": f"file:///rank{rank}", "step": 7, "sha256": None}
        ]
        assert plane.exit(rank)["reason"] == "stopped"
    assert (plane.exit(-1)["reason"], plane.exit(-1)["final"]) == ("stopped", True)
    assert sorted(plane.exit(-1)["ranks"]) == ["0", "1"]
    until(lambda: http.get("/api/jobs/stopped").json()["status"] == "STOPPED")


def test_the_first_rank_that_fails_ends_the_gang(
    drive: Callable[..., tuple[Attempt, int]], plane: Plane
) -> None:
    attempt, _ = drive(FAILING_RANK="1")
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
    cluster: Cluster, plane: Plane, tmp_path: Path
) -> None:
    attempt = Attempt(cluster, plane, tmp_path, {})
    attempt.submit("lost")
    attempt.until_both_run()
    (pid,) = [
        actor["pid"]
        for actor in _rows("actors")
        if actor["node_id"] == cluster.node_ids[0]
        and actor["state"] == "ALIVE"
        and actor["class_name"] == "Seat"
    ]
    os.kill(pid, signal.SIGKILL)
    attempt.until_ranks_ended(0, 1)
    attempt.until_user_code_is_gone()
    assert [plane.exit(rank)["reason"] for rank in (0, 1)] == ["stopped", "stopped"]
    job = until(lambda: next(filter(is_over, [http.get("/api/jobs/lost").json()]), None))
    assert (job["status"], job["driver_exit_code"]) == ("FAILED", -9)  # no exit code of the wrapper's own
    assert b"rank 0 was lost" in plane.log(-1)
    assert plane.records("exit", -1) == []


def is_over(job: dict[str, Any]) -> bool:
    return job["status"] not in {"PENDING", "RUNNING"}


def test_a_stop_of_the_ray_job_reaches_a_lone_task_once(
    cluster: Cluster, plane: Plane, tmp_path: Path
) -> None:
    attempt = Attempt(cluster, plane, tmp_path, {})
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
    attempt.runtime_env["env_vars"]["CROSSDOCK_ORDER"] = json.dumps(attempt.order)
    attempt.submit("lone")
    plane.until(lambda: b"ready\n" in plane.log(), 60)
    http.post("/api/jobs/lone/stop").raise_for_status()
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
