"""Fixtures of Kubernetes: one real control plane a run, and a namespace with played nodes for each test."""

import base64
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.kube.control_plane import ControlPlane, kubeconfig, missing_programs
from tests.kube.definitions import define_ray_clusters
from tests.kube.nodes import Claimed, Kubelets
from tests.kube.ray_operator import RayOperator
from tests.kube.rest import Json, Rest
from tests.parts import require_part

SETTLE_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.05
CALM_ROUNDS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeServer:
    """A real API server, and an administrator's way in."""

    url: str
    ca_pem: str
    token: str
    rest: Rest

    def kubeconfig(self, token: str | None = None) -> str:
        return kubeconfig(self.url, self.ca_pem, token or self.token)


@dataclass(slots=True, kw_only=True)
class Stage:
    """A namespace of its own on the real server, with played nodes and operator."""

    server: KubeServer
    namespace: str
    kubelets: Kubelets
    operator: RayOperator
    runner: Claimed

    @property
    def rest(self) -> Rest:
        return self.server.rest

    def pods(self) -> list[Json]:
        return self.rest.list("pods", self.namespace)

    def node(self, number: int) -> str:
        """Names begin with the namespace, since nodes have none."""
        return f"{self.namespace}-node-{number}"

    def step(self) -> bool:
        return self.operator.step() | self.kubelets.step(self.namespace)

    def settle(self) -> None:
        """Until the played parts and the real ones have nothing left to do."""
        calm = 0
        self.until(self.kubelets.are_schedulable)

        def is_calm() -> bool:
            nonlocal calm
            calm = 0 if self.step() or not all(_is_settled(pod) for pod in self.pods()) else calm + 1
            return calm >= CALM_ROUNDS

        self.until(is_calm)

    def until(self, is_so: Callable[[], bool], *, seconds: float = SETTLE_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > end:
                raise TimeoutError(f"not so after {seconds} s; the pods: {_summary(self.pods())}")
            time.sleep(POLL_SECONDS)  # poll


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
    """With two nodes of 8 CPUs, 32 GiB and 4 GPUs."""
    rest, namespace = kube_server.rest, f"t{uuid.uuid4().hex[:8]}"
    rest.create("namespaces", {"metadata": {"name": namespace}})
    runner = Claimed()
    operator = RayOperator(rest, namespace)
    with Kubelets(rest, runner) as kubelets:
        stage = Stage(
            server=kube_server, namespace=namespace, kubelets=kubelets, operator=operator, runner=runner
        )
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


def _is_settled(pod: Json) -> bool:
    """Nothing is to be expected of it any more, as long as nobody does anything."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions") or ()}
    return pod["status"].get("phase") != "Pending" or conditions.get("PodScheduled") is not None


def _summary(pods: list[Json]) -> list[tuple[str, object, object]]:
    return [(pod["metadata"]["name"], pod["spec"].get("nodeName"), pod["status"]) for pod in pods]


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
