"""A job and a service through the SDK on Ray clusters that are built on Kubernetes, really boot, and are gone again.

Real are the API server, the adapter with the rights of the shipped manifest, Ray, the job, the replica and the gateway;
played are the nodes and the operator.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from controlplane.sdk import Client, JobSpec
from tests.hypervisor.hypervisor import MEBIBYTE, Hypervisor
from tests.hypervisor.namespaces import is_available
from tests.kube.fixtures import stage_of
from tests.kube.granting import manifest_granted, token_of
from tests.kube.processes import Booted
from tests.kube.stages import KubeServer, Stage
from tests.parts import require_part
from tests.server import RunningServer, free_port, running_server

pytestmark = [pytest.mark.verify, pytest.mark.timeout(1200)]

BOOT_SECONDS: Final = 600.0
QUIET_SECONDS: Final = 120.0
ENTRYPOINT: Final = (
    "python -c \"import os, torch; from torch import distributed as d; d.init_process_group('gloo'); "
    "t = torch.ones(1) * (d.get_rank() + 1); d.all_reduce(t); "
    "print('rank', d.get_rank(), 'of', d.get_world_size(), 'on', os.uname().nodename, 'sums', int(t.item()))\""
)
CODE: Final = """
class Times:
    def __call__(self, inputs):
        return {"product": [value * 2 for value in inputs["x"]]}
"""
TENSOR: Final = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [2], "data": [3, 4]}]}

Settings = dict[str, Any]  # of the server


@pytest.mark.parametrize("kuberay", ["auto", "no"], ids=["kuberay", "plain"])
def test_a_gang_runs_on_a_ray_cluster_that_is_built_for_it_and_nothing_of_it_stays(
    kube_server: KubeServer, tmp_path: Path, kuberay: str
) -> None:
    require_part("torch", find_spec("torch") is not None, "it is not installed")
    with attached(kube_server, tmp_path, kuberay) as (server, stage), server.client() as client:
        train(client, stage, server)
        stage.until(lambda: not stage.step() and stage.pods() == [], seconds=QUIET_SECONDS)
        (claim,) = client.claims.list()
        stage.until(lambda: client.claims.get(claim.id).state == "gone", seconds=QUIET_SECONDS)


def test_a_replica_in_a_pod_answers_through_the_gateway(kube_server: KubeServer, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "times.py").write_text(CODE)
    spec = {"name": "times", "import_path": "times:Times", "resources": {"cpus": 1, "memory": "400MiB"}}
    with attached(kube_server, tmp_path, "no") as (server, stage), server.client() as client:
        server.start("gateway")
        service = client.services.deploy(spec, working_dir=code)
        booted(
            stage,
            server,
            lambda: client.services.get(service.id).phase == "ready",
            lambda: client.services.get(service.id).model_dump_json(),
        )
        (replica,) = client.services.replicas(service.id)
        hosts = {pod["status"]["podIP"] for pod in stage.pods()}
        assert httpx.URL(replica.url or "").host in hosts
        booted(stage, server, lambda: asked(server).status_code == 200, lambda: asked(server).text)
        assert asked(server).json()["outputs"][0]["data"] == [6, 8]
        client.services.delete(service.id)
        stage.until(lambda: not stage.step() and stage.pods() == [], seconds=QUIET_SECONDS)


@contextmanager
def attached(kube_server: KubeServer, folder: Path, kuberay: str) -> Iterator[tuple[RunningServer, Stage]]:
    """A server that has the stage for its cluster `prod`; its gateway is started by whoever wants it."""
    require_part("namespaces", is_available(), "needs root and Linux namespaces")
    require_part("ray", find_spec("ray") is not None, "it is not installed")
    slow: Settings = {"lease_seconds": 60.0, "unreachable_after_seconds": 60.0}
    ports: Settings = {"gateway_port": free_port(), "gateway_grpc_port": free_port()}
    with (
        running_server(folder / "home", **slow, **ports) as server,
        Hypervisor(reach=(server.settings.port,)) as hypervisor,
        stage_of(kube_server, Booted(kube_server.rest, hypervisor)) as stage,
    ):
        stage.until(stage.kubelets.are_schedulable)
        with manifest_granted(stage):
            register(server, stage, folder / "kubeconfig", kuberay)
            yield server, stage


def register(server: RunningServer, stage: Stage, file: Path, kuberay: str) -> None:
    """As docs/clusters.md says."""
    file.write_text(stage.server.kubeconfig(token_of(stage)))
    settings = {
        "namespace": stage.namespace,
        "node_selector": f"stage={stage.namespace}",
        "kuberay": kuberay,
        "head_cpu_milli": "100",
        "head_memory_bytes": str(400 * MEBIBYTE),
    }
    options = [f"--set={name}={value}" for name, value in settings.items()]
    added = server.crossdock(
        *("clusters", "add", "prod", "--adapter", "kubernetes", "--secret-file", str(file), *options)
    )
    assert added.returncode == 0, added.stdout + added.stderr
    assert "nodes    2" in added.stdout


def train(client: Client, stage: Stage, server: RunningServer) -> None:
    spec = {
        "name": "gang",
        "entrypoint": ENTRYPOINT,
        "tasks": 2,
        "resources": {"cpus": 5, "memory": "400MiB"},  # so much that one node does not hold both
    }
    job = client.jobs.submit(JobSpec.model_validate(spec))

    booted(stage, server, lambda: job.refresh().is_finished, lambda: job.explain().sentence)
    assert job.state == "succeeded", (job.attempts(), list(job.logs()))
    lines = sorted(line for line in job.logs() if line.startswith("rank"))
    assert [line.split(" on ")[0] for line in lines] == ["rank 0 of 2", "rank 1 of 2"]
    assert [line.split(" sums ")[1] for line in lines] == ["3", "3"]
    assert len({line.split(" on ")[1].split()[0] for line in lines}) == 2


def booted(stage: Stage, server: RunningServer, is_so: Callable[[], bool], why: Callable[[], str]) -> None:
    """Steps the nodes until it is so; fails with `why` it is not, and with what the pods and the loops said."""

    def stepped() -> bool:
        stage.step()
        return is_so()

    try:
        stage.until(stepped, seconds=BOOT_SECONDS)
    except TimeoutError as late:
        assert isinstance(stage.runner, Booted)
        told = [stage.runner.console(pod)[-2000:] for pod in stage.pods()]
        pytest.fail("\n".join([str(late), why(), *told, server.log("loops")[-2000:]]))


def asked(server: RunningServer) -> httpx.Response:
    url = f"{server.settings.gateway_url}/default/times/v2/models/times/infer"
    headers = {"Authorization": f"Bearer {server.admin_token}"}
    return httpx.post(url, json=TENSOR, headers=headers, trust_env=False, timeout=30)
