"""The retention loop: one pass at a time, by one replica, with rests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.domain.jobs import JobState, ask_id
from controlplane.runtime.bell import Bell
from controlplane.runtime.retention import RETENTION_LEASE, RetentionLoop
from schedulers.base import Verdict
from tests.unit.operations.world import World, world

DAY = 86_400.0


@pytest.fixture
def plane(tmp_path: Path, sqlite_url: str) -> Iterator[World]:
    with world(tmp_path, sqlite_url) as made:
        yield made


def loop_of(plane: World, rests: list[float]) -> RetentionLoop:
    ticks = iter(range(10_000))
    bell = Bell(plane.store.change_marker)
    return RetentionLoop(
        plane.context, bell=bell, holder="me", pause=rests.append, clock=lambda: float(next(ticks))
    )


def test_a_round_archives_what_is_old_and_rests_as_long_as_each_step_took(plane: World) -> None:
    plane.finish(plane.submit().job.id, JobState.CANCELLED)
    plane.clock.pass_seconds(91 * DAY)
    rests: list[float] = []

    loop_of(plane, rests).round()

    assert len(list(plane.context.objects.list("archive/jobs/"))) == 1
    assert rests
    assert set(rests) == {1.0}
    with plane.store.read() as tx:
        assert tx.leases.get(RETENTION_LEASE) is None


def test_a_round_is_left_to_the_replica_that_is_at_it(plane: World) -> None:
    plane.finish(plane.submit().job.id, JobState.CANCELLED)
    plane.clock.pass_seconds(91 * DAY)
    plane.store.write(lambda tx: tx.leases.take(RETENTION_LEASE, "another", 60))

    loop_of(plane, []).round()

    assert list(plane.context.objects.list("archive/jobs/")) == []


def test_a_round_forgets_what_was_decided_about_asks_that_are_over(plane: World) -> None:
    over, waiting, winner = (plane.submit().job.id for _ in range(3))
    about_over = Verdict(winner=ask_id(winner), loser=ask_id(over))
    about_waiting = Verdict(winner=ask_id(winner), loser=ask_id(waiting))
    plane.store.write(lambda tx: tx.memories.judge(about_over))
    plane.store.write(lambda tx: tx.memories.judge(about_waiting))
    plane.finish(over, JobState.CANCELLED)

    loop_of(plane, []).round()

    with plane.store.read() as tx:
        assert tx.memories.verdicts() == [about_waiting]
