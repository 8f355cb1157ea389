"""A missing part is skipped loudly, or fails where it is required; the network is closed."""

import socket

import pytest
from _pytest.outcomes import Failed, Skipped

from tests.parts import VARIABLE, require_part, unknown_parts


def test_a_present_part_lets_the_test_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "postgres")
    require_part("postgres", True, "not asked")


def test_an_absent_part_skips_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "ray")
    with pytest.raises(Skipped, match="postgres is absent: no server binary"):
        require_part("postgres", False, "no server binary")


def test_an_absent_part_that_is_required_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "ray, postgres")
    with pytest.raises(
        Failed, match="postgres is required by CROSSDOCK_REQUIRE and absent: no server binary"
    ):
        require_part("postgres", False, "no server binary")


def test_a_part_nobody_knows_is_a_mistake_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "postgers,ray")
    assert unknown_parts() == {"postgers"}
    with pytest.raises(LookupError, match="'postgers' is no known part"):
        require_part("postgers", True, "")


def test_a_unit_test_opens_no_connection() -> None:
    with socket.socket() as dialler, pytest.raises(RuntimeError, match="may not connect to"):
        dialler.connect(("127.0.0.1", 9))


@pytest.mark.sockets
def test_a_marked_test_reaches_this_machine_and_no_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as dialler:
        dialler.connect(listener.getsockname())
    with socket.socket() as dialler, pytest.raises(RuntimeError, match="may not connect to"):
        dialler.connect(("192.0.2.1", 9))
