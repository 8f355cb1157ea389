"""Retention: old jobs go to the archive, whole, before they go from the tables."""

import gzip
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from controlplane.domain.errors import NotFound, StaleWrite
from controlplane.domain.ids import ClassId, JobId
from controlplane.domain.jobs import JobState
from controlplane.domain.leases import Lease
from controlplane.operations import jobs, logs, retention
from controlplane.operations.retention import Walk
from controlplane.store import RankRow, Tx
from tests.unit.operations.world import World

DAY = 86_400.0


def lease_of(plane: World) -> Lease:
    lease = plane.store.write(lambda tx: tx.leases.take("retention", "test", 60))
    assert lease is not None
    return lease


def step(plane: World, walk: Walk | None = None) -> Walk:
    return retention.step(plane.context, lease_of(plane), walk or Walk())


def old_job(plane: World) -> str:
    """Finished, with an attempt that wrote output."""
    attempt = plane.running(labels={"team": "vision"})

    def unit(tx: Tx) -> None:
        tx.records.append_log(attempt.id, 0, 0, b"hello")
        tx.records.save_rank(attempt.id, 0, RankRow(log_offset=5))

    plane.store.write(unit)
    plane.end(attempt)
    plane.finish(attempt.job_id, JobState.SUCCEEDED)
    return attempt.job_id


def archived(plane: World) -> list[dict[str, Any]]:  # lines of JSON
    lines: list[dict[str, Any]] = []
    for key in plane.context.objects.list("archive/jobs/"):
        with plane.context.objects.get(key) as file, gzip.open(file) as text:
            lines.extend(json.loads(line) for line in text)
    return lines


def test_an_old_finished_job_moves_to_the_archive(plane: World) -> None:
    job_id = old_job(plane)
    plane.clock.pass_seconds(91 * DAY)

    assert step(plane).archived == 1

    with pytest.raises(NotFound):
        jobs.get(plane.context, plane.root, job_id)
    lines = archived(plane)
    assert {line["format"] for line in lines} == {1}
    tables = Counter(line["table"] for line in lines)
    assert tables == {
        "jobs": 1,
        "asks": 1,
        "job_labels": 1,
        "attempts": 1,
        "seats": 1,
        "ranks": 1,
        "log_chunks": 1,
        "events": tables["events"],
    }
    assert tables["events"] >= 4
    assert next(line["row"]["state"] for line in lines if line["table"] == "jobs") == "succeeded"


def test_young_and_unfinished_jobs_stay(plane: World) -> None:
    waiting = plane.submit().job
    plane.clock.pass_seconds(50 * DAY)
    young = old_job(plane)
    plane.clock.pass_seconds(50 * DAY)

    assert step(plane).archived == 0
    assert [plane.job(job_id).id for job_id in (waiting.id, young)] == [waiting.id, young]
    assert archived(plane) == []


def test_a_lost_lease_removes_nothing_and_the_repeat_writes_the_same_object(plane: World) -> None:
    job_id = old_job(plane)
    plane.clock.pass_seconds(91 * DAY)
    lost = lease_of(plane)
    lease_of(plane)

    with pytest.raises(StaleWrite):
        retention.step(plane.context, lost, Walk())

    assert plane.job(job_id).is_finished
    before = list(plane.context.objects.list("archive/"))
    assert step(plane).archived == 1
    assert list(plane.context.objects.list("archive/")) == before
    assert len(before) == 1


def test_logs_go_before_their_job(plane: World) -> None:
    job_id = old_job(plane)
    plane.clock.pass_seconds(31 * DAY)

    walk = step(plane)

    assert (walk.archived, walk.without_logs, walk.is_over) == (0, 1, True)
    read = logs.read(plane.context, plane.root, job_id, limit_bytes=100)
    assert (read.data, read.complete) == ("", True)
    assert step(plane).without_logs == 0


def test_a_walk_passes_over_more_jobs_than_one_step_takes(
    plane: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for _ in range(5):
        plane.finish(plane.submit().job.id, JobState.CANCELLED)
        plane.clock.pass_seconds(1)
    plane.clock.pass_seconds(91 * DAY)

    walk, removed = Walk(), []
    while not walk.is_over:
        walk = step(plane, walk)
        removed.append(walk.archived)

    assert removed == [2, 2, 1]
    with plane.store.read() as tx:
        assert tx.counts.buckets() == []


def test_old_events_are_pruned(plane: World) -> None:
    plane.submit()
    plane.clock.pass_seconds(31 * DAY)
    plane.submit(name="young")

    assert retention.prune(plane.context, lease_of(plane)) > 0
    with plane.store.read() as tx:
        assert {event.at for _, event in tx.events.after(None, 100)[0]} == {plane.clock.at}


def test_why_a_class_waited_is_forgotten_long_after_its_last_job(plane: World) -> None:
    lives, died = old_job(plane), ClassId("of-a-job-long-gone")
    with plane.store.read() as tx:
        ask = tx.asks.of_job(JobId(lives))
    assert ask is not None
    told_long_ago = plane.clock.at

    def tell(tx: Tx) -> None:
        for class_id in (ask.class_id, died):
            tx.reasons.put(class_id, "no_room", "nothing is free", "wait", told_long_ago)

    plane.store.write(tell)
    assert retention.forget_reasons(plane.context, lease_of(plane)) == 0
    plane.clock.pass_seconds(91 * DAY)
    assert retention.forget_reasons(plane.context, lease_of(plane)) == 1

    with plane.store.read() as tx:
        assert tx.reasons.get(died) is None
        assert tx.reasons.get(ask.class_id) is not None


def test_how_long_is_a_setting(plane: World) -> None:
    settings = replace(plane.context.settings, retention_days=1.0, log_days=5.0)
    context = replace(plane.context, settings=settings)
    old_job(plane)
    plane.clock.pass_seconds(2 * DAY)

    assert retention.step(context, lease_of(plane), Walk()).archived == 1
