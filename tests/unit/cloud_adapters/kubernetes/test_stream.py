"""A read that waits is ended by another thread, at whatever point it is."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import urllib3

from cloud_adapters.kubernetes.client import Stream

pytestmark = pytest.mark.sockets


class _Says(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.send_header("Connection", self.path[1:])
        self.end_headers()
        self.wfile.write(b"whole")

    def log_message(self, *_: object) -> None:
        pass


class _KeepsOpen(_Says):
    protocol_version = "HTTP/1.1"


@pytest.fixture(params=[_Says, _KeepsOpen])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), request.param) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def answer(pool: urllib3.PoolManager, url: str, connection: str) -> urllib3.BaseHTTPResponse:
    return pool.request("GET", f"{url}/{connection}", preload_content=False)


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_what_was_read_to_its_end_may_still_be_cut(url: str, connection: str) -> None:
    """Seen as EBADF: the API server had ended the watch while the adapter closed."""
    with urllib3.PoolManager() as pool:
        stream = Stream(connect_seconds=1)
        with stream.holding(told := answer(pool, url, connection)):
            assert b"".join(told.stream()) == b"whole"
            stream.cut()


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_an_answer_to_a_stream_that_was_cut_says_nothing(url: str, connection: str) -> None:
    with urllib3.PoolManager() as pool:
        stream = Stream(connect_seconds=1)
        stream.cut()
        told = answer(pool, url, connection)
        told.read()
        with stream.holding(told):
            assert told.read() == b""
