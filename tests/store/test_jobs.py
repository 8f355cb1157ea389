"""Jobs and asks: what is stored comes back whole, and lists stay in order while they grow."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from controlplane.domain.amounts import Amounts
from controlplane.domain.attempts import AttemptState
from controlplane.domain.errors import NotFound
from controlplane.domain.ids import AskId, AttemptId, ClassId, JobId, ProjectId, QueueId
from controlplane.domain.jobs import JobKind, JobState, RetryPolicy, Traits
from controlplane.store import CheckpointRow, JobFilter, JobPlace, Store, Tx
from controlplane.store.rows import micros
from tests import factories
from tests.store.planting import add_job, plant, raw

RICH_JOB = factories.job(
    9,
    kind=JobKind.TRAINING,
    priority=-7,
    state=JobState.HELD,
    retry=RetryPolicy(max_attempts=3, backoff_seconds=0.5, retryable_exit_codes=(1, 75)),
    max_runtime_seconds=12.5,
    depends_on=(JobId("job-2"), JobId("job-1")),
    retry_of=JobId("job-1"),
    reason="waits for jobs",
)
RICH_ASK = factories.ask(
    9,
    tasks=4,
    amounts=Amounts(
        cpu_milli=1500, memory_bytes=2**40, gpu_milli=500, custom_milli=(("fpga", 1000), ("nic", 2))
    ),
    accelerator="a100-80g",
    class_id=ClassId("class-9"),
    not_before=factories.after(60),
    traits=Traits(tolerations=(("team", "*"),), stores=("labels", "raw"), data=(("eu", 7),)),
)
EVERYTHING = JobFilter()


@pytest.fixture
def planted(store: Store) -> Store:
    plant(store, jobs=5)
    return store


def listed(store: Store, job_filter: JobFilter, after: str | None = None, limit: int = 100) -> list[str]:
    with store.read() as tx:
        last = tx.jobs.get(JobId(after)) if after else None
        place = JobPlace(submitted_us=micros(last.submitted_at), job_id=last.id) if last else None
        return [view.job.id for view in tx.jobs.list(job_filter, place, limit).views]


def test_a_job_and_its_ask_come_back_whole(planted: Store) -> None:
    labels = {"team": "vision", "ümlaut": "☃"}
    planted.write(lambda tx: add_job(tx, RICH_JOB, RICH_ASK, labels))

    with planted.read() as tx:
        assert tx.jobs.get(RICH_JOB.id) == RICH_JOB
        assert tx.asks.get(RICH_ASK.id) == RICH_ASK == tx.asks.of_job(RICH_JOB.id)
        assert tx.jobs.spec(RICH_JOB.id) == ('{"name":"x"}', 1)
        view = tx.jobs.view(RICH_JOB.id)
    assert view is not None
    assert view.job == RICH_JOB
    assert view.labels == labels
    assert (view.project_name, view.queue_name, view.tasks) == ("default", "default", 4)
    assert (view.amounts, view.not_before) == (RICH_ASK.amounts, RICH_ASK.not_before)
    assert (view.spec, view.schema_version, view.attempts, view.live) == ('{"name":"x"}', 1, 0, None)


def test_what_is_not_there_is_none(planted: Store) -> None:
    with planted.read() as tx:
        assert tx.jobs.get(JobId("x")) is None
        assert tx.jobs.view(JobId("x")) is None
        assert tx.asks.get(AskId("x")) is None
        assert tx.asks.of_job(JobId("x")) is None
        with pytest.raises(NotFound):
            tx.jobs.spec(JobId("x"))


def test_a_saved_job_comes_back_as_it_was_saved(planted: Store) -> None:
    moved = replace(factories.job(1), priority=9).move(
        JobState.ACTIVE, at=factories.after(9), reason="placed"
    )
    planted.write(lambda tx: tx.jobs.save(moved))

    with planted.read() as tx:
        assert tx.jobs.get(moved.id) == moved


def test_a_cancel_request_is_saved_without_a_move_or_an_event(planted: Store) -> None:
    asked = factories.job(1).request_cancel(at=factories.after(9))
    with planted.read() as tx:
        head = tx.events.head()

    planted.write(lambda tx: tx.jobs.save(asked))

    with planted.read() as tx:
        assert tx.jobs.get(asked.id) == asked
        assert tx.events.after(head, 10)[0] == []


def test_many_come_in_the_order_asked_for(planted: Store) -> None:
    with planted.read() as tx:
        found = tx.jobs.many([JobId("job-3"), JobId("nobody"), JobId("job-1")])

    assert found == [factories.job(3), factories.job(1)]


def test_a_view_shows_how_often_it_was_tried_and_what_lives(planted: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.attempts.add(factories.attempt(1, state=AttemptState.ENDED), [])
        tx.attempts.add(factories.attempt(2, job_id="job-1", ask_id="ask-1", number=2), [])

    planted.write(unit)

    with planted.read() as tx:
        view = tx.jobs.view(JobId("job-1"))
    assert view is not None
    assert view.attempts == 2
    assert view.live == factories.attempt(2, job_id="job-1", ask_id="ask-1", number=2)


def test_the_list_is_newest_first(planted: Store) -> None:
    assert listed(planted, EVERYTHING) == ["job-5", "job-4", "job-3", "job-2", "job-1"]


def test_pages_stay_stable_while_jobs_arrive(planted: Store) -> None:
    first = listed(planted, EVERYTHING, limit=2)
    planted.write(lambda tx: add_job(tx, factories.job(6), factories.ask(6)))
    second = listed(planted, EVERYTHING, after=first[-1], limit=2)
    third = listed(planted, EVERYTHING, after=second[-1], limit=2)

    assert [*first, *second, *third] == ["job-5", "job-4", "job-3", "job-2", "job-1"]


@pytest.mark.parametrize(
    ("deadline", "nearest"),
    [
        (
            datetime(9999, 12, 31, 23, 59, tzinfo=timezone(-timedelta(hours=14))),
            datetime.max.replace(tzinfo=UTC),
        ),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_a_moment_that_utc_does_not_have_is_read_as_the_nearest(
    planted: Store, deadline: datetime, nearest: datetime
) -> None:
    late = replace(RICH_ASK, traits=Traits(deadline=deadline))
    planted.write(lambda tx: add_job(tx, RICH_JOB, late, {}))
    with planted.read() as tx:
        found = tx.asks.get(late.id)
    assert found == replace(late, traits=Traits(deadline=nearest))


def test_jobs_of_the_same_moment_are_each_listed_once(planted: Store) -> None:
    for number in range(20, 27):
        at = factories.after(100)
        twin = factories.job(number, submitted_at=at)
        planted.write(lambda tx, twin=twin, n=number: add_job(tx, twin, factories.ask(n)))  # type: ignore[misc]

    pages: list[str] = []
    while page := listed(planted, EVERYTHING, after=pages[-1] if pages else None, limit=3):
        pages += page

    assert pages == [*sorted(pages[:7], reverse=True), "job-5", "job-4", "job-3", "job-2", "job-1"]
    assert len(pages) == 12


def test_filters_narrow_the_list(planted: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.projects.add(factories.project(2))
        tx.queues.add(factories.queue(2, project_id="project-2"))
        elsewhere = factories.job(6, project_id="project-2", queue_id="queue-2", kind=JobKind.BATCH)
        add_job(tx, elsewhere, factories.ask(6, queue_id="queue-2"), {"team": "vision"})
        tx.jobs.save(factories.job(1).move(JobState.CANCELLED, at=factories.after(1)))

    planted.write(unit)

    one, two = ProjectId("project-1"), ProjectId("project-2")
    assert listed(planted, JobFilter(project_ids=(two,))) == ["job-6"]
    assert len(listed(planted, JobFilter(project_ids=(one, two)))) == 6
    assert listed(planted, JobFilter(project_ids=())) == []
    assert listed(planted, JobFilter(queue_id=QueueId("queue-2"))) == ["job-6"]
    assert listed(planted, JobFilter(states=(JobState.CANCELLED,))) == ["job-1"]
    assert len(listed(planted, JobFilter(states=(JobState.CANCELLED, JobState.QUEUED)))) == 6
    assert listed(planted, JobFilter(kind=JobKind.BATCH)) == ["job-6"]
    assert listed(planted, JobFilter(name="name-3")) == ["job-3"]
    assert listed(planted, JobFilter(label=("team", "vision"))) == ["job-6"]
    assert listed(planted, JobFilter(label=("team", "speech"))) == []
    assert listed(planted, JobFilter(submitted_after=factories.after(3))) == ["job-6", "job-5"]
    everything = JobFilter(
        project_ids=(two,),
        queue_id=QueueId("queue-2"),
        states=(JobState.QUEUED,),
        kind=JobKind.BATCH,
        name="name-6",
        label=("team", "vision"),
        submitted_after=factories.after(0),
    )
    assert listed(planted, everything) == ["job-6"]
    assert listed(planted, everything, after="job-6") == []


def test_held_jobs_are_found_by_what_they_wait_for(planted: Store) -> None:
    planted.write(lambda tx: add_job(tx, RICH_JOB, RICH_ASK))

    with planted.read() as tx:
        assert tx.jobs.held_on(JobId("job-1")) == ["job-9"]
        assert tx.jobs.held_on(JobId("job-3")) == []
    planted.write(lambda tx: tx.jobs.save(RICH_JOB.move(JobState.QUEUED, at=factories.NOON)))
    with planted.read() as tx:
        assert tx.jobs.held_on(JobId("job-1")) == []


def test_unsettled_jobs_are_those_that_something_must_happen_to(planted: Store) -> None:
    def unit(tx: Tx) -> None:
        add_job(tx, RICH_JOB, RICH_ASK)
        tx.jobs.save(factories.job(1).move(JobState.ACTIVE, at=factories.NOON))
        tx.jobs.save(factories.job(2).move(JobState.CANCELLED, at=factories.NOON))
        tx.jobs.save(factories.job(3).request_cancel(at=factories.NOON))

    planted.write(unit)

    with planted.read() as tx:
        assert tx.jobs.unsettled() == ["job-1", "job-3", "job-9"]


def test_jobs_that_may_read_objects_are_those_that_name_one_or_saved_one_and_are_not_over(
    planted: Store,
) -> None:
    naming = '{"name":"x","inputs":{"corpus":"s3://raw/corpus"}}'
    saved = CheckpointRow(
        attempt_id=AttemptId("attempt-2"),
        job_id=JobId("job-2"),
        rank=0,
        seq=1,
        step=1,
        uri="s3://raw/1",
        sha256=None,
        at=factories.NOON,
    )

    def unit(tx: Tx) -> None:
        for number in (7, 8, 9):
            job, ask = factories.job(number), factories.ask(number)
            tx.jobs.add(job, ask, spec=naming, schema_version=1, labels={})
        tx.jobs.save(factories.job(8).move(JobState.CANCELLED, at=factories.NOON))
        tx.attempts.add(factories.attempt(2), [])
        tx.records.add_checkpoint(saved)

    planted.write(unit)

    with planted.read() as tx:
        assert tx.jobs.reading("", 9) == ["job-2", "job-7", "job-9"]
        assert tx.jobs.reading("job-2", 1) == ["job-7"]


def test_queued_asks_come_as_columns_with_a_sample_of_each_class(planted: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.jobs.save(factories.job(1).move(JobState.ACTIVE, at=factories.NOON))
        add_job(tx, factories.job(9, priority=3), replace(RICH_ASK, priority=3))

    planted.write(unit)

    with planted.read() as tx:
        queued = tx.asks.queued()
    rows = sorted(
        zip(
            queued.ids,
            queued.class_ids,
            queued.priorities,
            queued.submitted_us,
            queued.not_before_us,
            strict=True,
        )
    )
    noon_us = int(factories.NOON.timestamp()) * 1_000_000
    assert rows[0] == ("ask-2", "class-1", 0, noon_us + 1_000_000, 0)
    assert rows[-1] == ("ask-9", "class-9", 3, noon_us + 8_000_000, noon_us + 60_000_000)
    assert [row[0] for row in rows] == ["ask-2", "ask-3", "ask-4", "ask-5", "ask-9"]
    assert sorted(ask.class_id for ask in queued.classes) == ["class-1", "class-9"]
    assert replace(RICH_ASK, priority=3) in queued.classes


def test_asks_of_jobs_that_are_queued_now(planted: Store) -> None:
    planted.write(lambda tx: tx.jobs.save(factories.job(1).move(JobState.ACTIVE, at=factories.NOON)))

    with planted.read() as tx:
        assert tx.asks.queued_of_jobs([JobId("job-1"), JobId("job-2"), JobId("x")]) == [factories.ask(2)]
        assert tx.asks.queued_of_jobs([]) == []


def test_an_ask_is_deferred_and_let_go_again(planted: Store) -> None:
    planted.write(lambda tx: tx.asks.defer_until(AskId("ask-1"), factories.after(5)))
    with planted.read() as tx:
        assert tx.asks.get(AskId("ask-1")) == factories.ask(1, not_before=factories.after(5))

    planted.write(lambda tx: tx.asks.defer_until(AskId("ask-1"), None))
    with planted.read() as tx:
        assert tx.asks.get(AskId("ask-1")) == factories.ask(1)


def test_an_ask_that_was_stored_with_fewer_traits_comes_back(planted: Store, database_url: str) -> None:
    """As it was before anybody could say how much it reads."""
    stored = json.dumps({"tolerations": [["team", "*"]], "flavors": [], "deadline": None, "stores": ["raw"]})
    with raw(database_url) as console:
        console.execute(f"UPDATE asks SET traits = '{stored}' WHERE id = 'ask-1'")  # noqa: S608 # ours
    with planted.read() as tx:
        ask = tx.asks.get(AskId("ask-1"))
    assert ask is not None
    assert ask.traits == Traits(tolerations=(("team", "*"),), stores=("raw",))


def test_an_ask_that_reads_from_elsewhere_is_of_another_class(planted: Store) -> None:
    changed = factories.ask(1, class_id=ClassId("class-x"), traits=Traits(stores=("raw",)))
    planted.write(lambda tx: tx.asks.reclass([changed]))
    with planted.read() as tx:
        assert tx.asks.get(AskId("ask-1")) == changed
