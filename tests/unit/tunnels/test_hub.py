"""The proxy's requests, and the agent's pauses."""

import base64

import pytest

from controlplane.tunnels.agent import pause_seconds
from controlplane.tunnels.hub import Refused, Wish, origin_form

KNOWN = base64.b64encode(b"cls_1:secret").decode()


def head(line: str, credentials: str = KNOWN) -> bytes:
    return f"{line}\r\nHost: x\r\nproxy-authorization: Basic {credentials}\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("line", "target", "is_connect"),
    [
        ("CONNECT 10.0.0.1:8443 HTTP/1.1", "10.0.0.1:8443", True),
        ("CONNECT [fd00::1]:443 HTTP/1.1", "[fd00::1]:443", True),
        ("GET http://127.0.0.1:8265/api/version?x=1 HTTP/1.1", "127.0.0.1:8265", False),
        ("POST http://ray.internal/api HTTP/1.1", "ray.internal:80", False),
    ],
)
def test_a_request_says_where_it_wants_to_go(line: str, target: str, is_connect: bool) -> None:  # noqa: FBT001
    wish = Wish.parsed(head(line))
    assert wish == Wish(cluster="cls_1", password="secret", target=target, is_connect=is_connect)


@pytest.mark.parametrize(
    "line", ["GET /api/version HTTP/1.1", "CONNECT nowhere HTTP/1.1", "CONNECT x:99999 HTTP/1.1", "", "GET"]
)
def test_what_names_no_target_is_refused(line: str) -> None:
    with pytest.raises(Refused, match="400"):
        Wish.parsed(head(line))


@pytest.mark.parametrize("credentials", ["***", base64.b64encode(b"\xff\xfe").decode()])
def test_credentials_that_are_none_are_refused(credentials: str) -> None:
    with pytest.raises(Refused, match="407"):
        Wish.parsed(head("CONNECT x:1 HTTP/1.1", credentials))


def test_a_plain_request_goes_on_as_a_server_expects_it_without_the_password() -> None:
    asked = head("GET http://127.0.0.1:8265/api/version?x=1 HTTP/1.1")
    assert origin_form(asked) == b"GET /api/version?x=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert origin_form(b"GET http://x HTTP/1.1\r\nConnection: keep-alive\r\n\r\n") == (
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    )


def test_a_request_for_a_web_socket_keeps_its_connection() -> None:
    asked = b"GET http://x/tail HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert origin_form(asked) == b"GET /tail HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_agents_come_back_ever_more_slowly_and_not_all_at_once() -> None:
    assert [pause_seconds(failures, 1.0) for failures in (0, 1, 4, 5, 5000)] == [1, 2, 16, 30, 30]
    assert pause_seconds(5000, 0.0) == 15
