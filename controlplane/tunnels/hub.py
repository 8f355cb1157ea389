"""The near ends of all tunnels, and the proxy on loopback that leads into them."""

import asyncio
import base64
import binascii
import hmac
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from controlplane.tunnels.tunnel import Tunnel, Wire, join

MOST_HEAD_BYTES: Final = 32 * 1024
HEAD_SECONDS: Final = 10.0
END_OF_HEAD: Final = b"\r\n\r\n"
REFUSAL: Final = "x-crossdock-tunnel"
"""A header of the proxy's own answers: who asked for a page by plain http could take them for the page."""

PORTS: Final = {"http": 80, "https": 443}


class Refused(Exception):
    """What the proxy answers instead of a connection; the message is the status line's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The head of a request to the proxy."""

    cluster: str
    password: str
    target: str
    """`host:port`."""

    is_connect: bool

    @classmethod
    def parsed(cls, head: bytes) -> Self:
        """Raises `Refused`."""
        lines = head.decode("latin-1").split("\r\n")
        method, _, rest = lines[0].partition(" ")
        fields = {
            name.strip().lower(): value for name, _, value in (line.partition(":") for line in lines[1:])
        }
        cluster, password = _credentials(fields.get("proxy-authorization", ""))
        url = rest.rpartition(" ")[0]
        if lines[0].count(" ") != 2:  # noqa: PLR2004 - method, url, version
            raise Refused("400 Bad Request")
        try:
            parsed = urlsplit(f"//{url}" if method == "CONNECT" else url)
            port = parsed.port or PORTS.get(parsed.scheme)
        except ValueError as problem:
            raise Refused("400 Bad Request") from problem
        if parsed.hostname is None or port is None:
            raise Refused("400 Bad Request")
        host = f"[{parsed.hostname}]" if ":" in parsed.hostname else parsed.hostname
        return cls(
            cluster=cluster, password=password, target=f"{host}:{port}", is_connect=method == "CONNECT"
        )


class Hub:
    """Lives in one event loop. `password_of` says who may use the way to a cluster."""

    def __init__(self, password_of: Callable[[str], str]) -> None:
        self._password_of = password_of
        self._tunnels: dict[str, Tunnel] = {}

    async def serve(self, cluster: str, wire: Wire, near_end: Callable[[Tunnel], None]) -> None:
        """Until the wire ends. The newest agent of a cluster gets all new streams. `near_end` is told of the tunnel."""
        tunnel = Tunnel(wire)
        self._tunnels[cluster] = tunnel
        near_end(tunnel)
        try:
            await tunnel.run()
        finally:
            if self._tunnels.get(cluster) is tunnel:
                del self._tunnels[cluster]

    async def listen(self, port: int) -> asyncio.Server:
        """The proxy, on loopback. Port 0: any."""
        return await asyncio.start_server(self._answer, "127.0.0.1", port, limit=MOST_HEAD_BYTES)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                head = await reader.readuntil(END_OF_HEAD)
            await self._pass_on(head, reader, writer)
        except Refused as refusal:
            writer.write(
                f"HTTP/1.1 {refusal}\r\n{REFUSAL}: refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
            )
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass
        finally:
            with suppress(OSError):
                writer.close()

    async def _pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wish = Wish.parsed(head)
        if not hmac.compare_digest(wish.password.encode(), self._password_of(wish.cluster).encode()):
            raise Refused("407 Proxy Authentication Required")
        tunnel = self._tunnels.get(wish.cluster)
        if tunnel is None:
            raise Refused("503 No agent of this cluster is connected")
        try:
            stream = await tunnel.open(wish.target)
        except (ConnectionError, TimeoutError) as problem:
            raise Refused(f"502 {_one_line(problem)}") from problem
        try:
            if wish.is_connect:
                writer.write(b"HTTP/1.1 200 Connection established" + END_OF_HEAD)
            else:
                await stream.write(origin_form(head))
            await join(stream, reader, writer)
        finally:
            await tunnel.done(stream)


def origin_form(head: bytes) -> bytes:
    """The head of a proxy's request as a server expects it.

    The connection serves this one request, unless it becomes a WebSocket: another would be in the proxy's form again.
    """
    first, *fields = head.removesuffix(END_OF_HEAD).split(b"\r\n")
    method, url, version = first.split(b" ")
    parsed = urlsplit(url)
    path = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
    names = [field.partition(b":")[0].strip().lower() for field in fields]
    ours = {b"proxy-authorization", b"proxy-connection"}
    if b"upgrade" not in names:
        ours.add(b"connection")
        fields, names = [*fields, b"Connection: close"], [*names, b""]
    kept = [field for name, field in zip(names, fields, strict=True) if name not in ours]
    return b"\r\n".join([b" ".join((method, path, version)), *kept]) + END_OF_HEAD


def _credentials(field: str) -> tuple[str, str]:
    """Raises `Refused`."""
    try:
        text = base64.b64decode(field.strip().removeprefix("Basic "), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as problem:
        raise Refused("407 Proxy Authentication Required") from problem
    user, _, password = text.partition(":")
    return user, password


def _one_line(problem: Exception) -> str:
    return " ".join(str(problem).split()).encode("ascii", "replace").decode()[:200] or "Bad Gateway"
