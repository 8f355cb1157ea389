"""The way in, with everything real behind it: a canary that errs is taken back under load, and no caller notices."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import httpx
import pytest

from controlplane.domain.clusters import Endpoint
from tests.server import RunningServer, eventually, free_port, running_server

SECONDS: Final = 60.0
CALLERS: Final = 3
PATH: Final = "/default/times/v2/models/times/infer"
TENSOR: Final = {"name": "x", "datatype": "INT64", "shape": [2], "data": [3, 4]}
CODE: Final = """
class Times:
    def __init__(self, by):
        self.by = by

    def __call__(self, inputs):
        if self.by == 0:
            raise ArithmeticError("nothing comes of nothing")
        return {"product": [value * self.by for value in inputs["x"]]}
"""


@dataclass(slots=True)
class Callers:
    """Ask as fast as they are answered, each on a connection of its own, until the block ends."""

    url: str
    token: str
    answers: list[tuple[int, str, object]] = field(default_factory=list)
    """Status, revision, result."""

    _stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._ask) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_problem: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {self.token}"}, trust_env=False) as client:
            while not self._stopping.wait(0.02):
                answer = client.post(self.url, json={"inputs": [TENSOR]}, timeout=30)
                number = answer.headers.get("x-crossdock-revision", "")
                result = answer.json()["outputs"][0]["data"] if answer.is_success else answer.text
                self.answers.append((answer.status_code, number, result))


@pytest.fixture
def server(ray_cluster: Endpoint, tmp_path: Path) -> Iterator[RunningServer]:
    home, port = tmp_path / "home", free_port()
    with running_server(home, gateway_port=port, gateway_grpc_port=0) as running, running.client() as client:
        running.start("gateway")
        client.clusters.add(
            "lab",
            adapter="ray",
            url=ray_cluster.url,
            token=ray_cluster.token,
            gpu_resource=ray_cluster.gpu_resource,
        )
        eventually(lambda: client.clusters.get("lab").state == "ready", 30.0, "the cluster must become ready")
        ready = f"{running.settings.gateway_url}/readyz"
        eventually(
            lambda: answered(ready) == 200, 30.0, f"the gateway must be ready:\n{running.log('gateway')}"
        )
        yield running


def answered(url: str) -> int | None:
    try:
        return httpx.get(url, trust_env=False).status_code
    except httpx.TransportError:
        return None


def spec(by: int) -> dict[str, Any]:
    return {
        "name": "times",
        "import_path": "times:Times",
        "config": {"by": by},
        "resources": {"cpus": 0.1},
        "release": {"strategy": "canary", "steps": [20.0], "bake_seconds": 30.0, "min_requests": 5},
        "grace_seconds": 5.0,
    }


def test_a_canary_that_errs_is_taken_back_under_load_and_no_caller_notices(
    server: RunningServer, tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "times.py").write_text(CODE)
    url = server.settings.gateway_url + PATH
    with server.client() as client:
        service = client.services.deploy(spec(by=2), working_dir=tmp_path / "code")
        eventually(lambda: answered(url) == 401, 10.0, "the gateway must hear of the service")
        headers = {"Authorization": f"Bearer {server.admin_token}"}
        woken = httpx.post(url, json={"inputs": [TENSOR]}, headers=headers, timeout=SECONDS)
        assert woken.json()["outputs"][0]["data"] == [6, 8], "it waited until the first replica was ready"
        with Callers(url, server.admin_token) as callers:
            client.services.deploy(spec(by=0), working_dir=tmp_path / "code")

            def states() -> dict[int, str]:
                return {each.number: each.state for each in client.services.revisions(service.id)}

            eventually(
                lambda: states().get(2) in {"retiring", "retired", "failed"},
                SECONDS,
                f"the canary must be taken back; {server.log('loops')[-2000:]}",
            )
        assert states()[1] == "ready"
        client.services.delete(service.id)
    assert set(map(str, callers.answers)) == {str((200, "1", [6, 8]))}
    assert "request.served" in server.log("gateway")
    tried_twice = [line for line in server.log("gateway").splitlines() if '"tries": 2' in line]
    assert tried_twice, "the canary was asked, and what it answered was made good for"
