"""Explain: a code from the closed list, a true sentence, and what would change it."""

from datetime import timedelta

import pytest

from controlplane.domain.attempts import Outcome
from controlplane.domain.errors import NotFound
from controlplane.domain.jobs import JobState, ask_id
from controlplane.identity.principals import Role
from controlplane.operations import explain, jobs
from controlplane.operations.clusters import cordon
from controlplane.wire.jobs import Explanation
from tests.unit.operations.world import World, other_project


def why(plane: World, job_id: str) -> Explanation:
    return explain.explain(plane.context, plane.root, job_id)


def scheduler_runs(plane: World) -> None:
    assert plane.store.write(lambda tx: tx.leases.take("scheduler", "test", 3600.0)) is not None


def test_a_held_job_names_what_it_waits_for(plane: World) -> None:
    first = plane.submit(name="fetch").job
    held = plane.submit(name="train", depends_on=[first.id]).job
    found = why(plane, held.id)
    assert (found.code, found.phase) == ("waiting_for_jobs", "held")
    assert found.sentence == f"waits for 1 of 1 jobs: {first.id} (fetch: queued)"
    assert found.remedy


def test_without_a_scheduling_loop_a_queued_job_says_so(plane: World) -> None:
    found = why(plane, plane.submit().job.id)
    assert (found.code, found.phase) == ("scheduler_away", "queued")


def test_an_expired_lease_is_no_scheduling_loop(plane: World) -> None:
    job = plane.submit().job
    scheduler_runs(plane)
    assert why(plane, job.id).code == "not_considered_yet"
    plane.clock.pass_seconds(3601)
    assert why(plane, job.id).code == "scheduler_away"


def test_a_queued_job_gives_the_reason_of_its_class(plane: World) -> None:
    job = plane.submit(tasks=3).job
    scheduler_runs(plane)
    with plane.store.read() as tx:
        ask = tx.asks.of_job(job.id)
    assert ask is not None
    class_id = ask.class_id
    plane.store.write(
        lambda tx: tx.reasons.put(class_id, "no_room", "needs 3 x {cpu 1}, 2 fit", "when a job ends", tx.now)
    )
    found = why(plane, job.id)
    assert (found.code, found.sentence, found.remedy) == (
        "no_room",
        "needs 3 x {cpu 1}, 2 fit",
        "when a job ends",
    )


def test_a_job_that_backs_off_says_until_when(plane: World) -> None:
    job = plane.submit().job
    until = plane.clock.at + timedelta(seconds=30)
    plane.store.write(lambda tx: tx.asks.defer_until(ask_id(job.id), until))
    found = why(plane, job.id)
    assert (found.code, found.phase) == ("backing_off", "backing-off")
    assert "2026-03-01T12:00:30Z" in found.sentence
    plane.clock.pass_seconds(31)
    assert why(plane, job.id).code == "scheduler_away"


def test_an_active_job_speaks_of_its_attempt(plane: World) -> None:
    cluster = plane.cluster("lab")
    job = plane.submit().job
    attempt = plane.place(job, cluster)
    said = [why(plane, job.id)]
    attempt = plane.change(attempt, attempt.start(session="s", at=plane.clock.at))
    said.append(why(plane, job.id))
    attempt = plane.change(attempt, attempt.run(at=plane.clock.at))
    said.append(why(plane, job.id))
    plane.stop(attempt)
    said.append(why(plane, job.id))
    assert [each.code for each in said] == ["placed", "starting", "running", "stopping"]
    assert [each.phase for each in said] == ["starting", "starting", "running", "stopping"]
    assert said[2].sentence == "attempt 1 runs on cluster lab"


def test_a_finished_job_says_how_its_last_attempt_ended(plane: World) -> None:
    attempt = plane.end(plane.running(), Outcome.FAILED, exit_code=3)
    assert why(plane, attempt.job_id).code == "between_attempts"
    plane.finish(attempt.job_id, JobState.FAILED, "exit code 3 is not retryable")
    found = why(plane, attempt.job_id)
    assert found.code == found.phase == "failed"
    assert (
        found.sentence == "failed: attempt 1 ended as failed with exit code 3: exit code 3 is not retryable"
    )
    assert found.remedy == f"to run it again: `crossdock jobs retry {attempt.job_id}`"


def test_a_job_that_was_cancelled_before_it_started_says_so(plane: World) -> None:
    job = plane.submit().job
    jobs.cancel(plane.context, plane.root, job.id)
    assert why(plane, job.id).sentence == "cancelled before its first attempt: cancelled by root"


def test_fields_that_no_decision_uses_are_listed(plane: World) -> None:
    assert why(plane, plane.submit().job.id).unused_fields == []
    job = plane.submit(labels={"a": "b"}, estimated_runtime_seconds=60.0).job
    assert why(plane, job.id).unused_fields == ["labels"]


def test_another_projects_job_is_not_explained(plane: World) -> None:
    other_project(plane)
    theirs = plane.submit(project="other").job
    with pytest.raises(NotFound):
        explain.explain(plane.context, plane.principal(Role.ADMIN, "default"), theirs.id)


def test_a_cordoned_cluster_keeps_running_what_it_has(plane: World) -> None:
    attempt = plane.running()
    cordon(plane.context, plane.root, attempt.cluster_id)
    assert why(plane, attempt.job_id).code == "running"
