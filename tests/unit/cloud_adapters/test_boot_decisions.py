"""What the boot program decides: contacts, timers, starts of Ray, and who is let in; virtual time, no I/O."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_adapters.boot.program import (
    MOST_STARTS,
    Answer,
    Course,
    Part,
    Starts,
    alibaba_notice,
    aws_notice,
    is_let_in,
    parse_answer,
    part_of,
    ray_flags,
)

SAID: dict[str, Any] = {
    "role": "head",
    "head_host": None,
    "ray_token": "t",
    "tls": {"certificate_pem": "C", "key_pem": "K"},
    "tls_port": 8443,
    "gcs_port": 6379,
    "labels": {"b": "2", "a": "1"},
    "again_after_seconds": 5,
    "dead_man_seconds": 600,
}
HEAD = Part(None, "t", 8443, 6379)


def answer(**changes: object) -> Answer:
    return parse_answer(json.dumps(SAID | changes).encode())


def waiting(**changes: object) -> Answer:
    return answer(role="wait", ray_token=None, tls=None, **changes)


def node(head_host: str, **changes: object) -> Answer:
    return answer(role="node", head_host=head_host, tls=None, **changes)


def test_an_answer_is_read_as_it_was_said() -> None:
    assert answer() == Answer("head", None, "t", ("C", "K"), 8443, 6379, (("a", "1"), ("b", "2")), 5.0, 600.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "king"},
        {"role": "node"},
        {"tls": None},
        {"ray_token": None},
        {"again_after_seconds": 0},
        {"dead_man_seconds": -1},
        {"again_after_seconds": float("nan")},
        {"labels": None},
        {"gcs_port": "x"},
    ],
    ids=str,
)
def test_what_lacks_something_is_no_answer(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="answer"):
        answer(**changes)


def test_what_is_no_answer_is_not_repeated_in_the_message_since_it_may_hold_a_token() -> None:
    with pytest.raises(ValueError, match="not an answer") as caught:
        parse_answer(b'{"ray_token": "hush"')
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_wait_changes_nothing_and_another_head_makes_another_part() -> None:
    first = part_of(waiting(), None)
    second = part_of(node("10.0.0.1"), first)
    third = part_of(waiting(), second)
    fourth = part_of(node("10.0.0.9"), third)
    by_itself = part_of(answer(), fourth)
    assert [first, second, third, fourth, by_itself] == [
        None,
        Part("10.0.0.1", "t", 8443, 6379),
        Part("10.0.0.1", "t", 8443, 6379),
        Part("10.0.0.9", "t", 8443, 6379),
        HEAD,
    ]


@dataclass(slots=True)
class Life:
    """A machine in virtual time: seconds pass one by one, and `plane` says who answers what."""

    course: Course = field(default_factory=lambda: Course(0.0, 600.0))
    checked_in_at: list[float] = field(default_factory=list)
    shutdown_at: float = float("inf")

    def live(self, seconds: range, reply: Answer | None, code: int = 200, news: object = "") -> None:
        for now in seconds:
            self.course.look(now)
            if self.course.ending:
                return
            if self.course.is_due(now, news):
                self.checked_in_at.append(now)
                self.course.tried(now, news, code, reply)
            minutes = self.course.minutes_to_arm(now)
            if minutes is not None:
                self.shutdown_at = now + 60.0 * minutes


def test_a_machine_checks_in_as_often_as_it_was_told_and_at_once_with_news() -> None:
    life = Life()
    life.live(range(12), answer())
    life.live(range(12, 14), answer(), news="up")
    assert life.checked_in_at == [0, 5, 10, 12]


def test_without_an_answer_it_backs_off_to_half_a_minute_but_tries_news_at_once() -> None:
    life = Life()
    life.live(range(100), None, code=503)
    life.live(range(100, 105), None, code=503, news="spot notice")
    assert life.checked_in_at == [0, 1, 3, 7, 15, 31, 61, 91, 100]


def test_a_contact_ends_the_back_off() -> None:
    life = Life()
    life.live(range(40), None, code=0)
    life.live(range(40, 70), answer())
    assert life.checked_in_at[-2:] == [61, 66]


def test_410_ends_the_machine_at_once_and_nothing_else_does() -> None:
    life = Life()
    for code in (0, 301, 401, 403, 404, 429, 500, 503):
        life.live(range(1), None, code=code, news=code)
        assert life.course.ending is None
    life.live(range(1), None, code=410, news="last")
    assert life.course.ending == "the claim is over"


def test_the_dead_mans_time_counts_from_the_last_contact() -> None:
    life = Life()
    life.live(range(101), answer(dead_man_seconds=300))
    life.live(range(101, 401), None, code=403)
    assert life.course.ending is None
    life.live(range(401, 402), None, code=403)
    assert life.course.ending == "no contact with the control plane for 300 s"


def test_the_system_is_armed_first_of_all_and_not_without_a_contact() -> None:
    life = Life()
    assert life.course.minutes_to_arm(0.0) == 11
    life.live(range(1, 500), None, code=503)
    assert life.shutdown_at == float("inf")  # not armed again


def test_a_longer_dead_mans_time_arms_at_once() -> None:
    course = Course(0.0, 600.0)
    course.minutes_to_arm(0.0)
    course.tried(1.0, "", 200, answer(dead_man_seconds=7200))
    assert course.minutes_to_arm(1.0) == 121


@settings(max_examples=40)
@given(
    times=st.lists(st.tuples(st.integers(1, 400), st.booleans()), min_size=1, max_size=6),
    dead_man=st.integers(30, 400),
    again=st.integers(1, 20),
)
def test_the_system_never_ends_a_machine_before_the_program_would_and_always_soon_after(
    times: list[tuple[int, bool]], dead_man: int, again: int
) -> None:
    reply = answer(dead_man_seconds=dead_man, again_after_seconds=again)
    life = Life(course=Course(0.0, dead_man))
    at, last_contact = 0, 0.0
    for seconds, is_answered in times:
        life.live(range(at, at + seconds), reply if is_answered else None, code=200 if is_answered else 0)
        last_contact = life.course._contact_at
        at += seconds
        assert last_contact + dead_man <= life.shutdown_at <= last_contact + dead_man + 180


def test_ray_is_given_up_after_five_starts_that_did_not_last() -> None:
    starts, now, tried = Starts(), 0.0, []
    while not starts.given_up:
        now += 1
        if starts.is_due(now):
            tried.append(now)
            starts.ended(now, ran_seconds=1.0)
    assert tried == [1, 3, 7, 15, 31]
    assert not starts.is_due(now + 1000)
    assert len(tried) == MOST_STARTS


def test_a_long_run_forgives_what_was_before() -> None:
    starts = Starts()
    for _ in range(20):
        starts.ended(0.0, ran_seconds=1.0)
        starts.ended(0.0, ran_seconds=600.0)
    assert (starts.failures, starts.given_up) == (1, False)


def test_the_dashboard_of_a_head_listens_on_loopback_and_all_fixed_ports_are_low() -> None:
    flags = ray_flags(HEAD, "10.0.0.1", (("a", "1"), ("b", "2")))
    assert "--dashboard-host=127.0.0.1" in flags
    assert "--labels=a=1,b=2" in flags
    ports = [
        int(value) for flag, _, value in (flag.partition("=") for flag in flags) if flag.endswith("port")
    ]
    assert len(ports) == len(set(ports)) == 10
    assert max(ports) < 32768


def test_a_node_never_has_a_folder_of_its_own_for_rays_files() -> None:
    flags = ray_flags(Part("10.0.0.1", "t", 8443, 6379), "10.0.0.2", ())
    assert "--address=10.0.0.1:6379" in flags
    assert [flag for flag in flags if "temp-dir" in flag or "head" in flag or "dashboard-host" in flag] == []


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET / HTTP/1.1\r\nAuthorization: Bearer t0ken\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nx-ray-authorization:Bearer t0ken  \r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nAuthorization: Bearer t0ke\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nAuthorization: bearer \r\n\r\n", False),
        (b"GET /?Authorization: Bearer t0ken HTTP/1.1\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nCookie: Authorization: Bearer t0ken\r\n\r\n", False),
        (b"\r\n\r\n", False),
        (b"\xff\xfe: \xff\r\n\r\n", False),
    ],
)
def test_who_shows_the_token_is_let_in(head: bytes, expected: bool) -> None:  # noqa: FBT001 - what is expected
    assert is_let_in(head, "t0ken") is expected


def test_a_spot_notice_goes_before_maintenance_on_aws() -> None:
    action = '{"action": "terminate", "time": "2031-09-18T08:22:00Z"}'
    event = {"State": "active", "Code": "system-reboot", "NotBefore": "21 Jan 2031 09:00:43 GMT"}
    later = event | {"NotBefore": "22 Jan 2031 09:00:43 GMT"}
    over = event | {"State": "completed", "NotBefore": "1 Jan 2031 00:00:00 GMT"}
    events = json.dumps([over, later, event])
    maintenance = {"kind": "maintenance", "at": "2031-01-21T09:00:43Z"}
    assert aws_notice(action, events) == {"kind": "spot", "at": "2031-09-18T08:22:00Z"}
    assert aws_notice(None, events) == maintenance
    assert [aws_notice(None, None), aws_notice(None, "[]"), aws_notice(None, json.dumps([over]))] == [
        None
    ] * 3


def test_alibaba_says_when_it_releases_a_spot_machine() -> None:
    assert alibaba_notice("2031-01-05T18:02:00Z\n") == {"kind": "spot", "at": "2031-01-05T18:02:00Z"}
    assert alibaba_notice(None) is None
