"""Stages: a namespace on a real API server with played nodes and a played operator."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.kube.control_plane import kubeconfig
from tests.kube.nodes import Claimed, Kubelets, Runner
from tests.kube.ray_operator import RayOperator
from tests.kube.rest import Json, Rest

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
    runner: Runner

    @property
    def rest(self) -> Rest:
        return self.server.rest

    def pods(self) -> list[Json]:
        return self.rest.list("pods", self.namespace)

    @property
    def claimed(self) -> Claimed:
        """The runner of a stage whose pods only claim to run."""
        assert isinstance(self.runner, Claimed)
        return self.runner

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


def _is_settled(pod: Json) -> bool:
    """Nothing is to be expected of it any more, as long as nobody does anything."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions") or ()}
    return pod["status"].get("phase") != "Pending" or conditions.get("PodScheduled") is not None


def _summary(pods: list[Json]) -> list[tuple[str, object, object]]:
    return [(pod["metadata"]["name"], pod["spec"].get("nodeName"), pod["status"]) for pod in pods]
