"""Schedules on both databases: each tick once, at most one caught up with, and none past what overlaps."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controlplane.domain.errors import Conflict, Invalid, NotFound
from controlplane.domain.executions import Execution, ExecutionState
from controlplane.domain.ids import ExecutionId
from controlplane.domain.jobs import JobState
from controlplane.operations import executions, schedules, ticks, tokens
from controlplane.operations.schedules import ScheduleName
from controlplane.wire.pipelines import ScheduleCreate
from tests.unit.operations.world import START
from tests.unit.runtime.pipeline_world import PipelineWorld, job_step, pipeline_world

NIGHTLY = ScheduleName(project="default", name="nightly")
ONE = {"name": "one", "steps": [job_step("only")]}
DAY = 86_400


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[PipelineWorld]:
    with pipeline_world(tmp_path, database_url) as made:
        yield made


@pytest.fixture
def sqlite(tmp_path: Path, sqlite_url: str) -> Iterator[PipelineWorld]:
    with pipeline_world(tmp_path, sqlite_url) as made:
        yield made


def add(world: PipelineWorld, **fields: Any) -> None:  # noqa: ANN401 - of a request
    given = {"name": "nightly", "cron": "0 3 * * *", "pipeline": ONE, **fields}
    schedules.create(world.plane.context, world.user, ScheduleCreate.model_validate(given))


def made(world: PipelineWorld) -> list[tuple[datetime | None, str]]:
    """Ticks and states of the executions, the oldest first."""
    found = executions.listed(world.plane.context, world.user, project=None, before=None, limit=99)
    return [(each.execution.tick, str(each.execution.state)) for each in reversed(found)]


def at(days: int) -> datetime:
    """Three o'clock in the night after START and so many days."""
    return datetime(2026, 3, 2 + days, 3, tzinfo=UTC)


def newest(world: PipelineWorld) -> str:
    found = executions.listed(world.plane.context, world.user, project=None, before=None, limit=1)
    return found[0].execution.id


def test_a_tick_makes_one_execution_whoever_looks(world: PipelineWorld) -> None:
    add(world)
    world.settle()
    assert made(world) == []
    world.pass_seconds(DAY)
    assert made(world) == [(at(0), "running")]
    world.restart()
    world.store.write(
        lambda tx: tx.work.poke_many("schedule", [each.id for each in tx.schedules.page(None, "", 9)])
    )
    world.pass_seconds(1)
    assert made(world) == [(at(0), "running")]
    world.end(newest(world), "only")
    world.pass_seconds(DAY)
    assert made(world) == [(at(0), "succeeded"), (at(1), "running")]


def test_a_second_execution_for_one_tick_is_refused_by_the_database(world: PipelineWorld) -> None:
    add(world)
    world.pass_seconds(DAY)
    with world.store.read() as tx:
        (execution,) = tx.executions.newest(None, None, 9)
    twin = Execution(
        id=ExecutionId("twin"),
        project_id=execution.project_id,
        name=execution.name,
        token_id=execution.token_id,
        outputs_uri=execution.outputs_uri,
        state=ExecutionState.WAITING,
        since=execution.since,
        created_at=execution.created_at,
        schedule_id=execution.schedule_id,
        tick=execution.tick,
    )
    with pytest.raises(Conflict):
        world.store.write(lambda tx: tx.executions.add(twin, spec="{}", schema_version=1))


def test_after_an_outage_the_newest_tick_alone_is_caught_up_with(sqlite: PipelineWorld) -> None:
    add(sqlite)
    sqlite.pass_seconds(5.5 * DAY)
    assert made(sqlite) == [(at(4), "running")]
    report = schedules.get(sqlite.plane.context, sqlite.user, NIGHTLY)
    assert (report.schedule.last_at, report.schedule.next_at) == (at(4), at(5))


def test_a_tick_that_finds_work_under_way_passes_by_and_says_so(sqlite: PipelineWorld) -> None:
    add(sqlite)
    sqlite.pass_seconds(DAY)
    sqlite.pass_seconds(DAY)
    assert made(sqlite) == [(at(0), "running")]
    report = schedules.get(sqlite.plane.context, sqlite.user, NIGHTLY)
    assert report.schedule.problem == "an earlier execution is not over"
    assert "schedule.skipped" in sqlite.plane.event_kinds()
    sqlite.end(newest(sqlite), "only", JobState.FAILED)
    sqlite.pass_seconds(DAY)
    assert made(sqlite) == [(at(0), "failed"), (at(2), "running")]
    assert schedules.get(sqlite.plane.context, sqlite.user, NIGHTLY).schedule.problem is None


