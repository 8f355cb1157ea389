"""Counts: whatever happens to jobs, in whatever transaction, the buckets hold what a walk over the jobs finds."""

from dataclasses import replace

import pytest

from controlplane.domain.ids import QueueId
from controlplane.domain.jobs import JobKind, JobState
from controlplane.store import Store, Tx
from controlplane.store.views import Bucket, MiscountedBucket
from tests import factories
from tests.factories import NOON
from tests.store.planting import add_job, plant, raw


def bucket(jobs: int, state: JobState = JobState.QUEUED, **fields: object) -> Bucket:
    of = Bucket(
        project_id=factories.project().id,
        queue_id=factories.queue().id,
        state=state,
        kind=JobKind.COMMAND,
        jobs=jobs,
    )
    return replace(of, **fields)  # type: ignore[arg-type]


def counted(store: Store) -> list[Bucket]:
    with store.read() as tx:
        assert tx.counts.wrong() == []
        return tx.counts.buckets()


def test_nothing_is_in_no_bucket(store: Store) -> None:
    assert counted(store) == []


def test_births_and_moves_are_counted_where_they_lead_to(store: Store) -> None:
    plant(store, jobs=3)
    cancelled = factories.job(2).move(JobState.CANCELLED, at=NOON)
    store.write(lambda tx: tx.jobs.save(cancelled))

    assert counted(store) == [bucket(1, JobState.CANCELLED), bucket(2)]


def test_a_save_that_moves_nothing_changes_no_count(store: Store) -> None:
    plant(store, jobs=1)
    store.write(lambda tx: tx.jobs.save(factories.job(1).request_cancel(at=NOON)))

    assert counted(store) == [bucket(1)]


def test_each_queue_and_kind_has_its_own(store: Store) -> None:
    plant(store, jobs=1)

    def unit(tx: Tx) -> None:
        tx.queues.add(factories.queue(2))
        other = factories.job(2, queue_id=QueueId("queue-2"), kind=JobKind.TRAINING)
        add_job(tx, other, factories.ask(2, queue_id=QueueId("queue-2")))

    store.write(unit)

    assert counted(store) == [bucket(1), bucket(1, queue_id=QueueId("queue-2"), kind=JobKind.TRAINING)]


def test_what_is_rolled_back_was_never_counted(store: Store) -> None:
    plant(store, jobs=1)

    def unit(tx: Tx) -> None:
        add_job(tx, factories.job(2), factories.ask(2))
        raise KeyError("changed my mind")

    with pytest.raises(KeyError):
        store.write(unit)

    assert counted(store) == [bucket(1)]


def test_deleted_jobs_leave_their_bucket(store: Store, database_url: str) -> None:
    plant(store, jobs=2)
    with raw(database_url) as operator:
        operator.execute("DELETE FROM asks WHERE job_id = 'job-1'")
        operator.execute("DELETE FROM jobs WHERE id = 'job-1'")

    assert counted(store) == [bucket(1)]


def test_folding_changes_no_count(store: Store) -> None:
    plant(store, jobs=2)
    store.write(lambda tx: tx.counts.fold())
    store.write(lambda tx: tx.jobs.save(factories.job(2).move(JobState.CANCELLED, at=NOON)))
    before = counted(store)

    store.write(lambda tx: tx.counts.fold())

    assert counted(store) == before == [bucket(1, JobState.CANCELLED), bucket(1)]
    assert store.write(lambda tx: tx.counts.fold()) == 0


def test_a_lie_is_found(store: Store, database_url: str) -> None:
    plant(store, jobs=2)
    store.write(lambda tx: tx.counts.fold())
    with raw(database_url) as operator:
        operator.execute("UPDATE job_counts SET jobs = 7")

    with store.read() as tx:
        assert tx.counts.wrong() == [MiscountedBucket(bucket=bucket(7), true_jobs=2)]
