"""Every capacity plugin keeps the contracts of its ports; attached Ray against a dashboard of our own."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import pytest

from cloud_adapters.base import (
    Amounts,
    AuthFailed,
    ClusterRef,
    Endpoint,
    Machine,
    PluginError,
    Rejected,
    Throttled,
    Transient,
)
from cloud_adapters.fake import FakeCapacity
from cloud_adapters.ray.adapter import RayAdapter
from cloud_adapters.testing import HostsContract, LendsContract

TOKEN: Final = "t" * 32
HEAD: Final = {
    "node_id": "aa" * 28,
    "node_ip": "127.0.0.2",
    "is_head_node": True,
    "state": "ALIVE",
    "resources_total": {"memory": 24e9, "node:__internal_head__": 1.0, "object_store_memory": 8e7},
    "labels": {"ray.io/node-id": "aa" * 28},
}
NODE: Final = {
    "node_id": "bb" * 28,
    "node_ip": "127.0.0.3",
    "is_head_node": False,
    "state": "ALIVE",
    "resources_total": {"CPU": 4.0, "GPU": 2.0, "memory": 2.0**30, "node:127.0.0.3": 1.0, "slot": 3.0},
    "labels": {"ray.io/node-id": "bb" * 28, "ray.io/accelerator-type": "A100"},
}
BOOKED: Final = "1.0/4.0 CPU\n0.5/2.0 GPU (0.0 used of 0.5 reserved in placement groups)\n0B/1.00GiB memory"


@dataclass(slots=True)
class Dashboard:
    """What a Ray 2.60 dashboard answers, and what may be wrong with it."""

    rows: list[Mapping[str, object]] = field(default_factory=lambda: [HEAD, NODE])
    total: int = 2
    code: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None

    def answer(self, path: str, authorization: str | None) -> tuple[int, str]:
        if authorization != f"Bearer {TOKEN}":
            return 403, "Forbidden"
        if self.code != 200 or self.body is not None:
            return self.code, self.body or ""
        answers: Mapping[str, object] = {
            "/api/version": {"version": "4", "session_name": "session_1"},
            "/api/v0/nodes": {
                "result": True,
                "data": {
                    "result": {
                        "total": self.total,
                        "num_after_truncation": len(self.rows),
                        "result": self.rows,
                        "partial_failure_warning": "",
                    }
                },
            },
            "/nodes": {"result": True, "data": {"nodeLogicalResources": {"bb" * 28: BOOKED}}},
        }
        return 200, json.dumps(answers[path.partition("?")[0]])


@pytest.fixture
def dashboard() -> Dashboard:
    return Dashboard()


@pytest.fixture
def ray(dashboard: Dashboard) -> Iterator[ClusterRef]:
    """An attached cluster whose dashboard is ours."""

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            code, body = dashboard.answer(self.path, self.headers["Authorization"])
            self.send_response(code)
            for name, value in dashboard.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield attached(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


@pytest.fixture
def mute() -> Iterator[ClusterRef]:
    """A cluster that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield attached(f"http://127.0.0.1:{server.getsockname()[1]}")


def attached(url: str, *, token: str = TOKEN) -> ClusterRef:
    return ClusterRef(id="lab", name="lab", endpoint=Endpoint(url=url, token=token))


def with_token(cluster: ClusterRef, token: str) -> ClusterRef:
    assert cluster.endpoint is not None
    return replace(cluster, endpoint=replace(cluster.endpoint, token=token))


class TestFakeLends(LendsContract):
    @pytest.fixture
    def adapter(self) -> FakeCapacity:
        return FakeCapacity()

    @pytest.fixture
    def cluster(self, adapter: FakeCapacity) -> ClusterRef:
        return ClusterRef(id="lab", name="lab", endpoint=adapter.at("lab").endpoint)

    @pytest.fixture
    def silent(self, adapter: FakeCapacity) -> ClusterRef:
        adapter.at("far").is_unreachable = True
        return ClusterRef(id="far", name="far", endpoint=adapter.at("far").endpoint)

    @pytest.fixture
    def locked(self, cluster: ClusterRef) -> ClusterRef:
        return with_token(cluster, "wrong")


