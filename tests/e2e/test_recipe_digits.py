"""The digits recipe on a real Ray cluster: a head, and two nodes with one logical GPU each."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest

from tests.parts import require_part

RECIPES: Final = Path(__file__).parents[2] / "controlplane" / "recipes"
HEAD: Final = "127.0.0.52"
NODES: Final = ("127.0.0.53", "127.0.0.54")
ADDRESS: Final = f"{HEAD}:14001"
DASHBOARD_PORT: Final = 14002
EPOCHS: Final = 6
STEPS_PER_EPOCH: Final = 23
STEPS: Final = EPOCHS * STEPS_PER_EPOCH
TRIES: Final = 4
SEAT: Final = {"CPU": 1.0, "logical_gpu": 1.0, "memory": 500e6}

# Two busy cores need a minute for the cluster, and another for each start of Ray Train.
pytestmark = pytest.mark.timeout(480)


class Cluster:
    """Started by Ray's own command line; whatever comes of it keeps its logs open in one folder.

    The token is its own, as Ray else takes one from the home directory, where it may come and go.
    """

    def __init__(self) -> None:
        # Ray's sockets lie in here, and their paths must be short.
        self._folder = Path(tempfile.mkdtemp(prefix="digits-"))
        self._token = uuid.uuid4().hex
        self._spawned: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """A node that is not up within 15 s ends itself, and a busy machine may need several tries."""
        for _ in range(TRIES):
            if self._start_head() and all(self._start_node(node) for node in NODES):
                _until(lambda: len(self.node_ids()) == len(NODES), seconds=30)
                return
            self._kill()
        pytest.fail("\n".join(log.read_text() for log in sorted(self._folder.glob("*.log"))))

    def node_ids(self) -> list[str]:
        url = f"http://{HEAD}:{DASHBOARD_PORT}/api/v0/nodes?detail=1"
        asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {self._token}"})
        with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310 - the address is ours
            nodes = json.load(answer)["data"]["result"]["result"]
        return [node["node_id"] for node in nodes if node["state"] == "ALIVE" and not node["is_head_node"]]

    def spawn(
        self, command: list[str], *, log: Path, told: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            spawned = subprocess.Popen(
                command,
                cwd=RECIPES,
                env=self._environment() | dict(told or {}),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._spawned.append(spawned)
        return spawned

    def remove(self) -> None:
        self._kill()
        shutil.rmtree(self._folder)

    def _kill(self) -> None:
        for spawned in self._spawned:
            spawned.kill()
            spawned.wait()
        while ours := [entry for entry in Path("/proc").glob("[0-9]*") if self._is_ours(entry)]:
            for entry in ours:
                with suppress(ProcessLookupError):
                    os.kill(int(entry.name), signal.SIGKILL)
            time.sleep(0.05)  # poll

    def _is_ours(self, entry: Path) -> bool:
        with suppress(OSError):  # it ended meanwhile
            return any(_points_into(self._folder, file) for file in (entry / "fd").iterdir())
        return False

    def _environment(self) -> dict[str, str]:
        ours = {key: value for key, value in os.environ.items() if not key.startswith(("CROSSDOCK_", "RAY_"))}
        path = f"{Path(sys.executable).parent}:{ours['PATH']}"
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._token}
        return ours | token | {"PATH": path, "RAY_USAGE_STATS_ENABLED": "0"}

    def _start_head(self) -> bool:
        dashboard = (f"--dashboard-host={HEAD}", f"--dashboard-port={DASHBOARD_PORT}")
        ports = ("--port=14001", "--ray-client-server-port=14003")
        return self._join(HEAD, "--head", f"--temp-dir={self._folder}", "--num-cpus=0", *ports, *dashboard)

    def _start_node(self, address: str) -> bool:
        """One after the other: side by side on one machine, nodes take each other's names for sockets."""
        logical_gpu = json.dumps({"logical_gpu": 1})
        return self._join(address, f"--address={ADDRESS}", "--num-cpus=1", f"--resources={logical_gpu}")

    def _join(self, address: str, *options: str) -> bool:
        number = int(address.rpartition(".")[2]) - int(HEAD.rpartition(".")[2])
        first = 25000 + 500 * number
        ports = (
            f"--min-worker-port={first}",
            f"--max-worker-port={first + 499}",
            f"--dashboard-agent-listen-port=14{number}11",
            f"--dashboard-agent-grpc-port=14{number}12",
            f"--metrics-export-port=14{number}13",
        )
        size = ("--num-gpus=0", "--object-store-memory=100000000")
        command = ["ray", "start", f"--node-ip-address={address}", *ports, *size, *options]
        try:
            return self.spawn(command, log=self._folder / f"{address}.log").wait(timeout=90) == 0
        except subprocess.TimeoutExpired:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One start of the recipe, as the wrapper starts it."""

    folder: Path
    driver: subprocess.Popen[bytes]

    @classmethod
    def start(cls, cluster: Cluster, folder: Path, *, resume_from: str | None = None) -> "Attempt":
        folder.mkdir()
        node_ids = cluster.node_ids()
        seats = [SEAT for _ in node_ids]
        told = {
            "RAY_ADDRESS": ADDRESS,
            "CROSSDOCK_JOB_ID": "digits",
            "CROSSDOCK_ATTEMPT_ID": folder.name,
            "CROSSDOCK_NODE_IDS": json.dumps(node_ids),
            "CROSSDOCK_SEATS": json.dumps(seats),
            "CROSSDOCK_CHECKPOINT_URI": f"file://{folder.parent}/checkpoints",
            "CROSSDOCK_OUTPUTS_URI": str(folder / "outputs"),
            "CROSSDOCK_RECORDS": str(folder / "records"),
            "CROSSDOCK_GRACE_SECONDS": "30",
        } | ({"CROSSDOCK_RESUME_FROM": resume_from} if resume_from else {})
        command = [sys.executable, "-m", "digits", f"--epochs={EPOCHS}"]
        return cls(folder=folder, driver=cluster.spawn(command, log=folder / "log", told=told))

    def ended(self) -> int:
        return self.driver.wait(timeout=240)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def model(self) -> bytes:
        return (self.folder / "outputs" / "model.pt").read_bytes()

    def records(self, kind: str) -> list[dict[str, Any]]:
        path = self.folder / "records"
        written = path.read_text() if path.exists() else ""
        # The last line may still be in the writing.
        whole = (json.loads(line) for line in written.splitlines(keepends=True) if line.endswith("\n"))
        return [record for record in whole if record["kind"] == kind]

    def steps(self) -> list[int]:
        return [record["step"] for record in self.records("metric") if "loss" in record["values"]]


def _points_into(folder: Path, link: Path) -> bool:
    with suppress(OSError):  # it was closed meanwhile
        return link.readlink().is_relative_to(folder)
    return False


def _until(true: Callable[[], bool], *, seconds: float) -> None:
    give_up_at = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)  # poll


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    require_part("ray", find_spec("ray") is not None, "it is not installed")
    require_part("torch", find_spec("torch") is not None, "it is not installed")
    started = Cluster()
    try:
        started.start()
        yield started
    finally:
        started.remove()


@pytest.fixture(scope="module")
def uninterrupted(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Attempt:
    attempt = Attempt.start(cluster, tmp_path_factory.mktemp("digits") / "uninterrupted")
    assert attempt.ended() == 0, attempt.log
    return attempt


def test_one_rank_trains_on_each_booked_node(cluster: Cluster, uninterrupted: Attempt) -> None:
    told = [record["message"] for record in uninterrupted.records("progress")[:2]]
    nodes = [message.partition(" trains on node ")[2].removesuffix(" from step 0") for message in told]
    assert sorted(nodes) == sorted(cluster.node_ids())


def test_it_learns_to_read_held_out_digits(uninterrupted: Attempt) -> None:
    facts = json.loads((uninterrupted.folder / "outputs" / "metrics.json").read_text())
    assert facts.pop("accuracy") >= 0.95
    assert facts == {"held_out": 355, "epochs": EPOCHS, "steps": STEPS, "world_size": 2}


def test_each_step_is_measured_once_and_in_order(uninterrupted: Attempt) -> None:
    assert uninterrupted.steps() == list(range(1, STEPS + 1))
    values = uninterrupted.records("metric")[0]["values"]
    assert set(values) == {"loss", "learning_rate", "samples_per_second"}


def test_each_epoch_leaves_a_checkpoint_as_it_was_told(uninterrupted: Attempt) -> None:
    checkpoints = uninterrupted.records("checkpoint")
    assert [told["step"] for told in checkpoints] == list(range(STEPS_PER_EPOCH, STEPS + 1, STEPS_PER_EPOCH))
    for told in checkpoints:
        content = Path(told["uri"].removeprefix("file://")).read_bytes()
        assert hashlib.sha256(content).hexdigest() == told["sha256"]


def test_the_log_tells_the_story_and_nothing_else(uninterrupted: Attempt) -> None:
    lines = uninterrupted.log.splitlines()
    assert lines[0] == f"starting 2 ranks for {EPOCHS} epochs"
    assert lines[-1].startswith("final accuracy 0.9")
    assert len(lines) == 1 + 2 + EPOCHS + 1, uninterrupted.log


@pytest.mark.verify
def test_stopped_and_resumed_it_ends_in_the_same_weights(cluster: Cluster, uninterrupted: Attempt) -> None:
    stopped = Attempt.start(cluster, uninterrupted.folder.parent / "stopped")
    _until(lambda: len(stopped.steps()) > STEPS_PER_EPOCH or stopped.driver.poll() is not None, seconds=200)
    stopped.driver.send_signal(signal.SIGTERM)
    assert stopped.ended() == 128 + signal.SIGTERM, stopped.log
    last = stopped.records("checkpoint")[-1]
    assert STEPS_PER_EPOCH < last["step"] == stopped.steps()[-1] < STEPS

    resumed = Attempt.start(cluster, uninterrupted.folder.parent / "resumed", resume_from=last["uri"])
    assert resumed.ended() == 0, resumed.log
    assert resumed.steps() == list(range(last["step"] + 1, STEPS + 1))
    assert resumed.model == uninterrupted.model
    assert resumed.records("progress")[-2:] == uninterrupted.records("progress")[-2:]


@pytest.mark.verify
def test_stopped_before_its_first_step_it_ends_at_once(cluster: Cluster, tmp_path: Path) -> None:
    attempt = Attempt.start(cluster, tmp_path / "early")
    _until(lambda: attempt.log.startswith("starting"), seconds=120)
    attempt.driver.send_signal(signal.SIGTERM)
    assert attempt.ended() == 128 + signal.SIGTERM
    assert attempt.log.splitlines()[-1] == "stopped before the first step"
    assert attempt.records("checkpoint") == []
