"""The executor contract, on real Ray."""

from collections.abc import Iterator
from typing import Final

import httpx
import pytest

from controlplane.domain.clusters import Endpoint
from controlplane.executors.ray.executor import RayExecutor
from controlplane.executors.testing import ExecutorContract

ASK_SECONDS: Final = 20.0


class TestRayExecutor(ExecutorContract):
    @pytest.fixture(autouse=True)
    def _on(self, ray_cluster: Endpoint) -> Iterator[None]:
        self._endpoint, self._executor = ray_cluster, RayExecutor()
        yield
        self._executor.close()

    def executor(self) -> RayExecutor:
        return self._executor

    def endpoint(self) -> Endpoint:
        return self._endpoint

    def node_name(self) -> str:
        nodes = httpx.get(
            f"{self._endpoint.url}/api/v0/nodes",
            params={"detail": "1"},
            headers={"Authorization": f"Bearer {self._endpoint.token}"},
            timeout=ASK_SECONDS,
        ).json()["data"]["result"]["result"]
        return str(
            next(node["node_id"] for node in nodes if not node["is_head_node"] and node["state"] == "ALIVE")
        )
