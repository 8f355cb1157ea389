"""Raw keep-alive HTTP clients in one thread: they share two cores with the server, so they must cost next to nothing.

A burst of 16 clients takes about 20 microseconds of this process per request, where httpx would take a millisecond.
"""

import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

CHUNK_BYTES = 65_536
SILENCE_SECONDS = 30.0

RequestMaker = Callable[[], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One request, again and again."""

    host: str
    port: int
    make_request: RequestMaker


@dataclass(slots=True)
class HttpClient:
    """One connection with at most one request under way."""

    connection: socket.socket
    sent_at: float = 0.0
    _answer: bytearray = field(default_factory=bytearray)

    @classmethod
    def connect(cls, target: Target) -> "HttpClient":
        connection = socket.create_connection((target.host, target.port), SILENCE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(connection)

    def send(self, request: bytes) -> None:
        self._answer.clear()
        self.sent_at = time.perf_counter()
        self.connection.sendall(request)

    def receive(self) -> float | None:
        """Seconds since the request when the answer is whole; raises `ValueError` unless it is a success."""
        data = self.connection.recv(CHUNK_BYTES)
        self._answer += data
        if not data:
            raise ValueError(f"the server hung up after {bytes(self._answer[:300])!r}")
        if not _is_whole(self._answer):
            return None
        took_seconds = time.perf_counter() - self.sent_at
        if not self._answer.startswith(b"HTTP/1.1 2"):
            raise ValueError(f"the server answered {bytes(self._answer[:600])!r}")
        return took_seconds

    @property
    def answer(self) -> bytes:
        """The last one, with its head."""
        return bytes(self._answer)

    def exchange(self, request: bytes) -> float:
        self.send(request)
        while (took_seconds := self.receive()) is None:
            pass
        return took_seconds


def request_bytes(method: str, path: str, body: bytes, **headers: str) -> bytes:
    """Underscores of header names become dashes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    rate: float
    """Requests per second."""

    latencies: list[float]
    """Seconds, of each request."""


def rate_of_burst(target: Target, *, clients: int, seconds: float) -> float:
    """Requests per second of so many clients, each of which sends its next request when the last is answered."""
    return burst(target, clients=clients, seconds=seconds).rate


def burst(target: Target, *, clients: int, seconds: float) -> Burst:
    open_clients = [HttpClient.connect(target) for _ in range(clients)]
    try:
        with selectors.DefaultSelector() as selector:
            for client in open_clients:
                selector.register(client.connection, selectors.EVENT_READ, client)
            return _burst(selector, open_clients, target.make_request, seconds)
    finally:
        for client in open_clients:
            client.connection.close()


def _burst(
    selector: selectors.BaseSelector, clients: list[HttpClient], make_request: RequestMaker, seconds: float
) -> Burst:
    started_at = time.perf_counter()
    for client in clients:
        client.send(make_request())
    latencies: list[float] = []
    while time.perf_counter() - started_at < seconds:
        for key, _ in selector.select(SILENCE_SECONDS):
            client = key.data
            if (took_seconds := client.receive()) is not None:
                latencies.append(took_seconds)
                client.send(make_request())
    return Burst(rate=len(latencies) / (time.perf_counter() - started_at), latencies=latencies)


def _is_whole(answer: bytearray) -> bool:
    head_end = answer.find(b"\r\n\r\n")
    if head_end < 0:
        return False
    name = b"content-length:"
    start = answer.lower().find(name, 0, head_end)
    if start < 0:
        raise ValueError(f"an answer without a length: {bytes(answer[:300])!r}")
    length = int(answer[start + len(name) : answer.find(b"\r", start)])
    return len(answer) - head_end - 4 >= length
