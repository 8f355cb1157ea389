"""Dialling: one HTTP client per endpoint, through its route.

A Ray token is full code execution on its cluster: it travels over TLS, or does not leave this machine. A name may
lead anywhere: where it led is looked at once it is connected, before a byte is sent.
"""

import os
import socket
import ssl
import tempfile
from pathlib import Path
from typing import Any

import httpx

from cloud_adapters.base import Endpoint, Rejected, Route, is_loopback, is_metadata


def client(endpoint: Endpoint, *, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """Kept alive until it is closed, and safe for threads. Raises `Rejected` on plain HTTP off loopback.

    So do its calls when the name has led to a metadata service.
    A proxy from the environment must not see the token, and cannot reach loopback.
    """
    refuse_plain_http(endpoint.url)
    route = endpoint.route
    return httpx.Client(
        base_url=endpoint.url,
        headers=dict(route.headers) | authorization(endpoint),
        verify=tls(route),
        proxy=route.proxy_url,
        transport=transport,
        trust_env=False,
    )


def authorization(endpoint: Endpoint) -> dict[str, str]:
    return {endpoint.token_header: f"Bearer {endpoint.token}"} if endpoint.token else {}


def refuse_plain_http(url: str) -> None:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as problem:
        raise Rejected(f"{url!r} is not a URL: {problem}") from problem
    if parsed.scheme == "https" or (parsed.scheme == "http" and is_loopback(parsed.host)):
        return
    raise Rejected(
        f"{url}: plain http off loopback is refused, since a Ray token is full control of the cluster"
    )


class _WaryContext(ssl.SSLContext):
    """Looks whom a connection has reached; and expects one name in its certificate, whatever address was dialled."""

    server_name: str | None = None
    is_tunnelled = False
    """Then who was reached is the tunnel's near end."""

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> ssl.SSLSocket:  # noqa: ANN401 # the standard library's own
        if not self.is_tunnelled:
            _refuse_metadata(sock)
        if self.server_name is not None:
            options["server_hostname"] = self.server_name
        return super().wrap_socket(sock, *arguments, **options)


def _refuse_metadata(sock: socket.socket) -> None:
    peer = sock.getpeername()
    if isinstance(peer, tuple) and is_metadata(str(peer[0])):
        raise Rejected(f"the name led to {peer[0]}, an address of a metadata service; such are not dialled")


def tls(route: Route) -> ssl.SSLContext:
    context = _WaryContext(ssl.PROTOCOL_TLS_CLIENT)
    context.server_name = route.server_name
    context.is_tunnelled = route.proxy_url is not None
    try:
        if route.ca_pem is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cadata=route.ca_pem)
        if route.client_pem is not None:
            _load_client(context, route.client_pem)
    except (ssl.SSLError, ValueError) as problem:
        raise Rejected(f"the route's certificates cannot be read: {problem}") from problem
    return context


def _load_client(context: ssl.SSLContext, pem: str) -> None:
    """Python reads a key from a file only; the file is ours alone, and gone at once."""
    descriptor, name = tempfile.mkstemp()
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(pem)
        context.load_cert_chain(name)
    finally:
        Path(name).unlink()
