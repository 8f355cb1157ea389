"""Connections to endpoints: few are kept, however many were dialled, and none is closed under who uses it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cloud_adapters.base import Endpoint, PluginError, Rejected
from cloud_adapters.connections import IDLE_SECONDS, Connections
from cloud_adapters.ray_state import RayState
from controlplane.executors.ray.executor import RayExecutor

HERE = Endpoint(url="https://ray.invalid", token="t")


@dataclass(slots=True, eq=False)
class Dialled:
    endpoint: Endpoint
    is_closed: bool = False

    def close(self) -> None:
        self.is_closed = True


@dataclass(slots=True)
class Dials:
    """Whatever was dialled, and the time."""

    all: list[Dialled] = field(default_factory=list)
    now: float = 1000.0

    def dial(self, endpoint: Endpoint) -> Dialled:
        if not endpoint.url.startswith("https:"):
            raise Rejected(endpoint.url)
        self.all.append(Dialled(endpoint))
        return self.all[-1]

    def kept(self) -> Connections[Dialled]:
        return Connections(self.dial, monotonic=lambda: self.now)

    def closed(self) -> list[bool]:
        return [each.is_closed for each in self.all]


def other(number: int) -> Endpoint:
    return replace(HERE, token=str(number))


def test_an_endpoint_is_dialled_once_whatever_life_its_ray_is_in() -> None:
    dials = Dials()
    kept = dials.kept()
    with kept.lent(HERE) as first, kept.lent(replace(HERE, session="another")) as second:
        assert first is second
    with kept.lent(HERE) as third:
        assert third is first


def test_of_many_endpoints_only_those_are_kept_that_are_still_used() -> None:
    dials = Dials()
    kept = dials.kept()
    for number in range(1000):
        dials.now += 10
        for endpoint in (HERE, other(number)):
            with kept.lent(endpoint) as lent:
                assert not lent.is_closed
    open_ones = [each for each in dials.all if not each.is_closed]
    assert len(dials.all) == 1001
    assert HERE in [each.endpoint for each in open_ones]
    assert len(open_ones) == IDLE_SECONDS / 10 + 2


def test_what_is_used_is_not_closed_however_long_that_takes() -> None:
    dials = Dials()
    kept = dials.kept()
    with kept.lent(HERE) as lent:
        dials.now += 2 * IDLE_SECONDS
        with kept.lent(other(1)):
            pass
        assert not lent.is_closed
    dials.now += IDLE_SECONDS
    with kept.lent(other(2)):  # counted from the end of its use
        assert not lent.is_closed
    dials.now += 1
    with kept.lent(other(3)):
        assert lent.is_closed


def test_what_has_become_idle_is_closed_by_a_call_that_cannot_dial_as_well() -> None:
    dials = Dials()
    kept = dials.kept()
    with kept.lent(HERE):
        pass
    dials.now += IDLE_SECONDS + 1
    with pytest.raises(Rejected), kept.lent(Endpoint(url="http://ray.invalid")):
        pass
    assert dials.closed() == [True]


def test_all_are_closed_with_their_holder() -> None:
    dials = Dials()
    kept = dials.kept()
    for number in range(2):
        with kept.lent(other(number)):
            pass
    kept.close()
    assert dials.closed() == [True, True]
    with kept.lent(HERE) as anew:
        assert not anew.is_closed
    del kept
    assert dials.closed() == [True, True, True]


class Callers:
    """How many connections a server has open."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def add(self, count: int) -> None:
        with self._changed:
            self._count += count
            self._changed.notify_all()

    def come_to(self, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._count == count, timeout=30)


@contextmanager
def listening(callers: Callers) -> Iterator[int]:
    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps connections

        def setup(self) -> None:
            super().setup()
            callers.add(1)

        def finish(self) -> None:
            super().finish()
            callers.add(-1)

        def do_GET(self) -> None:
            body = b'{"session_name": "s"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


Ask = Callable[[Endpoint], object]


def _executor(monotonic: Callable[[], float]) -> Ask:
    executor = RayExecutor(monotonic=monotonic)
    return lambda endpoint: executor.observe(endpoint, (), deadline=30)


def _state(monotonic: Callable[[], float]) -> Ask:
    state = RayState(monotonic=monotonic)

    def ask(endpoint: Endpoint) -> None:
        with suppress(PluginError):  # it answers like no dashboard
            state.inventory(endpoint, deadline=30)

    return ask


@pytest.mark.sockets
@pytest.mark.parametrize("made", [_executor, _state])
def test_whoever_asks_ray_hangs_up_on_clusters_that_are_no_more(
    made: Callable[[Callable[[], float]], Ask],
) -> None:
    dials, callers = Dials(), Callers()
    ask = made(lambda: dials.now)
    with listening(callers) as port:
        for number in range(20):
            ask(Endpoint(url=f"http://127.0.0.1:{port}", token=str(number)))
        assert callers.come_to(20)
        dials.now += IDLE_SECONDS + 1
        ask(Endpoint(url=f"http://127.0.0.1:{port}", token="another"))
        assert callers.come_to(1)
