"""The embedded cluster: booted by the server, lost with its head and booted again, ended with the server."""

from pathlib import Path

from cloud_adapters.base import ClusterRef
from cloud_adapters.local.adapter import LocalAdapter
from cloud_adapters.local.processes import members
from controlplane.admin.server import environment_of
from controlplane.sdk import Client, JobSpec
from controlplane.settings import Settings
from tests.ray_cluster import LocalCluster
from tests.server import RunningServer, eventually, run_role, running_server

BOOT_SECONDS = 300.0
RUN_SECONDS = 300.0
FAILS_UNTIL_RESUMED = (
    "if [ $CROSSDOCK_ATTEMPT_NUMBER = 1 ]; then echo first life; sleep 600; fi; echo second life"
)


def test_a_killed_ray_head_evicts_the_attempt_and_the_next_one_succeeds_on_a_new_cluster(
    tmp_path: Path,
) -> None:
    with (
        running_server(tmp_path / "home", is_fresh=True, local_cluster=True) as server,
        server.client() as client,
    ):
        embedded = embedded_cluster(server.settings, client)
        try:
            lose_the_head(server, client, embedded)
            life = embedded.life
            assert members(life.tag, Path(life.folder))
        finally:
            server.stop()
            assert run_role("clusters-down", environment_of(server.settings)) == 0
        assert not members(life.tag, Path(life.folder))


def lose_the_head(server: RunningServer, client: Client, embedded: LocalCluster) -> None:
    ready(server, client)
    job = client.jobs.submit(JobSpec(name="survives", entrypoint=FAILS_UNTIL_RESUMED))
    eventually(lambda: list(job.logs()) == ["first life"], RUN_SECONDS, "the job must have begun")
    embedded.kill_head()
    job.wait(timeout_seconds=RUN_SECONDS)
    first, second = job.attempts()
    assert (first.outcome in {"lost", "evicted"}, second.outcome) == (True, "succeeded")
    assert list(job.logs(attempt=2)) == ["second life"]


def embedded_cluster(settings: Settings, client: Client) -> LocalCluster:
    cluster = client.clusters.get("local")
    where = (("directory", str(settings.home / "clusters" / cluster.id)),)
    return LocalCluster(
        ref=ClusterRef(id=cluster.id, name="local", endpoint=None, settings=where), adapter=LocalAdapter()
    )


def ready(server: RunningServer, client: Client) -> None:
    is_ready = "the embedded cluster must become ready"
    eventually(
        lambda: client.clusters.get("local").state == "ready",
        BOOT_SECONDS,
        f"{is_ready}:\n{server.log('loops')}",
    )
