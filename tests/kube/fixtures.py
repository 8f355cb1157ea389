"""Fixtures of Kubernetes: one real control plane a run, and a stage with two nodes for each test."""

import base64
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloud_adapters.kubernetes.adapter import KubernetesAdapter
from cloud_adapters.kubernetes.kubeconfig import Permissions
from tests.kube.control_plane import ControlPlane, missing_programs
from tests.kube.definitions import define_ray_clusters
from tests.kube.faults import FaultProxy
from tests.kube.nodes import Claimed, Kubelets, Runner
from tests.kube.ray_operator import RayOperator
from tests.kube.rest import Rest
from tests.kube.stages import KubeServer, Stage
from tests.parts import require_part


@pytest.fixture
def kubernetes_adapter() -> Iterator[KubernetesAdapter]:
    adapter = KubernetesAdapter(Permissions(local_addresses=True))
    yield adapter
    adapter.close()


@pytest.fixture
def fault_proxy(kube_server: KubeServer) -> Iterator[FaultProxy]:
    with FaultProxy(kube_server.url, kube_server.ca_pem) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def kube_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    """The one that `KUBECONFIG` names, by a token; or one that is started from `KUBEBUILDER_ASSETS`."""
    given = os.environ.get("KUBECONFIG")
    if given:
        url, ca_pem, token = _way_in(Path(given))
        with Rest(url, ca_pem, token) as rest:
            define_ray_clusters(rest)
            yield KubeServer(url=url, ca_pem=ca_pem, token=token, rest=rest)
        return
    why = missing_programs()
    require_part("kubernetes", why is None, why or "")
    with (
        ControlPlane(tmp_path_factory.mktemp("kube")) as plane,
        Rest(plane.url, plane.ca_pem, plane.token) as rest,
    ):
        define_ray_clusters(rest)
        yield KubeServer(url=plane.url, ca_pem=plane.ca_pem, token=plane.token, rest=rest)


@pytest.fixture
def kube(kube_server: KubeServer) -> Iterator[Stage]:
    with stage_of(kube_server, Claimed()) as stage:
        yield stage


@contextmanager
def stage_of(server: KubeServer, runner: Runner) -> Iterator[Stage]:
    """With two nodes of 8 CPUs, 32 GiB and 4 GPUs."""
    rest, namespace = server.rest, f"t{uuid.uuid4().hex[:8]}"
    rest.create("namespaces", {"metadata": {"name": namespace}})
    with Kubelets(rest, runner) as kubelets:
        operator = RayOperator(rest, namespace)
        stage = Stage(server=server, namespace=namespace, kubelets=kubelets, operator=operator, runner=runner)
        for number in (1, 2):
            kubelets.add(
                stage.node(number),
                {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "4"},
                labels={"stage": namespace, "nvidia.com/gpu.product": "NVIDIA-H200"},
            )
        stage.until(lambda: rest.get("serviceaccounts", "default", namespace) is not None)
        yield stage
        for pod in stage.pods():
            rest.delete("pods", pod["metadata"]["name"], namespace, grace_seconds=0)
    rest.delete("namespaces", namespace)  # takes long, and nobody waits for it


def _way_in(file: Path) -> tuple[str, str, str]:
    config: dict[str, Any] = yaml.safe_load(file.read_text())
    named = {
        part: {each["name"]: each for each in config[part]} for part in ("contexts", "clusters", "users")
    }
    context = named["contexts"][config["current-context"]]["context"]
    cluster, user = named["clusters"][context["cluster"]]["cluster"], named["users"][context["user"]]["user"]
    if "certificate-authority" in cluster:
        ca_pem = Path(cluster["certificate-authority"]).read_text()
    else:
        ca_pem = base64.b64decode(cluster["certificate-authority-data"]).decode()
    if "token" not in user:
        raise pytest.UsageError(f"{file}: these tests need a kubeconfig with an administrator's token")
    return cluster["server"], ca_pem, user["token"]