def test_with_a_queue_one_execution_waits_for_the_one_before(world: PipelineWorld) -> None:
    add(world, overlap="queue")
    for _ in range(3):
        world.pass_seconds(DAY)
    assert made(world) == [(at(0), "running"), (at(1), "waiting")]
    found = executions.listed(world.plane.context, world.user, project=None, before=None, limit=9)
    world.end(found[1].execution.id, "only")
    world.settle()
    assert made(world) == [(at(0), "succeeded"), (at(1), "running")]


def test_a_waiting_execution_can_be_cancelled(sqlite: PipelineWorld) -> None:
    add(sqlite, overlap="queue")
    for _ in range(2):
        sqlite.pass_seconds(DAY)
    executions.cancel(sqlite.plane.context, sqlite.user, newest(sqlite))
    sqlite.settle()
    assert made(sqlite) == [(at(0), "running"), (at(1), "cancelled")]


def test_a_paused_schedule_goes_on_with_the_next_tick(sqlite: PipelineWorld) -> None:
    add(sqlite)
    schedules.pause(sqlite.plane.context, sqlite.user, NIGHTLY)
    sqlite.pass_seconds(2.5 * DAY)
    schedules.resume(sqlite.plane.context, sqlite.user, NIGHTLY)
    sqlite.settle()
    assert made(sqlite) == []
    sqlite.pass_seconds(DAY)
    assert made(sqlite) == [(at(2), "running")]


def test_a_removed_schedule_is_gone_and_what_it_made_goes_on(world: PipelineWorld) -> None:
    add(world)
    world.pass_seconds(DAY)
    schedules.remove(world.plane.context, world.user, NIGHTLY)
    world.pass_seconds(DAY)
    assert made(world) == [(at(0), "running")]
    with pytest.raises(NotFound):
        schedules.get(world.plane.context, world.user, NIGHTLY)


def test_a_schedule_ends_with_its_token_and_says_why(sqlite: PipelineWorld) -> None:
    add(sqlite)
    tokens.revoke(sqlite.plane.context, sqlite.plane.root, sqlite.user.token_id)
    sqlite.pass_seconds(DAY)
    assert made(sqlite) == []
    found = schedules.listed(sqlite.plane.context, sqlite.user, project=None, after="", limit=9)
    assert [each.schedule.problem for each in found] == [
        "token 'anna' was revoked, and with it the right to go on"
    ]


def test_what_is_no_schedule_is_refused(sqlite: PipelineWorld) -> None:
    for fields, field in (
        ({"cron": "0 3 * *  "}, "cron"),
        ({"cron": "61 3 * * *"}, "cron"),
        ({"cron": "0 3 31 2 *"}, "cron"),
        ({"zone": "Europe/Atlantis"}, "zone"),
        ({"zone": "../UTC"}, "zone"),
    ):
        with pytest.raises(Invalid) as refused:
            add(sqlite, **fields)
        assert refused.value.field == field
    add(sqlite)
    with pytest.raises(Conflict):
        add(sqlite)


def test_ticks_keep_to_their_zone_where_clocks_change() -> None:
    """In Berlin, 2026-03-29 has no 02:30 and 2026-10-25 has it twice."""
    spring = datetime(2026, 3, 28, 12, tzinfo=UTC)
    missing = ticks.after("30 2 * * *", "Europe/Berlin", spring)
    assert missing == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert ticks.after("30 2 * * *", "Europe/Berlin", missing) == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
    autumn = ticks.after("30 2 * * *", "Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC))
    following = ticks.after("30 2 * * *", "Europe/Berlin", autumn)
    assert autumn.date() == datetime(2026, 10, 25, tzinfo=UTC).date()
    assert following == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_the_newest_tick_is_the_one_that_has_come() -> None:
    for now, newest_tick in (
        (at(0), at(0)),
        (at(0) + timedelta(microseconds=1), at(0)),
        (at(1) - timedelta(microseconds=1), at(0)),
        (START, at(-1)),
    ):
        assert ticks.newest("0 3 * * *", "UTC", now) == newest_tick
