"""The gate before Ray's dashboard: TLS, the token on the first request, then bytes as they are."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from cloud_adapters.boot.program import HEAD_BYTES, MOST_CONNECTIONS, Gate, Part
from controlplane.secrets.certificates import ClaimAuthority, claim_authority

pytestmark = pytest.mark.sockets
NAME = "claim-1.crossdock.internal"
KNOWN = b"GET /api/version HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t0ken\r\n\r\n"


def authority() -> ClaimAuthority:
    return claim_authority(NAME, now=datetime.now(UTC), validity=timedelta(days=1))


@dataclass
class Backend:
    """Keeps what it was sent, and answers each piece with `reply` of it. A reply of nothing is a hang-up."""

    reply: Callable[[bytes], bytes] = lambda data: b"<" + data + b">"
    got: list[bytes] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                line, _ = listener.accept()
                threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        with line, suppress(OSError):
            while data := line.recv(65536):
                self.got.append(data)
                answer = self.reply(data)
                if not answer:
                    return
                line.sendall(answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    gate: Gate
    backend: Backend
    authority: ClaimAuthority

    @contextmanager
    def dialled(self, ca_pem: str | None = None) -> Iterator[ssl.SSLSocket]:
        context = ssl.create_default_context(cadata=ca_pem or self.authority.ca_pem)
        with self.plain() as line, context.wrap_socket(line, server_hostname=NAME) as secure:
            yield secure

    def plain(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.gate.part.tls_port), timeout=10)


@pytest.fixture
def stage() -> Iterator[Stage]:
    listener, backend, made = socket.create_server(("127.0.0.1", 0)), Backend(), authority()
    threading.Thread(target=backend.serve, args=(listener,), daemon=True).start()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tls = (made.certificate_pem, made.key_pem)
    gate = Gate(Part(None, "t0ken", port, 6379), listener.getsockname()[1], tls)
    yield Stage(gate=gate, backend=backend, authority=made)
    gate.close()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def read(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := line.recv(65536)):
        data += piece
    return data


def test_bytes_pass_both_ways_as_they_are_once_the_token_was_shown(stage: Stage) -> None:
    frames = bytes(range(256)) * 16  # as a WebSocket would send
    with stage.dialled() as line:
        line.sendall(KNOWN)
        first = read(line, len(KNOWN) + 2)
        line.sendall(frames)
        second = read(line, len(frames) + 2)
    assert first == b"<" + KNOWN + b">"
    assert second.replace(b"><", b"") == b"<" + frames + b">"  # wherever it was cut on the way


def test_what_comes_with_the_first_head_is_passed_on_as_well(stage: Stage) -> None:
    with stage.dialled() as line:
        line.sendall(KNOWN + b"body")
        assert b"body" in read(line, len(KNOWN) + 6)


@pytest.mark.parametrize("token", ["", "Authorization: Bearer t0ke\r\n", "Cookie: Bearer t0ken\r\n"])
def test_without_the_token_nothing_reaches_ray(stage: Stage, token: str) -> None:
    with stage.dialled() as line:
        line.sendall(f"GET / HTTP/1.1\r\n{token}\r\n".encode())
        answer = read(line, 1 << 20)
    assert (answer.split(b"\r\n")[0], stage.backend.got) == (b"HTTP/1.1 401 Unauthorized", [])


def test_a_head_that_is_too_long_is_refused(stage: Stage) -> None:
    with stage.dialled() as line:
        line.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES * 2)
        answer = read(line, 1 << 20)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert stage.backend.got == []


def test_plain_http_gets_no_answer_of_ray(stage: Stage) -> None:
    with stage.plain() as line:
        line.sendall(KNOWN)
        with suppress(ConnectionResetError):
            assert b"HTTP" not in read(line, 1 << 20)
    assert stage.backend.got == []


def test_when_ray_hangs_up_so_does_the_gate_after_the_last_byte(stage: Stage) -> None:
    answers = [b"x" * 1_000_000, b""]
    stage.backend.reply = lambda _data: answers.pop(0)
    with stage.dialled() as line:
        line.sendall(KNOWN)
        first = read(line, 1_000_000)
        line.sendall(b"more")
        rest = read(line, 1)
    assert (len(first), rest) == (1_000_000, b"")


def test_more_connections_than_it_holds_are_closed_at_once(stage: Stage) -> None:
    lines = [stage.plain() for _ in range(MOST_CONNECTIONS)]
    with stage.plain() as one_more:
        assert one_more.recv(1) == b""
    for line in lines:
        line.close()


def test_a_new_certificate_is_used_for_new_connections_while_old_ones_go_on(stage: Stage) -> None:
    renewed = authority()
    with stage.dialled() as old:
        stage.gate.use((renewed.certificate_pem, renewed.key_pem))
        with stage.dialled(renewed.ca_pem) as new:
            new.sendall(KNOWN)
            assert read(new, len(KNOWN) + 2) == b"<" + KNOWN + b">"
        with pytest.raises(ssl.SSLCertVerificationError), stage.dialled():
            pass
        old.sendall(KNOWN)
        assert read(old, len(KNOWN) + 2) == b"<" + KNOWN + b">"
