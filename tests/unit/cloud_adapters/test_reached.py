"""Dialling: whom a connection has reached is looked at before it hears a word."""

import socket
from collections.abc import Iterator

import httpx
import pytest

from cloud_adapters import dialling
from cloud_adapters.base import Endpoint, Rejected, Route

pytestmark = pytest.mark.sockets

FORBIDDEN = "127.0.0.3"
"""Stands for a metadata service: no test can listen at a real one's address."""


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setattr(dialling, "is_metadata", lambda host: host == FORBIDDEN)
    with socket.create_server((FORBIDDEN, 0)) as server:
        server.settimeout(5)
        yield server


def test_a_name_that_leads_to_a_metadata_service_hears_nothing(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    endpoint = Endpoint(url=f"https://{FORBIDDEN}:{port}", token="s3cret")
    with dialling.client(endpoint) as client, pytest.raises(Rejected, match="metadata service"):
        client.get("/api/version")
    reached, _ = listener.accept()
    with reached:
        assert reached.recv(1024) == b""


def test_behind_a_tunnel_the_near_end_is_whoever_it_is(listener: socket.socket) -> None:
    route = Route(proxy_url=f"http://{FORBIDDEN}:{listener.getsockname()[1]}")
    endpoint = Endpoint(url="https://ray.example", token="s3cret", route=route)
    with dialling.client(endpoint) as client, pytest.raises(httpx.ReadTimeout):
        client.get("/api/version", timeout=0.1)
    reached, _ = listener.accept()
    with reached:
        assert reached.recv(1024).startswith(b"CONNECT ray.example:443 ")
