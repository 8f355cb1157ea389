"""Streams over a real socket: everything once, in order, from where the reader left off."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn

from controlplane.api.streams import MOST_STREAMS
from controlplane.domain.attempts import Attempt, Outcome
from controlplane.domain.jobs import JobState
from controlplane.identity.attempt_tokens import attempt_token
from controlplane.identity.principals import Role
from controlplane.operations import jobs, records, tokens
from controlplane.wire.jobs import LogChunk
from controlplane.wire.protocol import RecordBatch
from tests.unit.api.client import BOTH, app_over
from tests.unit.operations.world import World

pytestmark = pytest.mark.sockets

PATIENCE_SECONDS = 20.0


@dataclass(slots=True, kw_only=True)
class Site:
    url: str
    secret: str
    app: Any
    """The FastAPI app, to look how many streams it serves."""

    @contextmanager
    def follow(
        self, path: str, *, last_id: str | None = None, secret: str | None = None
    ) -> Iterator["Reader"]:
        headers = {"Authorization": f"Bearer {secret or self.secret}"}
        headers |= {"Last-Event-ID": last_id} if last_id else {}
        with (
            httpx.Client(timeout=PATIENCE_SECONDS, trust_env=False) as client,
            client.stream("GET", self.url + path, headers=headers) as response,
        ):
            yield Reader(response)

    @property
    def open_streams(self) -> int:
        count: int = self.app.state.site.streams._open
        return count


class Reader:
    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def next(self) -> tuple[str, dict[str, Any]]:
        """The next message's id and data."""
        message_id = ""
        for line in self._lines:
            if line.startswith("id: "):
                message_id = line.removeprefix("id: ")
            if line.startswith("data: "):
                return message_id, json.loads(line.removeprefix("data: "))
        raise EOFError

    def rest(self) -> list[dict[str, Any]]:
        """Everything up to the stream's own end."""
        found = []
        while True:
            try:
                found.append(self.next()[1])
            except EOFError:
                return found


@pytest.fixture
def site(plane: World) -> Iterator[Site]:
    app = app_over(plane.context)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Site(url=f"http://127.0.0.1:{port}", secret=plane.secret(Role.ADMIN), app=app)
    finally:
        server.should_exit = server.force_exit = True
        thread.join(PATIENCE_SECONDS)


def wait_until(condition: Any) -> None:  # noqa: ANN401 - a callable
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)  # poll


def write(plane: World, attempt: Attempt, data: bytes, *, rank: int = 0) -> None:
    with plane.store.read() as tx:
        offset = tx.records.rank(attempt.id, rank).log_offset
    piece = {"offset": offset, "data": base64.b64encode(data).decode()}
    batch = RecordBatch.model_validate({"rank": rank, "log": piece})
    records.ingest(plane.context, attempt.id, attempt_token(plane.context.server_key, attempt.id), batch)


def finish(plane: World, attempt: Attempt, state: JobState = JobState.SUCCEEDED) -> None:
    plane.end(plane.attempt(attempt.id))
    plane.finish(attempt.job_id, state)


@BOTH
def test_a_log_is_followed_to_the_end_of_its_job(plane: World, site: Site) -> None:
    attempt = plane.running()
    write(plane, attempt, b"one\n")
    with site.follow(f"/v1/jobs/{attempt.job_id}/logs/stream") as reader:
        first = LogChunk.model_validate(reader.next()[1])
        assert (first.data, first.offset, first.next_offset, first.complete) == ("one\n", 0, 4, False)
        write(plane, attempt, b"two\n")
        assert reader.next()[1]["data"] == "two\n"
        write(plane, attempt, b"three\n")
        finish(plane, attempt)
        assert "".join(chunk["data"] for chunk in reader.rest()) == "three\n"
    wait_until(lambda: site.open_streams == 0)


def test_a_reader_that_comes_back_goes_on_where_it_left(plane: World, site: Site) -> None:
    attempt = plane.running(tasks=2)
    write(plane, attempt, b"a1", rank=0)
    write(plane, attempt, b"b1", rank=1)
    path = f"/v1/jobs/{attempt.job_id}/logs/stream"
    with site.follow(path) as reader:
        reader.next()
        last_id, second = reader.next()
        assert second["rank"] == 1
    write(plane, attempt, b"b2", rank=1)
    with site.follow(path, last_id=last_id) as reader:
        assert (reader.next()[1]["data"], site.open_streams >= 1) == ("b2", True)
        finish(plane, attempt)
        assert reader.rest() == []


