"""Reading, cancelling and retrying jobs."""

import pytest

from controlplane.domain.errors import Conflict, Forbidden, Invalid, NotFound
from controlplane.domain.jobs import JobState
from controlplane.identity.principals import Role
from controlplane.operations import jobs
from controlplane.operations.jobs import JobQuery
from tests.unit.operations.world import World, other_project


def test_a_queued_job_is_cancelled_at_once(plane: World) -> None:
    job = plane.submit().job
    view = jobs.cancel(plane.context, plane.root, job.id)
    assert (view.job.state, view.job.reason) == (JobState.CANCELLED, "cancelled by root")
    assert plane.event_kinds()[-1] == "job.cancelled"


def test_what_waited_for_a_cancelled_job_is_looked_at(plane: World) -> None:
    first = plane.submit().job
    second = plane.submit(depends_on=[first.id]).job
    assert plane.is_poked("job", second.id)
    jobs.cancel(plane.context, plane.root, first.id)
    assert plane.is_poked("job", second.id)


def test_a_running_job_is_asked_to_stop_and_the_loop_is_woken(plane: World) -> None:
    attempt = plane.running()
    view = jobs.cancel(plane.context, plane.root, attempt.job_id)
    assert (view.job.state, view.job.cancel_requested_at) == (JobState.ACTIVE, plane.clock.at)
    assert plane.event_kinds()[-1] == "job.cancel_requested"
    assert plane.is_poked("job", attempt.job_id)


def test_asking_twice_to_stop_changes_nothing_more(plane: World) -> None:
    attempt = plane.running()
    first = jobs.cancel(plane.context, plane.root, attempt.job_id)
    before = plane.counts()
    assert jobs.cancel(plane.context, plane.root, attempt.job_id) == first
    assert plane.counts() == before


def test_a_finished_job_cannot_be_cancelled(plane: World) -> None:
    job = plane.submit().job
    jobs.cancel(plane.context, plane.root, job.id)
    with pytest.raises(Conflict, match="is already cancelled"):
        jobs.cancel(plane.context, plane.root, job.id)


def test_a_job_that_is_not_finished_cannot_be_retried(plane: World) -> None:
    job = plane.submit().job
    with pytest.raises(Conflict, match="is queued; only a finished job is retried"):
        jobs.retry(plane.context, plane.root, job.id)


def test_another_projects_job_is_not_found_by_any_verb(plane: World) -> None:
    other_project(plane)
    theirs = plane.submit(project="other").job
    ours = plane.principal(Role.ADMIN, "default")
    for verb in (jobs.get, jobs.cancel, jobs.retry):
        with pytest.raises(NotFound, match="or not for this token"):
            verb(plane.context, ours, theirs.id)
    assert plane.job(theirs.id).state is JobState.QUEUED


def test_a_viewer_reads_and_changes_nothing(plane: World) -> None:
    job = plane.submit().job
    viewer = plane.principal(Role.VIEWER, "default")
    assert jobs.get(plane.context, viewer, job.id).job == job
    with pytest.raises(Forbidden):
        jobs.cancel(plane.context, viewer, job.id)
    assert plane.job(job.id).state is JobState.QUEUED


def test_a_list_shows_what_the_token_sees_newest_first(plane: World) -> None:
    other_project(plane)
    names = []
    for name, project in (("one", "default"), ("two", "other"), ("three", "default")):
        plane.submit(name=name, project=project)
        plane.clock.pass_seconds(1)
        names.append(name)

    def listed(project: str | None) -> list[str]:
        who = plane.principal(Role.VIEWER, project)
        found = jobs.listed(plane.context, who, JobQuery(), after=None, limit=10)
        return [view.job.name for view in found.views]

    assert listed(None) == ["three", "two", "one"]
    assert listed("default") == ["three", "one"]
    assert listed("other") == ["two"]


def test_filters_combine(plane: World) -> None:
    plane.submit(name="a", kind="training", labels={"team": "x"})
    plane.submit(name="a", kind="command", labels={"team": "y"})
    cancelled = plane.submit(name="b", kind="training", labels={"team": "x"}).job
    jobs.cancel(plane.context, plane.root, cancelled.id)

    def count(query: JobQuery) -> int:
        return len(jobs.listed(plane.context, plane.root, query, after=None, limit=10).views)

    assert count(JobQuery(project="default", queue="default")) == 3
    assert count(JobQuery(name="a")) == 2
    assert count(JobQuery(kind="training", states=("queued",))) == 1
    assert count(JobQuery(label=("team", "x"), states=("queued", "cancelled"))) == 2


def test_a_queue_without_its_project_is_ambiguous(plane: World) -> None:
    with pytest.raises(Invalid) as caught:
        jobs.listed(plane.context, plane.root, JobQuery(queue="default"), after=None, limit=10)
    assert caught.value.field == "queue"
