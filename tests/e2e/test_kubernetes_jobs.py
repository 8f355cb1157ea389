"""A job through the SDK on a Ray cluster that is built for it on Kubernetes, really boots, and is gone again.

Real are the API server, the adapter with the rights of the shipped manifest, Ray and the job; played are the nodes and
the operator.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from controlplane.sdk import Client, JobSpec
from tests.hypervisor.hypervisor import MEBIBYTE, Hypervisor
from tests.hypervisor.namespaces import is_available
from tests.kube.fixtures import stage_of
from tests.kube.granting import manifest_granted, token_of
from tests.kube.processes import Booted
from tests.kube.stages import KubeServer, Stage
from tests.parts import require_part
from tests.server import RunningServer, running_server

pytestmark = [pytest.mark.verify, pytest.mark.timeout(1200)]

BOOT_SECONDS: Final = 600.0
QUIET_SECONDS: Final = 120.0
ENTRYPOINT: Final = (
    "python -c \"import os, torch; from torch import distributed as d; d.init_process_group('gloo'); "
    "t = torch.ones(1) * (d.get_rank() + 1); d.all_reduce(t); "
    "print('rank', d.get_rank(), 'of', d.get_world_size(), 'on', os.uname().nodename, 'sums', int(t.item()))\""
)


@pytest.mark.parametrize("kuberay", ["auto", "no"], ids=["kuberay", "plain"])
def test_a_gang_runs_on_a_ray_cluster_that_is_built_for_it_and_nothing_of_it_stays(
    kube_server: KubeServer, tmp_path: Path, kuberay: str
) -> None:
    require_part("namespaces", is_available(), "needs root and Linux namespaces")
    for part in ("ray", "torch"):
        require_part(part, find_spec(part) is not None, "it is not installed")
    with (
        running_server(tmp_path / "home", lease_seconds=60.0, unreachable_after_seconds=60.0) as server,
        Hypervisor(reach=(server.settings.port,)) as hypervisor,
        stage_of(kube_server, Booted(kube_server.rest, hypervisor)) as stage,
        server.client() as client,
    ):
        stage.until(stage.kubelets.are_schedulable)
        with manifest_granted(stage):
            register(server, stage, tmp_path / "kubeconfig", kuberay)
            train(client, stage, server)
            stage.until(lambda: not stage.step() and stage.pods() == [], seconds=QUIET_SECONDS)
            (claim,) = client.claims.list()
            stage.until(lambda: client.claims.get(claim.id).state == "gone", seconds=QUIET_SECONDS)


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

    def is_finished() -> bool:
        stage.step()
        return job.refresh().is_finished

    try:
        stage.until(is_finished, seconds=BOOT_SECONDS)
    except TimeoutError as late:
        assert isinstance(stage.runner, Booted)
        told = [stage.runner.console(pod)[-2000:] for pod in stage.pods()]
        pytest.fail("\n".join([str(late), job.explain().sentence, *told, server.log("loops")[-2000:]]))
    assert job.state == "succeeded", (job.attempts(), list(job.logs()))
    lines = sorted(line for line in job.logs() if line.startswith("rank"))
    assert [line.split(" on ")[0] for line in lines] == ["rank 0 of 2", "rank 1 of 2"]
    assert [line.split(" sums ")[1] for line in lines] == ["3", "3"]
    assert len({line.split(" on ")[1].split()[0] for line in lines}) == 2
