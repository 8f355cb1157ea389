"""Relays: what listens inside a cell and is answered outside of it."""

import json
import secrets
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Self

CHUNK_BYTES: Final = 65536
DIAL_SECONDS: Final = 5.0


class Relay:
    """Passes bytes between a listening socket and a port of the host's loopback."""

    def __init__(self, listener: socket.socket, port: int) -> None:
        self._listener = listener
        self._target = ("127.0.0.1", port)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(near,), daemon=True).start()

    def _pass_on(self, near: socket.socket) -> None:
        with near, suppress(OSError), socket.create_connection(self._target, DIAL_SECONDS) as far:
            far.settimeout(None)
            back = threading.Thread(target=pump, args=(far, near), daemon=True)
            back.start()
            pump(near, far)
            back.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Until one end closes; then the other one learns of it."""
    with suppress(OSError):
        while data := source.recv(CHUNK_BYTES):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class Cloud(StrEnum):
    AWS = "aws"
    ALIBABA = "alibaba"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    address: str
    lifetime_header: str
    token_header: str


DIALECTS: Final = {
    Cloud.AWS: Dialect(
        address="169.254.169.254",
        lifetime_header="X-aws-ec2-metadata-token-ttl-seconds",
        token_header="X-aws-ec2-metadata-token",
    ),
    Cloud.ALIBABA: Dialect(
        address="100.100.100.200",
        lifetime_header="X-aliyun-ecs-metadata-token-ttl-seconds",
        token_header="X-aliyun-ecs-metadata-token",
    ),
}


@dataclass(slots=True, kw_only=True)
class Metadata:
    """What the metadata service of one machine says; tests change `values` while it runs.

    Keys are paths below `/latest/meta-data/`, e.g. `instance-id` or `spot/instance-action`.
    """

    cloud: Cloud
    values: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, cloud: Cloud, machine: str, host: str) -> Self:
        address = "local-ipv4" if cloud is Cloud.AWS else "private-ipv4"
        return cls(cloud=cloud, values={"instance-id": machine, address: host})

    def give_notice(self, at: str) -> None:
        """The spot machine is taken back at this time (ISO 8601, UTC)."""
        if self.cloud is Cloud.AWS:
            self.values["spot/instance-action"] = json.dumps({"action": "terminate", "time": at})
        else:
            self.values["instance/spot/termination-time"] = at


class MetadataService:
    """Answers as clouds do in hardened mode: a token first, and nothing without one."""

    def __init__(self, listener: socket.socket, metadata: Metadata) -> None:
        self._server = ThreadingHTTPServer(("", 0), _endpoint(metadata), bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listener
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _endpoint(metadata: Metadata) -> type[BaseHTTPRequestHandler]:
    dialect = DIALECTS[metadata.cloud]
    tokens: set[str] = set()

    class Endpoint(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            if self.path != "/latest/api/token" or dialect.lifetime_header not in self.headers:
                return self._answer(400, "")
            tokens.add(token := secrets.token_urlsafe(32))
            return self._answer(200, token)

        def do_GET(self) -> None:
            if self.headers.get(dialect.token_header) not in tokens:
                return self._answer(401, "")
            value = metadata.values.get(self.path.removeprefix("/latest/meta-data/"))
            return self._answer(404, "") if value is None else self._answer(200, value)

        def _answer(self, code: int, text: str) -> None:
            body = text.encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    return Endpoint
