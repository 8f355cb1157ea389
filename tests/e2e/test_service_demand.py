"""Replicas are demand: training takes a surplus one's seats and traffic takes them back; and gangs serve."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import grpc
import httpx
import pytest

from controlplane import bootstrap
from controlplane.domain.clusters import Endpoint
from controlplane.domain.ids import ServiceId
from controlplane.domain.traffic import LATENCY_EDGES_MS, Load, RevisionRoute
from controlplane.operations.context import Context
from controlplane.operations.traffic import report, routes
from controlplane.recipes.serving.inference_messages import SERVICE, message
from controlplane.sdk import Client, JobSpec
from tests.server import RunningServer, eventually, running_server

pytestmark = pytest.mark.verify

SECONDS: Final = 90.0
CODE: Final = """
    class Whole:
        def __call__(self, inputs):
            return {"y": inputs["x"]}

    class Parts:
        def __init__(self, rank=0, ranks=1, peers=()):
            self.rank, self.peers = rank, peers

        def __call__(self, inputs):
            if self.rank:
                return [value * 10 + self.rank for value in inputs]
            if inputs == "stream":
                return (self.peers[0]([value])[0] for value in (1, 2))
            return {"y": self.peers[0]([value + 1 for value in inputs["x"]])}
"""


@pytest.fixture(scope="module")
def server(ray_cluster: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    with running_server(home, min_runtime_seconds=0.5) as running, running.client() as client:
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


def deploy(client: Client, folder: Path, name: str, **changes: object) -> str:
    (folder / "parted.py").write_text(dedent(CODE))
    spec: dict[str, Any] = {"name": name, "grace_seconds": 5.0, "release": {"bake_seconds": 0.0}}
    return client.services.deploy(spec | changes, working_dir=folder).id


def gone(client: Client, service_id: str, name: str) -> None:
    client.services.delete(service_id)
    eventually(lambda: client.services.by_name(name) is None, SECONDS, f"service {name} must go")


def revision_when(context: Context, name: str, holds: Callable[[RevisionRoute], bool]) -> RevisionRoute:
    found: list[RevisionRoute] = []

    def look() -> bool:
        found[:] = [each for route in routes(context) if route.name == name for each in route.revisions]
        return bool(found) and holds(found[0])

    eventually(look, SECONDS, f"{name}: {found}")
    return found[0]


def test_training_takes_a_surplus_replicas_seats_and_traffic_takes_them_again(
    server: RunningServer, context: Context, tmp_path: Path
) -> None:
    with server.client() as client:
        service_id = deploy(
            client,
            tmp_path,
            "demand",
            import_path="parted:Whole",
            resources={"cpus": 0.1, "gpus": 2.0},
            replicas={"min": 1, "max": 2, "stable_seconds": 3600.0},
        )
        revision = revision_when(context, "demand", lambda each: len(each.backends) == 1)
        busy(context, service_id, revision)
        revision_when(context, "demand", lambda each: len(each.backends) == 2)

        go = tmp_path / "go"
        job = client.jobs.submit(
            JobSpec.model_validate(
                {
                    "name": "training",
                    "kind": "training",
                    "priority": 50,
                    "resources": {"gpus": 2.0},
                    "entrypoint": f"until [ -e {go} ]; do sleep 0.1; done",
                }
            )
        )
        eventually(lambda: client.jobs.get(job.id).state == "active", SECONDS, "training must get seats")
        revision_when(context, "demand", lambda each: len(each.backends) == 1)
        states = sorted((each.is_surplus, each.state) for each in client.services.replicas(service_id))
        assert states == [(False, "active"), (True, "queued")]

        go.touch()
        job.wait(timeout_seconds=SECONDS)
        revision_when(context, "demand", lambda each: len(each.backends) == 2)
        gone(client, service_id, "demand")


def busy(context: Context, service_id: str, revision: RevisionRoute) -> None:
    with context.store.read() as tx:
        now = tx.now
    load = Load(
        gateway="gate",
        service_id=ServiceId(service_id),
        revision_id=revision.revision_id,
        since=now - timedelta(seconds=1),
        until=now,
        in_flight=100,
        waiting=50,
        requests=0,
        errors=0,
        latency_ms=(0,) * (len(LATENCY_EDGES_MS) + 1),
    )
    report(context, [load])


def test_a_replica_of_two_tasks_answers_over_rest_events_and_grpc(
    server: RunningServer, context: Context, tmp_path: Path
) -> None:
    with server.client() as client:
        service_id = deploy(
            client, tmp_path, "parts", import_path="parted:Parts", tasks=2, resources={"cpus": 0.5}
        )
        revision = revision_when(context, "parts", lambda each: len(each.backends) == 1)
        (backend,) = revision.backends
        allowed = {"Authorization": f"Bearer {revision.key}"}
        tensor = {"name": "x", "datatype": "INT64", "shape": [2], "data": [3, 4]}
        answer = httpx.post(
            f"{backend.url}/v2/models/parts/infer", json={"inputs": [tensor]}, headers=allowed
        )
        assert answer.json()["outputs"][0]["data"] == [41, 51]
        events = httpx.post(f"{backend.url}/invoke", json="stream", headers=allowed)
        assert events.text == "data: 11\n\ndata: 21\n\n"
        assert by_grpc(backend.grpc or "", revision.key) == [41, 51]
        gone(client, service_id, "parts")


def by_grpc(address: str, key: str) -> list[int]:
    request = message("ModelInferRequest")(model_name="parts")
    tensor = request.inputs.add(name="x", datatype="INT64", shape=[2])
    tensor.contents.int64_contents.extend([3, 4])
    with grpc.insecure_channel(address) as channel:
        infer = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=message("ModelInferRequest").SerializeToString,
            response_deserializer=message("ModelInferResponse").FromString,
        )
        answer = infer(request, metadata=(("authorization", f"Bearer {key}"),), timeout=20)
    return list(answer.outputs[0].contents.int64_contents)
