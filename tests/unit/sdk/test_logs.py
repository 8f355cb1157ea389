"""Logs: whatever a connection does, every byte comes once and in order."""

import json
import time
from collections import deque

import pytest

from controlplane.sdk import Client, Job, NotFound
from tests.unit.sdk.plane import Plane, Stream, Vice, attempt_document, chunk

pytestmark = pytest.mark.sockets

SPEC = {"name": "train", "entrypoint": "python train.py"}
TEXT = "one\ntwo\nthree\nfour\nfive\n"
Places = list[tuple[int, int]]


@pytest.fixture
def job(client: Client, plane: Plane) -> Job:
    job = client.jobs.submit(SPEC)
    plane.attempts[job.id] = [attempt_document("attempt_1", ranks=2)]
    plane.logs["attempt_1", 0] = TEXT
    plane.logs["attempt_1", 1] = "other\n"
    return job


def test_logs_so_far_are_those_of_every_task_of_the_newest_attempt(job: Job, plane: Plane) -> None:
    plane.attempts[job.id].insert(0, attempt_document("attempt_0", number=0))
    plane.logs["attempt_0", 0] = "old\n"
    assert list(job.logs()) == ["one", "two", "three", "four", "five", "other"]
    assert list(job.logs(rank=1)) == ["other"]
    assert list(job.logs(attempt=0, rank=0)) == ["old"]


def test_a_job_without_an_attempt_has_no_logs(client: Client) -> None:
    assert list(client.jobs.submit(SPEC).logs()) == []


def test_an_attempt_that_never_was_is_not_found(job: Job) -> None:
    with pytest.raises(NotFound, match="job job_1 has no attempt 7"):
        list(job.logs(attempt=7))


def test_following_ends_with_the_job_and_gives_every_line(job: Job, plane: Plane) -> None:
    plane.streams.append(_stream((0, 8), (8, 24)))
    _finish(job, plane)
    assert list(job.logs(follow=True)) == TEXT.split("\n")[:-1]


def test_a_stream_that_breaks_is_continued_behind_its_last_event(job: Job, plane: Plane) -> None:
    plane.streams.extend([_stream((0, 5), (5, 11), breaks=True), _stream((11, 24))])
    assert _first_lines(job, 5) == TEXT.split("\n")[:-1]
    assert [each.headers.get("last-event-id") for each in plane.seen if each.path.endswith("/stream")] == [
        None,
        "11",
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([(0, 8)], [(0, 8), (8, 24)]),
        ([(0, 8), (8, 11)], [(5, 14), (14, 24)]),
        ([(0, 3)], [(13, 19), (19, 24)]),
        ([], [(0, 24)]),
    ],
    ids=["repeats a piece", "overlaps", "skips", "begins late"],
)
def test_whatever_a_new_stream_repeats_or_skips_every_byte_comes_once(
    job: Job, plane: Plane, before: Places, after: Places
) -> None:
    plane.streams.extend([_stream(*before, breaks=True), _stream(*after)])
    assert _first_lines(job, 5) == TEXT.split("\n")[:-1]


def test_following_goes_on_after_a_restart_of_the_server(job: Job, plane: Plane) -> None:
    plane.streams.append(_stream((0, 8), breaks=True))
    lines = job.logs(follow=True)
    assert [next(lines), next(lines)] == ["one", "two"]
    plane.stop()
    plane.streams.append(_stream((8, 24)))
    plane.vices.extend([Vice.AWAY, Vice.BROKEN_PROXY])
    plane.start()
    _finish(job, plane)
    assert list(lines) == ["three", "four", "five"]


def test_a_stream_that_ends_while_the_job_goes_on_is_opened_again(job: Job, plane: Plane) -> None:
    plane.streams.extend([_stream((0, 8)), _stream(), _stream((8, 24))])
    assert _first_lines(job, 5) == TEXT.split("\n")[:-1]


def test_a_stream_that_keeps_ending_is_opened_ever_more_rarely(job: Job, plane: Plane) -> None:
    plane.phases[job.id] = deque(["active"] * 5 + ["succeeded"])
    began = time.monotonic()
    assert list(job.logs(follow=True)) == []
    assert time.monotonic() - began > 1.5  # five pauses of at least 0.05, 0.1, 0.2, 0.4 and 0.8 s


def test_following_goes_on_into_the_next_attempt(job: Job, plane: Plane) -> None:
    second = [("24", json.dumps(chunk("attempt_2", 0, 0, "again\n")))]
    plane.streams.extend([_stream((0, 24)), Stream(messages=list(second))])
    plane.phases[job.id] = deque(["active", "succeeded"])
    assert list(job.logs(follow=True)) == [*TEXT.split("\n")[:-1], "again"]


def test_lines_of_tasks_do_not_mix(job: Job, plane: Plane) -> None:
    pieces = [(0, 0, "he"), (1, 0, "wor"), (0, 2, "llo\nrest"), (1, 3, "ld\n")]
    messages = [(str(at), json.dumps(chunk("attempt_1", *piece))) for at, piece in enumerate(pieces)]
    plane.streams.append(Stream(messages=list(messages)))
    _finish(job, plane)
    lines = [(line.rank, line.text) for line in job.log_lines(follow=True)]
    assert lines == [(0, "hello"), (1, "world"), (0, "rest")]


def test_characters_that_look_like_line_ends_stay_in_their_line(job: Job, plane: Plane) -> None:
    text = "a\u2028b\x85c\x0bd\re\n"
    data = json.dumps(chunk("attempt_1", 0, 0, text), ensure_ascii=False)
    plane.streams.append(Stream(messages=[("1", data)]))
    _finish(job, plane)
    assert list(job.logs(follow=True)) == [text.removesuffix("\n")]


def _stream(*places: tuple[int, int], breaks: bool = False) -> Stream:
    messages = [
        (str(end), json.dumps(chunk("attempt_1", 0, start, TEXT[start:end]))) for start, end in places
    ]
    return Stream(messages=list(messages), breaks=breaks)


def _first_lines(job: Job, count: int) -> list[str]:
    lines = job.logs(follow=True)
    return [next(lines) for _ in range(count)]


def _finish(job: Job, plane: Plane) -> None:
    plane.phases[job.id] = deque(["succeeded"])
