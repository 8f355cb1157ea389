"""A proxy between the control plane and Ray: a test can cut the line there, or strike at the right moment."""

import threading
from collections.abc import Callable
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Self
from urllib.parse import urlsplit

Strike = Callable[[str, str], None]
"""Called with method and path; may kill whoever it likes."""

HOP_BY_HOP: Final = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})


class RayProxy:
    """Plain HTTP on loopback. `is_cut`: requests are taken and the line is dropped without an answer."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self.is_cut = False
        self.before: Strike = lambda _method, _path: None
        self.after: Strike = lambda _method, _path: None
        self.submitted: list[str] = []
        """The answers' codes of every POST of a job that reached Ray."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._endpoint())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _endpoint(proxy) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the endpoint's
        class Endpoint(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._forward()

            do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - names of the base class

            def log_message(self, *_arguments: object) -> None:
                pass

            def _forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if proxy.is_cut:
                    self.close_connection = True
                    return
                proxy.before(self.command, self.path)
                code, headers, answer = proxy._ask(self.command, self.path, dict(self.headers), body)
                if self.command == "POST" and self.path == "/api/jobs/":
                    proxy.submitted.append(str(code))
                proxy.after(self.command, self.path)
                self.send_response(code)
                for name, value in headers:
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        return Endpoint

    def _ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        line = HTTPConnection(str(self._target.hostname), self._target.port, timeout=60)
        try:
            passed = {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}
            line.request(method, path, body=body, headers=passed | {"Host": self._target.netloc})
            answer = line.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            line.close()
