"""Reading logs: every byte once, never half a character, and a word when nothing will follow."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.attempts import Attempt
from controlplane.domain.errors import NotFound
from controlplane.domain.jobs import JobState
from controlplane.identity.attempt_tokens import attempt_token
from controlplane.operations import logs, records
from controlplane.wire.jobs import LogChunk
from controlplane.wire.protocol import RecordBatch
from tests.unit.operations.world import World


def write(plane: World, attempt: Attempt, data: bytes, *, offset: int = 0) -> None:
    piece = {"offset": offset, "data": base64.b64encode(data).decode()}
    batch = RecordBatch.model_validate({"rank": 0, "log": piece})
    records.ingest(plane.context, attempt.id, attempt_token(plane.context.server_key, attempt.id), batch)


def read(
    plane: World, attempt: Attempt, *, offset: int = 0, limit_bytes: int = 1000, **given: str
) -> LogChunk:
    return logs.read(
        plane.context,
        plane.root,
        attempt.job_id,
        offset=offset,
        limit_bytes=limit_bytes,
        attempt_name=given.get("name"),
    )


def test_a_piece_says_where_the_next_begins(plane: World) -> None:
    attempt = plane.running()
    write(plane, attempt, b"hello world")
    chunk = read(plane, attempt, limit_bytes=5)
    assert chunk == LogChunk(
        attempt_id=attempt.id, rank=0, offset=0, next_offset=5, data="hello", complete=False
    )
    assert read(plane, attempt, offset=5).data == " world"


def test_a_character_that_has_not_wholly_arrived_waits(plane: World) -> None:
    attempt = plane.running()
    euro = "€".encode()
    write(plane, attempt, b"5 " + euro[:2])
    assert (read(plane, attempt).data, read(plane, attempt).next_offset) == ("5 ", 2)
    write(plane, attempt, euro[2:], offset=4)
    assert read(plane, attempt, offset=2).data == "€"


def test_the_end_of_an_ended_attempt_is_complete_even_inside_a_character(plane: World) -> None:
    attempt = plane.running()
    write(plane, attempt, b"cut \xe2\x82")
    assert not read(plane, attempt).complete
    plane.end(plane.attempt(attempt.id))
    chunk = read(plane, attempt)
    assert (chunk.data, chunk.next_offset, chunk.complete) == ("cut \ufffd", 6, True)
    assert not read(plane, attempt, limit_bytes=4).complete


def test_the_newest_attempt_is_read_unless_another_is_named(plane: World) -> None:
    first = plane.running()
    write(plane, first, b"first")
    plane.end(plane.attempt(first.id), exit_code=1)
    with plane.store.read() as tx:
        cluster = tx.clusters.list()[0]
    plane.finish(first.job_id, JobState.QUEUED)
    second = plane.place(plane.job(first.job_id), cluster)
    write(plane, second, b"second")
    assert read(plane, first).data == "second"
    assert read(plane, first, name="1").data == read(plane, first, name=first.id).data == "first"


def test_a_job_without_an_attempt_has_no_log(plane: World) -> None:
    job = plane.submit().job
    with pytest.raises(NotFound, match="has no attempt yet"):
        logs.read(plane.context, plane.root, job.id, limit_bytes=10)


@given(st.text(max_size=40), st.integers(min_value=4, max_value=12))
def test_pieces_of_any_size_make_the_whole(text: str, limit_bytes: int) -> None:
    data = text.encode()
    offset, read_so_far = 0, ""
    while offset < len(data):
        piece, size = logs.decoded(data[offset : offset + limit_bytes], final=False)
        assert size > 0
        read_so_far, offset = read_so_far + piece, offset + size
    assert read_so_far == text


@given(st.binary(max_size=200))
def test_whatever_bytes_come_a_final_piece_takes_them_all(data: bytes) -> None:
    text, size = logs.decoded(data, final=True)
    assert (size, text) == (len(data), data.decode(errors="replace"))
