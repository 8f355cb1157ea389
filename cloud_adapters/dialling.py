"""Dialling: one HTTP client per endpoint, through its route.

A Ray token is full code execution on its cluster: it travels over TLS, or does not leave this machine.
"""

import os
import ssl
import tempfile
from pathlib import Path
from typing import Any

import httpx

from cloud_adapters.base import Endpoint, Rejected, Route, is_loopback


def client(endpoint: Endpoint, *, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """Kept alive until it is closed, and safe for threads. Raises `Rejected` on plain HTTP off loopback.

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


class _NamedContext(ssl.SSLContext):
    """Expects one name in the server's certificate, whatever address was dialled."""

    server_name: str | None = None

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:  # noqa: ANN401 # the standard library's own
        if self.server_name is not None:
            options["server_hostname"] = self.server_name
        return super().wrap_socket(*arguments, **options)


def tls(route: Route) -> ssl.SSLContext:
    context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.server_name = route.server_name
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
