"""Replicas: how one is dialled over HTTP, with which certificate and through which proxy."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from controlplane.domain.traffic import Backend
from controlplane.gateway.bodies import Body

CONNECT_SECONDS: Final = 3.0
KEEP_ALIVE_SECONDS: Final = 4.0
"""Shorter than the five seconds after which some servers hang up: a request must not meet a closing connection."""

HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"}
    | {"te", "trailer", "transfer-encoding", "upgrade"}
)
"""They speak of one connection (RFC 9110, section 7.6.1)."""

LEAVING: Final = "x-crossdock-draining"
BUSY: Final = "x-crossdock-busy"
"""Headers by which a replica says why it did not even look at a request."""

UNREACHED: Final = "x-crossdock-tunnel"
"""A header by which the way to a site that nobody can dial says that nobody was reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is asked of a replica, whichever one it will be."""

    method: str
    path: str
    """With its query, as the caller wrote it, behind the service's own part."""

    headers: CIMultiDict[str]
    body: Body
    is_idempotent: bool


@asynccontextmanager
async def http_client() -> AsyncIterator[aiohttp.ClientSession]:
    """To what callers send and replicas answer, nothing is added, and nothing is followed or decoded."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        trust_env=False,
    ) as session:
        yield session


async def ask(
    session: aiohttp.ClientSession, backend: Backend, key: str, message: Message
) -> aiohttp.ClientResponse:
    """Returns when the head of the answer is there. Raises `aiohttp.ClientError`, `OSError` and what the body does."""
    body = message.body
    headers = message.headers.copy()
    headers["Authorization"] = f"Bearer {key}"
    if body.rest is not None and body.length is not None:
        headers["Content-Length"] = str(body.length)
    return await session.request(
        message.method,
        _url(backend.url, message.path),
        headers=headers,
        data=body.pieces() if body.rest is not None else body.held or None,
        allow_redirects=False,
        proxy=backend.proxy_url,
        ssl=_tls(backend.ca_pem),
        server_hostname=backend.server_name,
    )


def passed_on(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Without what is about one connection alone."""
    named = {each.strip().lower() for each in headers.get("Connection", "").split(",")}
    left_out = HOP_BY_HOP | named
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in left_out)


@lru_cache(maxsize=256)
def _tls(ca_pem: str | None) -> ssl.SSLContext | bool:
    """Trusts this authority and no other."""
    return True if ca_pem is None else ssl.create_default_context(cadata=ca_pem)


@lru_cache(maxsize=512)
def _url(base: str, path: str) -> URL:
    return URL(base.rstrip("/") + path, encoded=True)