def test_one_task_alone_can_be_followed(plane: World, site: Site) -> None:
    attempt = plane.running(tasks=2)
    for rank, data in ((0, b"zero"), (1, b"one"), (-1, b"coordinator")):
        write(plane, attempt, data, rank=rank)
    finish(plane, attempt)
    with site.follow(f"/v1/jobs/{attempt.job_id}/logs/stream?rank=1") as reader:
        assert [chunk["data"] for chunk in reader.rest()] == ["one"]
    with site.follow(f"/v1/jobs/{attempt.job_id}/logs/stream") as reader:
        assert [(chunk["rank"], chunk["data"]) for chunk in reader.rest()] == [
            (-1, "coordinator"),
            (0, "zero"),
            (1, "one"),
        ]


def test_a_follower_goes_on_into_the_next_attempt(plane: World, site: Site) -> None:
    first = plane.running()
    write(plane, first, b"first")
    with site.follow(f"/v1/jobs/{first.job_id}/logs/stream") as reader:
        assert reader.next()[1]["data"] == "first"
        plane.end(plane.attempt(first.id), Outcome.FAILED, exit_code=1)
        plane.finish(first.job_id, JobState.QUEUED)
        with plane.store.read() as tx:
            cluster = tx.clusters.list()[0]
        second = plane.place(plane.job(first.job_id), cluster)
        write(plane, second, b"second")
        chunk = reader.next()[1]
        assert (chunk["attempt_id"], chunk["offset"], chunk["data"]) == (second.id, 0, "second")
        finish(plane, second)
        assert reader.rest() == []
    with site.follow(f"/v1/jobs/{first.job_id}/logs/stream?attempt=1") as reader:
        assert [chunk["data"] for chunk in reader.rest()] == ["first"]


def test_a_job_that_ends_without_an_attempt_ends_its_stream(plane: World, site: Site) -> None:
    job_id = plane.submit().job.id
    with site.follow(f"/v1/jobs/{job_id}/logs/stream") as reader:
        jobs.cancel(plane.context, plane.root, job_id)
        assert reader.rest() == []


def test_events_are_followed_from_a_cursor_and_from_an_id(plane: World, site: Site) -> None:
    plane.submit(name="before")
    with site.follow("/v1/events/stream") as reader:
        last_id, event = reader.next()
        assert (event["kind"], event["cursor"]) == ("project.created", last_id)
        while event["kind"] != "job.queued":
            last_id, event = reader.next()
        job_id = plane.submit(name="after").job.id
        assert reader.next()[1]["subject"] == job_id
    for path, resume in ((f"/v1/events/stream?after={last_id}", None), ("/v1/events/stream", last_id)):
        with site.follow(path, last_id=resume) as reader:
            assert reader.next()[1]["subject"] == job_id


def test_events_of_one_job_are_followed_alone(plane: World, site: Site) -> None:
    job_id = plane.submit().job.id
    plane.submit(name="other")
    with site.follow(f"/v1/events/stream?job={job_id}") as reader:
        assert reader.next()[1]["kind"] == "job.queued"
        jobs.cancel(plane.context, plane.root, job_id)
        assert reader.next()[1]["kind"] == "job.cancelled"


def test_a_reader_that_leaves_frees_its_place(plane: World, site: Site) -> None:
    with site.follow("/v1/events/stream"):
        wait_until(lambda: site.open_streams == 1)
    wait_until(lambda: site.open_streams == 0)


def test_a_revoked_token_ends_its_streams(plane: World, site: Site) -> None:
    made = tokens.create(plane.context, plane.root, name="ci", role=Role.VIEWER)
    with site.follow("/v1/events/stream", secret=made.secret) as reader:
        reader.next()
        tokens.revoke(plane.context, plane.root, made.view.row.id)
        reader.rest()  # comes to an end


def test_more_streams_than_the_limit_are_told_to_come_back_later(plane: World, site: Site) -> None:
    site.app.state.site.streams._open = MOST_STREAMS
    with site.follow("/v1/events/stream") as reader:
        assert reader.response.status_code == 503
        assert reader.response.headers["retry-after"] == "1"
        assert json.loads(reader.response.read())["code"] == "unavailable"


def test_a_gang_too_large_to_follow_whole_asks_for_one_rank(plane: World, site: Site) -> None:
    job_id = plane.submit(tasks=257).job.id
    with site.follow(f"/v1/jobs/{job_id}/logs/stream") as reader:
        field = json.loads(reader.response.read())["fields"][0]
        assert (reader.response.status_code, field["field"], field["limit"]) == (422, "rank", 256)
    with site.follow(f"/v1/jobs/{job_id}/logs/stream?rank=256") as reader:
        assert reader.response.status_code == 200


@pytest.mark.parametrize("last_id", ["nonsense", "a.b"])
def test_an_id_that_no_message_carried_is_refused(plane: World, site: Site, last_id: str) -> None:
    attempt = plane.running()
    with site.follow(f"/v1/jobs/{attempt.job_id}/logs/stream", last_id=last_id) as reader:
        assert reader.response.status_code == 422
        assert json.loads(reader.response.read())["fields"][0]["field"] == "Last-Event-ID"