class TestFakeHosts(HostsContract):
    @pytest.fixture
    def adapter(self) -> FakeCapacity:
        return FakeCapacity(starts_running=False)

    @pytest.fixture
    def fresh(self) -> ClusterRef:
        return ClusterRef(id="lab", name="lab", endpoint=None)


class TestAttachedRay(LendsContract):
    @pytest.fixture
    def adapter(self) -> RayAdapter:
        return RayAdapter()

    @pytest.fixture
    def cluster(self, ray: ClusterRef) -> ClusterRef:
        return ray

    @pytest.fixture
    def silent(self, mute: ClusterRef) -> ClusterRef:
        return mute

    @pytest.fixture
    def locked(self, ray: ClusterRef) -> ClusterRef:
        return with_token(ray, "wrong")


def test_a_node_of_attached_ray_is_read_with_all_it_has(ray: ClusterRef) -> None:
    seen = RayAdapter().inventory(ray, deadline=5)
    assert seen.session == "session_1"
    assert seen.machines == (
        Machine(
            name="bb" * 28,
            host="127.0.0.3",
            allocatable=Amounts(
                cpu_milli=4000, gpu_milli=2000, memory_bytes=2**30, custom_milli=(("slot", 3000),)
            ),
            used=Amounts(cpu_milli=1000, gpu_milli=1000),
            accelerator="A100",
            labels=(("ray.io/accelerator-type", "A100"), ("ray.io/node-id", "bb" * 28)),
        ),
    )


def test_a_truncated_list_is_not_called_complete(ray: ClusterRef, dashboard: Dashboard) -> None:
    dashboard.total = 3
    assert not RayAdapter().inventory(ray, deadline=5).complete


@pytest.mark.parametrize(
    ("code", "kind"),
    [(401, AuthFailed), (403, AuthFailed), (404, Rejected), (302, Rejected), (503, Transient)],
)
def test_each_refusal_has_one_meaning(
    ray: ClusterRef, dashboard: Dashboard, code: int, kind: type[PluginError]
) -> None:
    dashboard.code = code
    with pytest.raises(PluginError) as refused:
        RayAdapter().inventory(ray, deadline=5)
    assert type(refused.value) is kind
    assert str(code) in refused.value.message


@pytest.mark.parametrize(("advice", "seconds"), [("7", 7.0), ("soon", 1.0)])
def test_throttling_says_how_long_to_wait(
    ray: ClusterRef, dashboard: Dashboard, advice: str, seconds: float
) -> None:
    dashboard.code, dashboard.headers = 429, {"Retry-After": advice}
    with pytest.raises(Throttled) as refused:
        RayAdapter().inventory(ray, deadline=5)
    assert refused.value.retry_after_seconds == seconds


@pytest.mark.parametrize("body", ["<html>hello</html>", "[]", '{"session_name": "x"}'])
def test_something_that_is_not_ray_is_rejected(ray: ClusterRef, dashboard: Dashboard, body: str) -> None:
    dashboard.body = body
    with pytest.raises(Rejected, match="does not answer like Ray"):
        RayAdapter().inventory(ray, deadline=5)


@pytest.mark.parametrize(
    "url", ["http://ray.example.org:8265", "ftp://127.0.0.1", "127.0.0.1:8265", "http://["]
)
def test_a_token_never_travels_in_the_clear(url: str) -> None:
    with pytest.raises(Rejected):
        RayAdapter().inventory(attached(url), deadline=5)


def test_a_closed_port_is_transient(mute: ClusterRef) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        gone = attached(f"http://127.0.0.1:{server.getsockname()[1]}")
    with pytest.raises(Transient):
        RayAdapter().inventory(gone, deadline=5)


def test_the_deadline_bounds_the_whole_call(mute: ClusterRef) -> None:
    began = time.monotonic()
    with pytest.raises(Transient):
        RayAdapter().inventory(mute, deadline=0.2)
    assert time.monotonic() - began < 2


def test_no_message_holds_the_token(ray: ClusterRef, dashboard: Dashboard) -> None:
    dashboard.code = 500
    with pytest.raises(Transient) as refused:
        RayAdapter().inventory(ray, deadline=5)
    assert TOKEN not in refused.value.message
    assert TOKEN not in repr(ray)
