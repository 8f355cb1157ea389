"""Events: the feed loses nothing, repeats nothing, and keeps its order, however many write."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from controlplane.domain.attempts import AttemptState, Outcome
from controlplane.domain.clusters import ClusterState
from controlplane.domain.errors import Bug, Invalid
from controlplane.domain.events import Event
from controlplane.domain.ids import JobId, ProjectId
from controlplane.domain.jobs import JobState
from controlplane.store import Store, Tx
from tests import factories
from tests.databases import Opener
from tests.store.planting import plant

WRITERS: Final = 16
UNITS_PER_WRITER: Final = 40


def all_events(store: Store, cursor: str | None = None, limit: int = 100) -> list[Event]:
    with store.read() as tx:
        rows, _ = tx.events.after(cursor, limit)
    return [event for _, event in rows]


def test_an_event_comes_back_whole(store: Store) -> None:
    rich = factories.event(
        1, project_id=ProjectId("project-1"), job_id="job-1", data={"from": None, "n": 1, "list": ["ü", 1.5]}
    )
    store.write(lambda tx: tx.events.add(rich, factories.event(2)))

    assert all_events(store) == [rich, factories.event(2)]


def test_events_of_a_unit_that_failed_are_gone(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.events.add(factories.event(1))
        raise KeyError

    with pytest.raises(KeyError):
        store.write(unit)
    store.write(lambda tx: tx.events.add(factories.event(2)))

    assert all_events(store) == [factories.event(2)]


def test_data_that_is_no_json_is_a_bug(store: Store) -> None:
    for data in ({"x": float("nan")}, {"x": object()}):
        with pytest.raises(Bug, match="not a JSON value"):
            store.write(lambda tx, data=data: tx.events.add(factories.event(data=data)))  # type: ignore[misc]


def test_every_birth_and_move_tells_its_story(store: Store) -> None:
    plant(store, jobs=1)
    with store.read() as tx:
        start = tx.events.head()

    def unit(tx: Tx) -> None:
        active = factories.job().move(JobState.ACTIVE, at=factories.after(1))
        placed = factories.attempt()
        starting = placed.start(session="s", at=factories.after(2))
        ended = starting.end(Outcome.FAILED, at=factories.after(3), exit_code=7, reason="exit code 7")
        tx.jobs.save(active)
        tx.attempts.add(placed, [factories.seat()])
        tx.attempts.save(starting)
        tx.attempts.save(ended)
        tx.jobs.save(active.move(JobState.FAILED, at=factories.after(3), reason="no attempts left"))
        tx.clusters.save(factories.cluster().move(ClusterState.UNREACHABLE, at=factories.after(4)))

    store.write(unit)

    story = [(e.kind, e.subject, e.job_id, e.project_id, e.data) for e in all_events(store, start)]
    job = ("job-1", "job-1", "project-1")
    attempt = ("attempt-1", "job-1", "project-1")
    facts = {"reason": None, "outcome": None, "exit_code": None, "number": 1, "cluster_id": "cluster-1"}
    failure = facts | {"reason": "exit code 7", "outcome": "failed", "exit_code": 7}
    assert story == [
        ("job.active", *job, {"from": "queued", "reason": None}),
        ("attempt.placed", *attempt, facts | {"from": "-"}),
        ("attempt.starting", *attempt, facts | {"from": "placed"}),
        ("attempt.ended", *attempt, failure | {"from": "starting"}),
        ("job.failed", *job, {"from": "active", "reason": "no attempts left"}),
        ("cluster.unreachable", "cluster-1", None, None, {"from": "ready", "reason": None}),
    ]


def test_a_reader_goes_on_where_it_stopped(store: Store) -> None:
    store.write(lambda tx: tx.events.add(*map(factories.event, range(1, 6))))

    with store.read() as tx:
        first, cursor = tx.events.after(None, 2)
        second, _ = tx.events.after(first[-1][0], 2)
        rest, end = tx.events.after(second[-1][0], 2)
        nothing, same = tx.events.after(end, 2)

    assert [event.subject for _, event in (*first, *second, *rest)] == [f"thing-{n}" for n in range(1, 6)]
    assert cursor == first[-1][0]
    assert (nothing, same) == ([], end)


def test_the_head_is_behind_everything(store: Store) -> None:
    store.write(lambda tx: tx.events.add(factories.event(1)))
    with store.read() as tx:
        head = tx.events.head()
        assert tx.events.after(head, 10) == ([], head)
    store.write(lambda tx: tx.events.add(factories.event(2)))

    assert all_events(store, head) == [factories.event(2)]


def test_filters_drop_rows_but_not_the_place(store: Store) -> None:
    mine = factories.event(2, project_id=ProjectId("mine"), job_id="job-1")
    theirs = factories.event(3, project_id=ProjectId("theirs"), job_id="job-2")
    store.write(lambda tx: tx.events.add(factories.event(1), mine, theirs))

    with store.read() as tx:
        of_project, after_project = tx.events.after(None, 10, project_ids=(ProjectId("mine"),))
        of_job, _ = tx.events.after(None, 10, job_id="job-2")
        of_nobody, _ = tx.events.after(None, 10, project_ids=())
        of_both, _ = tx.events.after(None, 10, project_ids=(ProjectId("mine"),), job_id="job-2")
        assert tx.events.after(after_project, 10) == ([], tx.events.head())

    assert [event for _, event in of_project] == [mine]
    assert [event for _, event in of_job] == [theirs]
    assert of_nobody == of_both == []


@pytest.mark.parametrize("cursor", ["", "x", "1", "1.2", "1.2.3", "zz.1.00000000", "0.1.81f33595", "é"])
def test_a_tampered_cursor_is_invalid(store: Store, cursor: str) -> None:
    with store.read() as tx, pytest.raises(Invalid) as refused:
        tx.events.after(cursor, 10)

    assert (refused.value.field, refused.value.value) == ("after", cursor)


def test_a_cursor_with_another_number_is_invalid(store: Store) -> None:
    store.write(lambda tx: tx.events.add(*map(factories.event, range(1, 4))))
    with store.read() as tx:
        xid, seq, checksum = tx.events.head().split(".")
        with pytest.raises(Invalid):
            tx.events.after(f"{xid}.{int(seq, 16) + 1:x}.{checksum}", 10)


def test_writers_lose_no_event_and_keep_their_order(database_url: str, open_store: Opener) -> None:
    store, follower = open_store(database_url, busy_timeout_seconds=30), open_store(database_url)
    is_over = threading.Event()

    def write_all(writer: int) -> None:
        for number in range(UNITS_PER_WRITER):
            events = [_of_writer(writer, 2 * number), _of_writer(writer, 2 * number + 1)]
            store.write(lambda tx, events=events: tx.events.add(*events))  # type: ignore[misc]

    def follow() -> list[Event]:
        """As SSE does: by cursor, while others write; a last look when they are done."""
        seen: list[Event] = []
        cursor = None
        while True:
            was_over = is_over.is_set()
            with follower.read() as tx:
                rows, cursor = tx.events.after(cursor, 7)
            seen += [event for _, event in rows]
            if was_over and not rows:
                return seen

    with ThreadPoolExecutor(WRITERS + 1) as threads:
        followed = threads.submit(follow)
        written = [threads.submit(write_all, writer) for writer in range(WRITERS)]
        try:
            for each in written:
                each.result(timeout=60)
        finally:
            is_over.set()
        seen = followed.result(timeout=60)

    wanted = [f"thing-{n}" for n in range(2 * UNITS_PER_WRITER)]
    for writer in range(WRITERS):
        assert [event.subject for event in seen if event.kind == f"writer.{writer}"] == wanted
    assert len(seen) == 2 * UNITS_PER_WRITER * WRITERS
    assert all_events(follower, limit=10_000) == seen


def _of_writer(writer: int, number: int) -> Event:
    return factories.event(kind=f"writer.{writer}", subject=f"thing-{number}")


def test_a_reader_does_not_pass_a_writer_that_is_still_at_it(postgresql_url: str, open_store: Opener) -> None:
    """The later transaction has the larger number and commits first: by number alone the other's would be lost."""
    store = open_store(postgresql_url)
    has_written, may_commit = threading.Event(), threading.Event()

    def slow(tx: Tx) -> None:
        tx.events.add(factories.event(1))
        has_written.set()
        may_commit.wait(10)

    with ThreadPoolExecutor(1) as threads:
        written = threads.submit(store.write, slow)
        has_written.wait(10)
        store.write(lambda tx: tx.events.add(factories.event(2)))
        with store.read() as tx:
            early, cursor = tx.events.after(None, 10)
        may_commit.set()
        written.result(timeout=10)

    assert early == []
    assert all_events(store, cursor) == [factories.event(1), factories.event(2)]


def test_a_jobs_story_is_read_by_job(store: Store) -> None:
    plant(store, jobs=2)
    store.write(lambda tx: tx.attempts.add(factories.attempt(2, state=AttemptState.PLACED), []))

    with store.read() as tx:
        story, _ = tx.events.after(None, 10, job_id=JobId("job-2"))

    assert [event.kind for _, event in story] == ["job.queued", "attempt.placed"]
