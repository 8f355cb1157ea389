"""A proxy in front of a cloud: a test strikes before a call arrives, when it is done, or when it is answered."""

import threading
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Self
from urllib.parse import parse_qs


class Moment(StrEnum):
    BEFORE = "before"
    """The cloud hears nothing of it, if whoever calls dies here."""

    DONE = "done"
    """The deed is done, and nobody knows."""

    ANSWERED = "answered"
    """The caller has its answer, and has written nothing of it down, or has."""


Strike = Callable[[str, Moment], bool]
"""Told of each call's action; True: its caller is dead, and hears and sends nothing more."""

HOP_BY_HOP: Final = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})
CALL_SECONDS: Final = 60.0


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Callers die here, which is what this is for."""


class CloudProxy:
    """Plain HTTP on loopback. Leaves the `Host` alone, which signatures cover."""

    def __init__(self, target: str) -> None:
        """`target`: host and port."""
        self.strike: Strike = lambda _action, _moment: False
        self._target = target
        self._server = _Quiet(("127.0.0.1", 0), self._endpoint())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _endpoint(proxy) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the endpoint's
        class Endpoint(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_GET(self) -> None:
                with suppress(OSError):  # the caller is gone
                    self._pass_on()

            do_POST = do_GET  # noqa: N815 - the base class's name

            def log_message(self, *_arguments: object) -> None:
                pass

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                action = action_of(dict(self.headers), body)
                if proxy.strike(action, Moment.BEFORE):
                    self.close_connection = True
                    return
                code, headers, answer = proxy._ask(self.command, self.path, dict(self.headers), body)
                if proxy.strike(action, Moment.DONE):
                    self.close_connection = True
                    return
                self.send_response(code)
                for name, value in headers:
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                self.wfile.flush()
                proxy.strike(action, Moment.ANSWERED)

        return Endpoint

    def _ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        line = HTTPConnection(self._target, timeout=CALL_SECONDS)
        try:
            passed = {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}
            line.request(method, path, body=body, headers=passed)
            answer = line.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            line.close()


def action_of(headers: dict[str, str], body: bytes) -> str:
    """What both clouds call it: in a header at the one, in the form at the other."""
    named = next((value for name, value in headers.items() if name.lower() == "x-acs-action"), None)
    if named is not None:
        return named
    form = parse_qs(body.decode(errors="replace"))
    return form.get("Action", ["?"])[0]
