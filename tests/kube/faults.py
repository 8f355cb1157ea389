"""A proxy in front of an API server that does to calls what networks and overloaded servers do.

    proxy.faults.append(Fault(verb="POST", path="/configmaps", deed=Deed.LOSE_ANSWER))

A fault hits the next call that it fits, as often as it says, and the calls after it pass.
"""

import json
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

import httpx

HOP_HEADERS: Final = frozenset(
    {
        "connection",
        "content-length",
        "transfer-encoding",
        "keep-alive",
        "host",
        "accept-encoding",
        "date",
        "server",
    }
)
PASS_SECONDS: Final = 30.0


class Deed(StrEnum):
    ANSWER = "answer"
    """Instead of the server, which never hears of the call."""

    LOSE_ANSWER = "lose_answer"
    """The server does it, and nobody hears that it has."""

    CUT = "cut"
    """The connection breaks after `after_bytes` of the answer."""

    STALL = "stall"
    """The answer stops after `after_bytes`, and the connection stays open."""


@dataclass(slots=True, kw_only=True)
class Fault:
    verb: str
    path: str
    """Part of it, with the query."""

    deed: Deed
    times: int = 1
    code: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    after_bytes: int = 0


class FaultProxy:
    def __init__(self, url: str, ca_pem: str) -> None:
        self.faults: list[Fault] = []
        self.calls: list[str] = []
        """`VERB path?query` of all that arrived."""

        self._lock = threading.Lock()
        self.is_over = threading.Event()
        context = ssl.create_default_context(cadata=ca_pem)
        self.upstream = httpx.Client(base_url=url, verify=context, trust_env=False, timeout=PASS_SECONDS)
        self._server = _Server(self)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.upstream.close()

    def count(self, verb: str, path: str) -> int:
        with self._lock:
            return sum(call.startswith(verb) and path in call for call in self.calls)

    def take(self, verb: str, path: str) -> Fault | None:
        with self._lock:
            self.calls.append(f"{verb} {path}")
            for fault in self.faults:
                if fault.times > 0 and fault.verb == verb and fault.path in path:
                    fault.times -= 1
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    def __init__(self, proxy: FaultProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.proxy = proxy


class _Passing(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.proxy.take(self.command, self.path)
        with suppress(OSError, httpx.HTTPError):
            if fault is not None and fault.deed is Deed.ANSWER:
                self._answer(fault)
            else:
                self._pass(body, fault)

    def do_GET(self) -> None:
        self._any()

    def do_POST(self) -> None:
        self._any()

    def do_PATCH(self) -> None:
        self._any()

    def do_DELETE(self) -> None:
        self._any()

    def _answer(self, fault: Fault) -> None:
        text = json.dumps(fault.body).encode()
        self.send_response(fault.code)
        for name, value in fault.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _pass(self, body: bytes, fault: Fault | None) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_HEADERS}
        with self.server.proxy.upstream.stream(
            self.command, self.path, content=body, headers=headers
        ) as answer:
            if fault is not None and fault.deed is Deed.LOSE_ANSWER:
                answer.read()
                self.close_connection = True
                return
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in HOP_HEADERS:
                    self.send_header(name, value)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._stream(answer, fault)

    def _stream(self, answer: httpx.Response, fault: Fault | None) -> None:
        sent = 0
        for chunk in answer.iter_raw():
            left = len(chunk) if fault is None else max(0, fault.after_bytes - sent)
            part = chunk[:left]
            if part:
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                self.wfile.flush()
            sent += len(part)
            if len(part) < len(chunk):
                if fault is not None and fault.deed is Deed.STALL:
                    self.server.proxy.is_over.wait()
                self.close_connection = True
                return
            if self.server.proxy.is_over.is_set():
                return
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass
