"""Job pages: every filter finds what a walk over all jobs finds, also when each page may look at little."""

import itertools
from random import Random

import pytest

from controlplane.domain.ids import JobId, ProjectId, QueueId
from controlplane.domain.jobs import JobKind, JobState
from controlplane.store import JobFilter, JobPlace, JobView, Store, Tx, job_pages
from controlplane.store.rows import micros
from tests import factories
from tests.store.planting import add_job, plant

STATES = (JobState.HELD, JobState.QUEUED, JobState.CANCELLED)
JOBS = 70
EVERYTHING = JobFilter()


@pytest.fixture
def planted(store: Store) -> Store:
    """Two projects with two queues each, and jobs of every sort in them, some of the same moment."""
    random = Random(7)
    plant(store)

    def unit(tx: Tx) -> None:
        tx.projects.add(factories.project(2))
        tx.queues.add(factories.queue(2))
        tx.queues.add(factories.queue(3, project_id=ProjectId("project-2")))
        tx.queues.add(factories.queue(4, project_id=ProjectId("project-2")))
        for number in range(1, JOBS + 1):
            queue = random.choice((1, 1, 1, 2, 3, 4))
            job = factories.job(
                number,
                project_id=ProjectId("project-1" if queue < 3 else "project-2"),
                queue_id=QueueId(f"queue-{queue}"),
                state=random.choice(STATES),
                kind=random.choice(tuple(JobKind)),
                name=random.choice(("nightly", "weekly")),
                submitted_at=factories.after(number // 3),
            )
            labels = {"team": random.choice(("vision", "speech"))} if number % 3 else {}
            add_job(tx, job, factories.ask(number, queue_id=job.queue_id), labels)

    store.write(unit)
    return store


def filters() -> list[JobFilter]:
    choices = {
        "project_ids": (
            None,
            (ProjectId("project-2"),),
            (),
            (ProjectId("project-1"), ProjectId("project-2")),
        ),
        "queue_id": (None, QueueId("queue-1")),
        "states": ((), (JobState.CANCELLED,), STATES[:2], (JobState.ACTIVE,)),
        "kind": (None, JobKind.BATCH),
        "name": (None, "weekly", "nobody"),
        "label": (None, ("team", "speech")),
        "submitted_after": (None, factories.after(9)),
    }
    combinations = itertools.product(*choices.values())
    # `object`: each value is one of the field's own.
    return [JobFilter(**dict(zip(choices, each, strict=True))) for each in combinations]  # type: ignore[arg-type]


def is_wanted(view: JobView, wanted: JobFilter) -> bool:
    job = view.job
    return (
        (wanted.project_ids is None or job.project_id in wanted.project_ids)
        and wanted.queue_id in {None, job.queue_id}
        and (not wanted.states or job.state in wanted.states)
        and wanted.kind in {None, job.kind}
        and wanted.name in {None, job.name}
        and (wanted.label is None or view.labels.get(wanted.label[0]) == wanted.label[1])
        and (wanted.submitted_after is None or job.submitted_at > wanted.submitted_after)
    )


def paged(tx: Tx, wanted: JobFilter, limit: int) -> list[str]:
    found: list[str] = []
    place: JobPlace | None = None
    while True:
        page = tx.jobs.list(wanted, place, limit)
        assert len(page.views) <= limit
        found.extend(view.job.id for view in page.views)
        place = page.next
        if place is None:
            return found


@pytest.mark.parametrize("few", [True, False], ids=["looking at few", "looking at many"])
def test_all_pages_together_are_all_that_match(
    planted: Store, monkeypatch: pytest.MonkeyPatch, *, few: bool
) -> None:
    if few:
        for name, small in (
            ("MOST_WALKED", 6),
            ("MOST_RUNS", 2),
            ("MOST_BUCKETS", 9),
            ("FEW_OF_A_BUCKET", 1),
        ):
            monkeypatch.setattr(job_pages, name, small)
    with planted.read() as tx:
        views = tx.jobs.list(EVERYTHING, None, JOBS).views
        assert len(views) == JOBS
        for wanted in filters():
            assert paged(tx, wanted, 7) == [each.job.id for each in views if is_wanted(each, wanted)], wanted


def test_a_list_goes_on_behind_a_job_that_is_no_longer_there(planted: Store) -> None:
    with planted.read() as tx:
        first, second = tx.jobs.list(EVERYTHING, None, 2).views
        gone = JobPlace(submitted_us=micros(second.job.submitted_at), job_id=JobId(f"{second.job.id}+"))

        behind = tx.jobs.list(EVERYTHING, gone, 2)

    assert first.job.submitted_at == second.job.submitted_at
    assert behind.views[0] == second
