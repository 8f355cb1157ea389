"""Dialling: a token leaves this machine through TLS to who proves the right name, or not at all."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from cloud_adapters import dialling
from cloud_adapters.base import Endpoint, Rejected, Route
from controlplane.secrets.certificates import ClaimAuthority, claim_authority
from tests.hypervisor.relays import pump
from tests.tls import serving

pytestmark = pytest.mark.sockets
NAME = "claim-1.crossdock.internal"


class Mirror(BaseHTTPRequestHandler):
    """Answers with the headers that it got."""

    def do_GET(self) -> None:
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


def authority(*, name: str = NAME, age: timedelta = timedelta()) -> ClaimAuthority:
    return claim_authority(name, now=datetime.now(UTC) - age, validity=timedelta(days=1))


def pinned(ca: ClaimAuthority, **more: Any) -> Route:  # noqa: ANN401 - fields of a route
    return Route(ca_pem=ca.ca_pem, server_name=NAME, **more)


def seen(endpoint: Endpoint) -> dict[str, str]:
    """The headers that arrived."""
    with dialling.client(endpoint) as client:
        headers: dict[str, str] = client.get("/", timeout=10).raise_for_status().json()
        return headers


@contextmanager
def plain(endpoint: type[BaseHTTPRequestHandler] = Mirror) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), endpoint) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_the_pinned_authority_and_the_expected_name_let_the_token_through() -> None:
    ca = authority()
    with serving(Mirror, ca) as port:
        headers = seen(Endpoint(url=f"https://127.0.0.1:{port}", token="t0ken", route=pinned(ca)))
    assert headers["authorization"] == "Bearer t0ken"


@pytest.mark.parametrize(
    ("server", "route", "why"),
    [
        (authority(), pinned(authority()), "unable to get local issuer"),
        (old := authority(age=timedelta(days=2)), pinned(old), "expired"),
        (early := authority(age=timedelta(days=-2)), pinned(early), "not yet valid"),
        (other := authority(name="another.example"), pinned(other), "not valid for|permitted subtree"),
        (bare := authority(), Route(ca_pem=bare.ca_pem), "IP address mismatch"),
        (authority(), Route(server_name=NAME), "unable to get local issuer"),
    ],
    ids=["another authority", "expired", "too early", "another name", "no name expected", "nothing pinned"],
)
def test_whoever_cannot_prove_the_name_gets_nothing(server: ClaimAuthority, route: Route, why: str) -> None:
    reached: list[str] = []

    class Listening(Mirror):
        def do_GET(self) -> None:
            reached.append(self.path)

    with serving(Listening, server) as port, pytest.raises(httpx.ConnectError, match=why):
        seen(Endpoint(url=f"https://127.0.0.1:{port}", token="t0ken", route=route))
    assert reached == []


def test_a_server_that_asks_for_our_certificate_gets_it() -> None:
    ca, (certificate, key) = authority(), own_certificate()
    with serving(Mirror, ca, client_ca_pem=certificate) as port:
        url = f"https://127.0.0.1:{port}"
        assert seen(Endpoint(url=url, route=pinned(ca, client_pem=certificate + key)))["host"] == url[8:]
        with pytest.raises(httpx.HTTPError):
            seen(Endpoint(url=url, route=pinned(ca)))


def own_certificate() -> tuple[str, str]:
    """Of a client that vouches for itself, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "control plane")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM).decode(), pem.decode()


class Tunnel(BaseHTTPRequestHandler):
    """An HTTP proxy that knows one place: whatever is asked for, it goes to `port`."""

    port = 0
    asked: list[tuple[str, str | None]]

    def do_CONNECT(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        with socket.create_connection(("127.0.0.1", self.port), 10) as far:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=pump, args=(far, self.connection), daemon=True)
            back.start()
            pump(self.connection, far)
            back.join()

    def log_message(self, *_arguments: object) -> None:
        pass


def test_a_tunnel_passes_on_what_it_cannot_read() -> None:
    ca = authority()
    with serving(Mirror, ca) as far:
        tunnel = type("Tunnel", (Tunnel,), {"port": far, "asked": []})
        with plain(tunnel) as near:
            route = pinned(ca, proxy_url=f"http://127.0.0.1:{near}")
            headers = seen(Endpoint(url="https://10.9.8.7:8443", token="t0ken", route=route))
    assert headers["authorization"] == "Bearer t0ken"
    assert vars(tunnel)["asked"] == [("10.9.8.7:8443", None)]


@pytest.mark.parametrize("url", ["http://10.0.0.1:8265", "http://ray.example", "ftp://127.0.0.1", "10.0.0.1"])
def test_plain_http_off_loopback_is_refused(url: str) -> None:
    with pytest.raises(Rejected, match="plain http off loopback is refused"):
        dialling.client(Endpoint(url=url, token="t0ken"))


def test_plain_http_on_loopback_is_fine_and_the_token_may_have_another_header() -> None:
    with plain() as port:
        url = f"http://127.0.0.1:{port}"
        headers = seen(Endpoint(url=url, token="t0ken", token_header="X-Ray-Authorization"))
    assert (headers.get("authorization"), headers["x-ray-authorization"]) == (None, "Bearer t0ken")


def test_what_is_no_url_or_no_certificate_is_refused_by_name() -> None:
    with pytest.raises(Rejected, match="is not a URL"):
        dialling.client(Endpoint(url="https://[::1"))
    with pytest.raises(Rejected, match="certificates cannot be read"):
        dialling.client(Endpoint(url="https://10.0.0.1", route=Route(ca_pem="no certificate")))


def test_a_routes_headers_travel_and_the_environments_proxy_sees_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    ca = authority()
    with serving(Mirror, ca) as port:
        route = pinned(ca, headers=(("X-Cluster", "c1"),))
        headers = seen(Endpoint(url=f"https://127.0.0.1:{port}", token="t0ken", route=route))
    assert headers["x-cluster"] == "c1"
