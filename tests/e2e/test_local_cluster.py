"""The embedded cluster for real: booted once however often, found again, and never left behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from cloud_adapters.base import ClusterRef, Endpoint, Lends, PluginError, Transient
from cloud_adapters.local.adapter import LocalAdapter
from cloud_adapters.local.commands import HEAD
from cloud_adapters.local.processes import Process, descendants, is_alive, kill, read
from cloud_adapters.testing import HostsContract, LendsContract
from tests.ray_cluster import LocalCluster, local_cluster, running_cluster

pytestmark = pytest.mark.timeout(300)

GONE_SECONDS = 20.0
NODE_SECONDS = 120.0
BOOT = """
import sys
from cloud_adapters.base import ClusterRef
from cloud_adapters.local.adapter import LocalAdapter
settings = (("directory", sys.argv[1]), ("nodes", "1"))
print(LocalAdapter().boot(ClusterRef(id="lab", name="lab", endpoint=None, settings=settings), deadline=180).url)
"""
ESCAPE = "env -i setsid sleep 600 >/dev/null 2>&1 & exec sleep 300"
"""User code that leaves a process behind: in a session of its own, with nothing of ours in its environment."""


class TestLends(LendsContract):
    @pytest.fixture
    def adapter(self) -> LocalAdapter:
        return LocalAdapter()

    @pytest.fixture
    def cluster(self, ray_cluster: Endpoint) -> ClusterRef:
        return ClusterRef(id="lab", name="lab", endpoint=ray_cluster)

    @pytest.fixture
    def silent(self) -> ClusterRef:
        return ClusterRef(id="far", name="far", endpoint=None)

    @pytest.fixture
    def locked(self, ray_cluster: Endpoint) -> ClusterRef:
        return ClusterRef(id="lab", name="lab", endpoint=replace(ray_cluster, token="x" * 64))


class TestHosts(HostsContract):
    @pytest.fixture
    def adapter(self) -> LocalAdapter:
        return LocalAdapter()

    @pytest.fixture
    def fresh(self, small: LocalCluster) -> ClusterRef:
        return small.ref

    # A boot takes its time, and `test_of_two_callers` below sees the same of the one that it has.
    @pytest.mark.verify
    def test_a_cluster_boots_once_and_ends_for_good(self, adapter: Lends, fresh: ClusterRef) -> None:
        super().test_a_cluster_boots_once_and_ends_for_good(adapter, fresh)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[LocalCluster]:
    """A cluster with one node, not booted; whatever the test does to it, nothing of it stays."""
    cluster = local_cluster(tmp_path / "lab", nodes=1)
    yield cluster
    cluster.adapter.shut_down(cluster.ref, deadline=60)


def test_of_two_callers_one_is_killed_and_one_cluster_starts(small: LocalCluster) -> None:
    killed, patient = (booter(small) for _ in range(2))
    eventually(lambda: has_head(small), "no head")
    kept = small.life.tag
    killed.kill()
    killed.communicate()
    url = patient.communicate()[0].decode().strip()
    assert (url, small.life.tag) == (small.life.url, kept)
    # A new adapter, as after a restart of the server, finds it.
    found = LocalAdapter().boot(small.ref, deadline=1)
    first = small.adapter.inventory(small.at(found), deadline=5)
    assert (found, bool(first.machines)) == (small.boot(), True)
    assert (found.url, small.adapter.inventory(small.at(found), deadline=5).session) == (url, first.session)
    held = everything(small)
    for _ in range(2):
        small.adapter.shut_down(small.ref, deadline=GONE_SECONDS)
    assert_gone(held)
    with pytest.raises(Transient):
        small.adapter.inventory(small.at(found), deadline=5)
    assert sorted(file.name for file in small.place.directory.iterdir()) == ["keeper.log", "lock"]


def test_a_lost_node_comes_back_and_a_lost_keeper_takes_everything_along(tmp_path: Path) -> None:
    """One test and not two, since a real boot takes its time."""
    with running_cluster(tmp_path / "lab", nodes=1) as cluster:
        endpoint = cluster.boot()
        lose_a_node(cluster, endpoint)
        lose_the_keeper(cluster, endpoint)


# The head that is killed in `test_embedded.py` is lost to a server, which boots another.
@pytest.mark.verify
def test_a_lost_head_takes_everything_along_and_the_next_boot_begins_another_session(tmp_path: Path) -> None:
    with running_cluster(tmp_path / "lab", nodes=1) as cluster:
        lose_the_head(cluster, cluster.boot())


def lose_a_node(cluster: LocalCluster, endpoint: Endpoint) -> None:
    before = cluster.adapter.inventory(cluster.at(endpoint), deadline=5)
    cluster.kill_node(1)
    eventually(lambda: names(cluster, endpoint) not in ([], [before.machines[0].name]), "no other node")
    assert cluster.adapter.inventory(cluster.at(endpoint), deadline=5).session == before.session


def lose_the_head(cluster: LocalCluster, endpoint: Endpoint) -> None:
    """The session ends with it; the next boot begins another one, under another token."""
    before = cluster.adapter.inventory(cluster.at(endpoint), deadline=5)
    held = everything(cluster)
    cluster.kill_head()
    eventually(lambda: cluster.life.ended is not None, "the cluster goes on without its head")
    assert_gone(held)
    assert list(cluster.place.last_logs.glob("gcs_server*"))
    again = cluster.boot()
    assert cluster.adapter.inventory(cluster.at(again), deadline=5).session != before.session
    assert again.token != endpoint.token


def lose_the_keeper(cluster: LocalCluster, endpoint: Endpoint) -> None:
    """Also what escaped from it goes."""
    submit(endpoint, ESCAPE)
    eventually(lambda: len(sleepers(cluster)) == 1, "the job left no process behind")
    held = everything(cluster)
    assert set(sleepers(cluster)) <= held
    os.kill(cluster.life.keeper_pid, signal.SIGKILL)
    assert_gone(held)
    eventually(lambda: not Path(cluster.life.folder).exists(), "files stay")
    assert cluster.life.ended == "its keeper was killed"


@pytest.mark.verify
def test_when_all_its_keepers_are_killed_the_next_boot_sweeps(small: LocalCluster) -> None:
    with pytest.raises(Transient, match="still starting"):
        small.boot(deadline=0.5)
    eventually(lambda: has_head(small), "no head")
    held, folder = everything(small), small.life.folder
    keeper = read(small.life.keeper_pid)
    assert keeper is not None
    for pid in (keeper.parent, keeper.pid):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not small.life.is_kept, "the keeper lives on")
    assert [process for process in held if is_alive(process.pid, process.started)]
    with pytest.raises(Transient, match="still starting"):
        small.boot(deadline=0.5)
    assert_gone(held)
    assert not Path(folder).exists()


def test_a_cluster_that_nobody_wants_ends_by_itself(tmp_path: Path) -> None:
    cluster = local_cluster(tmp_path / "lab", nodes=1, orphan_seconds=3)

    def has_head_while_wanted() -> bool:
        cluster.place.call()
        return has_head(cluster)

    with pytest.raises(Transient, match="still starting"):
        cluster.boot(deadline=0.5)
    eventually(has_head_while_wanted, "no head")
    held, folder = everything(cluster), cluster.life.folder
    eventually(lambda: cluster.life.ended == "nobody wanted it for 3 s", "it goes on")
    assert_gone(held)
    assert not Path(folder).exists()


def test_a_cluster_whose_directory_is_removed_ends(tmp_path: Path) -> None:
    cluster = local_cluster(tmp_path / "lab", nodes=1)
    with pytest.raises(Transient, match="still starting"):
        cluster.boot(deadline=0.5)
    eventually(lambda: has_head(cluster), "no head")
    held, folder = everything(cluster), cluster.life.folder
    shutil.rmtree(cluster.place.directory)
    assert_gone(held)
    assert not Path(folder).exists()


def test_without_its_token_it_tells_nothing(ray_cluster: Endpoint) -> None:
    assert httpx.get(f"{ray_cluster.url}/api/version", timeout=5).status_code == 401


def booter(cluster: LocalCluster) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", BOOT, str(cluster.place.directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def everything(cluster: LocalCluster) -> set[Process]:
    """Keeper and guard too."""
    keeper = read(cluster.life.keeper_pid)
    guard = read(keeper.parent) if keeper else None
    return {*cluster.processes()} | ({keeper} if keeper else set()) | ({guard} if guard else set())


def has_head(cluster: LocalCluster) -> bool:
    try:
        return bool(cluster.daemon(HEAD, "gcs_server"))
    except LookupError:
        return False


def sleepers(cluster: LocalCluster) -> list[Process]:
    return [
        process
        for process in descendants(cluster.life.keeper_pid)
        if Path(f"/proc/{process.pid}/cmdline").read_bytes() == b"sleep\x00600\x00"
    ]


def names(cluster: LocalCluster, endpoint: Endpoint) -> list[str]:
    try:
        seen = cluster.adapter.inventory(cluster.at(endpoint), deadline=5)
    except PluginError:
        return []
    return [machine.name for machine in seen.machines]


def submit(endpoint: Endpoint, entrypoint: str) -> None:
    body = {"entrypoint": entrypoint, "entrypoint_num_cpus": 1}
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    answer = httpx.post(f"{endpoint.url}/api/jobs/", json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text


def assert_gone(processes: set[Process]) -> None:
    def left() -> list[Process]:
        return [process for process in processes if is_alive(process.pid, process.started)]

    try:
        eventually(lambda: not left(), "processes stay", within_seconds=GONE_SECONDS)
    finally:
        for process in left():
            kill(process)


def eventually(
    condition: Callable[[], bool], otherwise: str, *, within_seconds: float = NODE_SECONDS
) -> None:
    until = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < until, otherwise
        time.sleep(0.2)  # poll
