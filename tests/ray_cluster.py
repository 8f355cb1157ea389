"""A real Ray cluster on loopback for tests: a head and two nodes, with 4 CPUs and 2 logical GPUs each.

`ray_cluster` is one cluster for the whole test run, and `plain_ray` the same one for who talks to Ray itself: leave it
as it was found. A test that hurts its cluster takes one of its own with `running_cluster`. Both end with the test, and
by themselves soon after a killed test run.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from cloud_adapters.base import ClusterRef, Endpoint
from cloud_adapters.local.adapter import LocalAdapter
from cloud_adapters.local.commands import HEAD, address_of
from cloud_adapters.local.place import Life, Place
from cloud_adapters.local.ports import Service, port_of
from cloud_adapters.local.processes import Process, descendants, kill, members, slot_of
from tests.parts import require_part
from tests.plain_ray import PlainRay

BOOT_SECONDS: Final = 180.0
END_SECONDS: Final = 60.0
CALL_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCluster:
    """A cluster by its directory; it need not run."""

    ref: ClusterRef
    adapter: LocalAdapter

    @property
    def life(self) -> Life:
        """What its keeper last said."""
        life = self.place.life()
        if life is None:
            raise LookupError("the cluster was never booted")
        return life

    @property
    def place(self) -> Place:
        return Place(directory=Path(dict(self.ref.settings)["directory"]))

    @property
    def gcs_address(self) -> str:
        return f"{address_of(HEAD)}:{port_of(self.life.base_port, HEAD, Service.GCS)}"

    def boot(self, *, deadline: float = BOOT_SECONDS) -> Endpoint:
        return self.adapter.boot(self.ref, deadline=deadline)

    def at(self, endpoint: Endpoint) -> ClusterRef:
        return replace(self.ref, endpoint=endpoint)

    def processes(self) -> tuple[Process, ...]:
        """All of Ray's and of the users' processes in it, wherever they hang."""
        found = {*members(self.life.tag, Path(self.life.folder)), *descendants(self.life.keeper_pid)}
        return tuple(sorted(found, key=lambda process: process.pid))

    def daemon(self, slot: int, program: str) -> Process:
        """Ray's `gcs_server` or `raylet` of the head (slot 0) or a node (1, 2...)."""
        for process in descendants(self.life.keeper_pid):
            if slot_of(process.pid, self.life.tag) == str(slot) and _name(process.pid) == program:
                return process
        raise LookupError(f"no {program} in slot {slot}")

    def kill_head(self) -> None:
        os.kill(self.daemon(HEAD, "gcs_server").pid, signal.SIGKILL)

    def kill_node(self, slot: int) -> None:
        os.kill(self.daemon(slot, "raylet").pid, signal.SIGKILL)

    def wipe_out(self, slot: int) -> None:
        """The node with all that runs on it, at once, as when its machine loses power."""
        for process in self.processes():
            if slot_of(process.pid, self.life.tag) == str(slot):
                kill(process)

    @contextmanager
    def no_starts(self) -> Iterator[None]:
        """What is lost meanwhile comes back afterwards: the keeper, which starts nodes, holds still."""
        keeper = self.life.keeper_pid
        hold = f"kill -STOP {keeper}; read -r _; kill -CONT {keeper}"
        # Its input also ends with a test run that is killed.
        with subprocess.Popen(["/bin/sh", "-c", hold], stdin=subprocess.PIPE):
            yield


def local_cluster(directory: Path, **settings: int) -> LocalCluster:
    named = {"directory": str(directory)} | {name: str(value) for name, value in settings.items()}
    ref = ClusterRef(id="lab", name="lab", endpoint=None, settings=tuple(sorted(named.items())))
    return LocalCluster(ref=ref, adapter=LocalAdapter())


@contextmanager
def running_cluster(directory: Path, **settings: int) -> Iterator[LocalCluster]:
    """Boots it, calls for it as the loops would, and ends it whatever happens."""
    cluster = local_cluster(directory, **settings)
    stopped = threading.Event()
    caller = threading.Thread(target=_call, args=(cluster.place, stopped), daemon=True)
    try:
        cluster.boot()
        caller.start()
        yield cluster
    finally:
        stopped.set()
        cluster.adapter.shut_down(cluster.ref, deadline=END_SECONDS)


@pytest.fixture(scope="session")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    require_part("ray", find_spec("ray") is not None, "it is not installed")
    with running_cluster(tmp_path_factory.mktemp("ray"), orphan_seconds=60) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def ray_cluster(_shared: LocalCluster) -> Endpoint:
    return _shared.boot()


@pytest.fixture(scope="session")
def plain_ray(_shared: LocalCluster, ray_cluster: Endpoint) -> Iterator[PlainRay]:
    with PlainRay.connected(_shared.gcs_address, ray_cluster) as connected:
        yield connected


def _call(place: Place, stopped: threading.Event) -> None:
    while not stopped.wait(CALL_SECONDS):
        place.call()


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
