"""HTTP for our object servers: requests in, answers out, and the faults in between."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Protocol, cast
from urllib.parse import parse_qsl, unquote

from controlplane.storage.faults import Fault, Faults, Vice
from controlplane.storage.shelf import PIECE_BYTES, Refusal

LONGEST_TEXT: Final = 4 * 1024**2
"""Of a body that is read whole: a list of 10,000 parts fits in."""

DELAY_SECONDS: Final = 0.2

TURNED_AWAY: Final[Mapping[Vice | None, tuple[int, str, str]]] = {
    Vice.SLOW_DOWN: (503, "SlowDown", "Please reduce your request rate."),
    Vice.FAIL: (500, "InternalError", "We encountered an internal error. Please try again."),
}


class Severed(Exception):
    """The connection is to be closed, without another byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    verb: str
    path: str
    """As sent, still quoted."""

    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    """By lower-case name."""

    body: Iterator[bytes]
    fault: Fault | None = None

    @property
    def bucket(self) -> str:
        return unquote(self.path).lstrip("/").partition("/")[0]

    @property
    def key(self) -> str:
        return unquote(self.path).lstrip("/").partition("/")[2]

    def asked(self, name: str, default: str = "") -> str:
        return dict(self.query).get(name, default)

    def has(self, name: str) -> bool:
        return any(name == asked for asked, _ in self.query)

    def text(self) -> bytes:
        """The body, whole. Raises `Refusal` if it is too long for that."""
        text = b""
        for piece in self.body:
            text += piece
            if len(text) > LONGEST_TEXT:
                raise Refusal(400, "MaxMessageLengthExceeded", "Your request was too big.")
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    http_code: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: Iterator[bytes] | None = None
    stream_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        return self.stream_bytes if self.stream is not None else len(self.body)


class Service(Protocol):
    faults: Faults

    def answer(self, request: Request) -> Answer: ...

    def refuse(self, request: Request, refusal: Refusal) -> Answer:
        """The refusal in the protocol's own form."""


class Port:
    """A service listening on this machine. A context manager; `close` ends it and its threads."""

    def __init__(self, service: Service, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._server = _Server((host, port), _Exchange)
        self._server.service = service
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://{host}:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    service: Service

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are part of the test; they do not fill its output."""


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the standard library's
        """Requests are not news."""

    def handle_expect_100(self) -> bool:
        """Answers at once: buffered, it would leave the client waiting for its own deadline."""
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def exchange(self) -> None:
        service = cast("_Server", self.server).service
        request = self._request(service)
        try:
            answer = _answer(service, request)
            # An unread body would be taken for the next request.
            for _ in request.body:
                continue
            if request.fault and request.fault.vice is Vice.LOSE_ANSWER:
                self.close_connection = True
            else:
                self._send(answer, request.fault)
        except (Severed, OSError):
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = exchange  # noqa: N815 - named by the standard library

    def _request(self, service: Service) -> Request:
        path, _, query = self.path.partition("?")
        fault = service.faults.strike(self.command, self.path)
        return Request(
            verb=self.command,
            path=path,
            query=parse_qsl(query, keep_blank_values=True),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=_faulty(self._body(), fault),
            fault=fault,
        )

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size_bytes := int(self.rfile.readline().split(b";")[0], 16):
                yield from self._exactly(size_bytes)
                self.rfile.readline()
            self.rfile.readline()
            return
        yield from self._exactly(int(self.headers.get("Content-Length", 0)))

    def _exactly(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self.rfile.read(min(left, PIECE_BYTES))
            if not piece:
                raise Severed
            left -= len(piece)
            yield piece

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        self.send_response(answer.http_code)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if not (self.command == "HEAD" and "Content-Length" in answer.headers):
            self.send_header("Content-Length", str(answer.size_bytes))
        self.end_headers()
        if self.command == "HEAD":
            return
        pieces = answer.stream if answer.stream is not None else iter((answer.body,))
        for piece in _spoiled(pieces, fault, Vice.FLIP_ANSWER, Vice.CUT_ANSWER):
            self.wfile.write(piece)


def _answer(service: Service, request: Request) -> Answer:
    vice = request.fault.vice if request.fault else None
    if vice is Vice.DELAY:
        time.sleep(DELAY_SECONDS)
    if vice in TURNED_AWAY:
        return service.refuse(request, Refusal(*TURNED_AWAY[vice]))
    try:
        return service.answer(request)
    except Refusal as refusal:
        return service.refuse(request, refusal)


def _faulty(pieces: Iterator[bytes], fault: Fault | None) -> Iterator[bytes]:
    return _spoiled(pieces, fault, Vice.FLIP_REQUEST, Vice.CUT_REQUEST)


def _spoiled(pieces: Iterator[bytes], fault: Fault | None, flip: Vice, cut: Vice) -> Iterator[bytes]:
    if fault is None or fault.vice not in {flip, cut}:
        yield from pieces
        return
    offset = 0
    for piece in pieces:
        at = fault.at_byte - offset
        offset += len(piece)
        if not 0 <= at < len(piece):
            yield piece
        elif fault.vice is flip:
            yield piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
        else:
            yield piece[:at]
            raise Severed
