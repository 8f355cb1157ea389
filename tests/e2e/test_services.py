"""A service on a real Ray cluster: callers see no failure while a replica is lost and a revision released."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self

import httpx
import pytest

from controlplane import bootstrap
from controlplane.domain.clusters import Endpoint
from controlplane.domain.traffic import Backend, RevisionRoute, ServiceRoute
from controlplane.operations.context import Context
from controlplane.operations.traffic import routes
from controlplane.sdk import Client
from tests.server import RunningServer, eventually, free_port, running_server

SECONDS: Final = 90.0
CODE: Final = """
class Times:
    def __init__(self, by):
        self.by = by

    def __call__(self, inputs):
        return {"product": [value * self.by for value in inputs["x"]]}
"""


@pytest.fixture(scope="module")
def server(ray_cluster: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home, port = tmp_path_factory.mktemp("home"), free_port()
    with (
        running_server(home, gateway_port=port, gateway_grpc_port=0) as running,
        running.client() as client,
    ):
        running.start("gateway")
        client.clusters.add(
            "lab",
            adapter="ray",
            url=ray_cluster.url,
            token=ray_cluster.token,
            gpu_resource=ray_cluster.gpu_resource,
        )
        eventually(lambda: client.clusters.get("lab").state == "ready", 30.0, "the cluster must become ready")
        yield running


@pytest.fixture
def context(server: RunningServer) -> Iterator[Context]:
    opened = bootstrap.context(server.settings)
    yield opened
    opened.store.close()


def spec(by: int) -> dict[str, Any]:
    return {
        "name": "times",
        "import_path": "times:Times",
        "config": {"by": by},
        "replicas": {"min": 2, "max": 2},
        "resources": {"cpus": 0.1},
        "release": {"bake_seconds": 0.0},
        "grace_seconds": 5.0,
    }


def tensor() -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": "INT64", "shape": [2], "data": [3, 4]}]}


class Callers:
    """Two of them, who ask the gateway again and again and remember what went wrong."""

    def __init__(self, server: RunningServer, body: dict[str, Any]) -> None:
        self.failures: list[str] = []
        self.answers: set[tuple[int, ...]] = set()
        self.last: list[int] = []
        self._url = f"{server.settings.gateway_url}/default/times/v2/models/times/infer"
        self._headers = {"Authorization": f"Bearer {server.admin_token}"}
        self._body = body
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]
        eventually(self._answers, SECONDS, f"the gateway must answer:\n{server.log('gateway')}")

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _answers(self) -> bool:
        try:
            return httpx.post(self._url, json=self._body, headers=self._headers).is_success
        except httpx.TransportError:
            return False

    def _ask(self) -> None:
        with httpx.Client(headers=self._headers, timeout=30) as client:
            while not self._stopping.wait(0.1):
                try:
                    answer = client.post(self._url, json=self._body)
                except httpx.TransportError as problem:
                    self.failures.append(repr(problem))
                    continue
                if answer.status_code != httpx.codes.OK:
                    self.failures.append(f"{answer.status_code} {answer.text}")
                    continue
                self.last = answer.json()["outputs"][0]["data"]
                self.answers.add(tuple(self.last))


def asked(backend: Backend, key: str) -> list[int]:
    answer = httpx.post(
        f"{backend.url}/v2/models/times/infer",
        json=tensor(),
        headers={"Authorization": f"Bearer {key}"},
    )
    answer.raise_for_status()
    return list(answer.json()["outputs"][0]["data"])


def test_a_service_lives_through_a_lost_replica_and_a_new_revision_and_leaves_nothing(
    server: RunningServer, context: Context, tmp_path: Path
) -> None:
    (tmp_path / "times.py").write_text(CODE)
    with server.client() as client:
        service = client.services.deploy(spec(by=2), working_dir=tmp_path)
        first = route_when(context, lambda route: len(backends(route)) == 2)
        assert [asked(each, first.key) for each in first.backends] == [[6, 8], [6, 8]]
        with pytest.raises(httpx.HTTPStatusError, match="401"):
            asked(first.backends[0], "cdr_wrong")

        with Callers(server, tensor()) as callers:
            lost = client.services.replicas(service.id)[0]
            client.jobs.get(lost.job_id).cancel()
            gone = {lost.attempt_id}
            again = route_when(
                context, lambda route: len(backends(route)) == 2 and gone.isdisjoint(attempts_of(route))
            )
            assert [asked(each, again.key) for each in again.backends] == [[6, 8], [6, 8]]

            client.services.deploy(spec(by=5), working_dir=tmp_path)
            second = route_when(
                context,
                lambda route: [each.number for each in route.revisions] == [2] and len(backends(route)) == 2,
            )
            assert [asked(each, second.key) for each in second.backends] == [[15, 20], [15, 20]]

            eventually(
                lambda: callers.last == [15, 20], SECONDS, f"callers must get there: {callers.failures}"
            )
        assert (callers.failures, callers.answers) == ([], {(6, 8), (15, 20)})

        client.services.delete(service.id)
        eventually(lambda: client.services.by_name("times") is None, SECONDS, "the service must go")
        assert routes(context) == ()
        assert open_jobs(client) == []


def route_when(context: Context, holds: Callable[[ServiceRoute], bool]) -> RevisionRoute:
    """The one revision that takes traffic, once the route is as it should be. The shares always add up."""
    found: list[ServiceRoute] = []

    def look() -> bool:
        found[:] = routes(context)
        for route in found:
            assert sum(each.weight_ppm for each in route.revisions) in {0, 1_000_000}
        return bool(found) and holds(found[0])

    eventually(look, SECONDS, f"the route must change: {found}")
    return found[0].revisions[0]


def backends(route: ServiceRoute) -> list[Backend]:
    return [backend for revision in route.revisions for backend in revision.backends]


def attempts_of(route: ServiceRoute) -> set[str | None]:
    return {backend.attempt_id for backend in backends(route)}


def open_jobs(client: Client) -> list[str]:
    found = client.jobs.list(kind="replica", state=["held", "queued", "active"])
    return [job.id for job in found]
