"""Many new jobs in one go: what comes back is what one by one would have left, and one that is bad takes all along."""

import pytest

from controlplane.domain.errors import Conflict
from controlplane.domain.ids import JobId
from controlplane.domain.jobs import Job, JobState
from controlplane.store import NewJob, Store, rows_of
from tests import factories
from tests.store.planting import plant


@pytest.fixture
def planted(store: Store) -> Store:
    plant(store, jobs=1)
    return store


def new_job(number: int, **fields: object) -> NewJob:
    labels = {"team": f"team-{number}", "shift": "night"} if number % 2 else {}
    return NewJob(
        job=factories.job(number, **fields),
        ask=factories.ask(number),
        spec=f'{{"name":"{number}"}}',
        schema_version=1,
        labels=labels,
    )


def test_many_jobs_come_back_whole(planted: Store) -> None:
    new = [new_job(number) for number in range(2, 6)]
    with planted.read() as tx:
        head = tx.events.head()

    planted.write(lambda tx: tx.jobs.add_many(rows_of(new)))

    with planted.read() as tx:
        assert tx.jobs.many([each.job.id for each in new]) == [each.job for each in new]
        assert tx.asks.queued_of_jobs([each.job.id for each in new]) == [each.ask for each in new]
        assert [tx.jobs.spec(each.job.id)[0] for each in new] == [each.spec for each in new]
        views = [tx.jobs.view(each.job.id) for each in new]
        assert [view and view.labels for view in views] == [each.labels for each in new]
        events = [event for _, event in tx.events.after(head, 10)[0]]
    assert [(event.kind, event.subject) for event in events] == [("job.queued", each.job.id) for each in new]


def test_jobs_of_one_go_may_wait_for_each_other_in_any_order(planted: Store) -> None:
    waits = new_job(2, state=JobState.HELD, depends_on=(JobId("job-3"), JobId("job-1")))

    planted.write(lambda tx: tx.jobs.add_many(rows_of([waits, new_job(3)])))

    with planted.read() as tx:
        assert tx.jobs.held_on(JobId("job-3")) == tx.jobs.held_on(JobId("job-1")) == ["job-2"]


@pytest.mark.parametrize(
    "bad",
    [factories.job(1), factories.job(4, state=JobState.HELD, depends_on=(JobId("nobody"),))],
    ids=["id taken", "needs nobody"],
)
def test_one_that_breaks_a_rule_takes_all_of_its_go_along(planted: Store, bad: Job) -> None:
    broken = NewJob(job=bad, ask=factories.ask(4, job_id=bad.id), spec="{}", schema_version=1, labels={})

    with pytest.raises(Conflict):
        planted.write(lambda tx: tx.jobs.add_many(rows_of([new_job(2), broken, new_job(3)])))

    with planted.read() as tx:
        assert tx.jobs.many([JobId("job-2"), JobId("job-3"), JobId("job-4")]) == []


def test_none_are_no_news(planted: Store) -> None:
    with planted.read() as tx:
        head = tx.events.head()

    planted.write(lambda tx: tx.jobs.add_many(rows_of([])))

    with planted.read() as tx:
        assert tx.events.after(head, 10)[0] == []
