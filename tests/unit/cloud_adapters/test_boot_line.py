"""The machine's line to the control plane: which answers count, and what is never sent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from cloud_adapters.boot.program import Line
from controlplane.secrets.certificates import ClaimAuthority, claim_authority
from tests.tls import serving

pytestmark = pytest.mark.sockets


def authority() -> ClaimAuthority:
    return claim_authority("localhost", now=datetime.now(UTC), validity=timedelta(days=1))


def line(*urls: str, ca_pem: str | None = None) -> Line:
    return Line(SimpleNamespace(urls=list(urls), token="boot-token", ca_pem=ca_pem))


class Desk(BaseHTTPRequestHandler):
    """Answers 200 with the path, or sends elsewhere from `/away`."""

    seen: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(f"{self.path} {self.headers['Authorization']}")
        self.send_response(307 if self.path.startswith("/away") else 200)
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_arguments: object) -> None:
        pass


def desk() -> type[Desk]:
    return type("Desk", (Desk,), {"seen": []})


@contextmanager
def plain(endpoint: type[Desk]) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), endpoint) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_path_of_the_url_is_a_prefix() -> None:
    with plain(desk()) as port:
        answered = line(f"http://127.0.0.1:{port}/a/b/").check_in({}, 10)
    assert answered == (200, b"/a/b/v1/machines/check-in")


def test_it_trusts_the_pinned_authority_alone() -> None:
    made, endpoint = authority(), desk()
    with serving(endpoint, made) as port:
        url = f"https://localhost:{port}"
        codes = [line(url, ca_pem=ca).check_in({}, 10)[0] for ca in (made.ca_pem, authority().ca_pem, None)]
    assert (codes, len(endpoint.seen)) == ([200, 0, 0], 1)


def test_the_token_does_not_leave_over_plain_http_off_loopback() -> None:
    assert line("http://10.0.0.1").check_in({}, 10) == (0, b"")


def test_no_redirect_is_followed() -> None:
    endpoint = desk()
    with plain(endpoint) as port:
        assert line(f"http://127.0.0.1:{port}/away").check_in({}, 10)[0] == 307
    assert endpoint.seen == ["/away/v1/machines/check-in Bearer boot-token"]


def test_the_next_url_is_tried_after_one_that_failed_and_a_good_one_is_kept() -> None:
    with plain(desk()) as port:
        made = line("http://127.0.0.1:1", f"http://127.0.0.1:{port}/away", f"http://127.0.0.1:{port}")
        assert [made.check_in({}, 10)[0] for _ in range(4)] == [0, 307, 200, 200]
