"""Desks: who waits is served as soon as there is room, in turn, and nobody keeps a place that they left."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from controlplane.domain.errors import NotFound
from controlplane.domain.traffic import ServiceRoute
from controlplane.gateway.desk import Desk, Turn, Wish
from controlplane.gateway.loads import Loads
from controlplane.gateway.refusals import NoReplica, TooMany
from tests.unit.gateway.stage import backend, play, revision, service, until

WISH = Wish(draw_ppm=0)
FOREVER = 1e9


def desk_of(route: ServiceRoute) -> Desk:
    """Its clock stands still."""
    return Desk(route, Loads("g", since=datetime(2026, 1, 1, tzinfo=UTC)), lambda: 0.0)


def one_seat(queue_requests: int = 100) -> Desk:
    one = revision(1, backend("a"), concurrency=1)
    return desk_of(service(one, queue_requests=queue_requests))


async def lined_up(desk: Desk, count: int) -> list[asyncio.Task[Turn]]:
    before = desk.waiting
    tasks = [asyncio.create_task(desk.turn(WISH, until=FOREVER)) for _ in range(count)]
    await until(lambda: desk.waiting == before + count)
    return tasks


def counts(desk: Desk) -> tuple[int, int]:
    tally = desk.loads.tally(desk.route.service_id, desk.route.revisions[0].revision_id)
    return tally.in_flight, tally.waiting


def test_the_first_in_line_is_the_first_to_be_served() -> None:
    async def scene() -> None:
        desk = one_seat()
        turn = await desk.turn(WISH, until=FOREVER)
        first, second = await lined_up(desk, 2)
        assert counts(desk) == (3, 2)
        desk.finished(turn)
        turn = await first
        assert (second.done(), counts(desk)) == (False, (2, 1))
        desk.finished(turn)
        desk.finished(await second)
        assert counts(desk) == (0, 0)

    play(scene())


def test_who_goes_away_leaves_the_line_or_hands_the_turn_on() -> None:
    async def scene() -> None:
        desk = one_seat()
        turn = await desk.turn(WISH, until=FOREVER)
        first, second, third = await lined_up(desk, 3)
        first.cancel()
        await asyncio.wait([first])
        assert counts(desk) == (3, 2)
        desk.finished(turn)  # the second gets it ...
        second.cancel()  # ... and is gone before it hears of that
        await asyncio.wait([second])
        desk.finished(await third)
        assert counts(desk) == (0, 0)

    play(scene())


def test_who_goes_away_in_the_moment_of_a_new_look_is_counted_out() -> None:
    async def scene() -> None:
        desk = one_seat()
        turn = await desk.turn(WISH, until=FOREVER)
        (leaving,) = await lined_up(desk, 1)
        leaving.cancel()
        desk.look_again()
        await asyncio.wait([leaving])
        desk.finished(turn)
        assert counts(desk) == (0, 0)

    play(scene())


def test_too_long_a_line_is_refused_and_time_ends() -> None:
    async def scene() -> None:
        desk = one_seat(queue_requests=1)
        await desk.turn(WISH, until=FOREVER)
        await lined_up(desk, 1)
        with pytest.raises(TooMany):
            await desk.turn(WISH, until=FOREVER)
        late = one_seat()
        await late.turn(WISH, until=FOREVER)
        with pytest.raises(NoReplica, match="had room"):
            await late.turn(WISH, until=0.0)
        assert counts(late) == (1, 0)

    play(scene())


def test_a_new_replica_serves_those_who_wait_and_a_service_that_goes_sends_them_away() -> None:
    async def scene() -> None:
        asleep = service(revision(1))
        desk = desk_of(asleep)
        (waiting,) = await lined_up(desk, 1)
        awake = replace(asleep, revisions=(revision(1, backend("a"), concurrency=1),))
        desk.follow(awake)
        assert (await waiting).backend.attempt_id == "a"
        (left,) = await lined_up(desk, 1)
        desk.close()
        with pytest.raises(NotFound):
            await left

    play(scene())


def test_who_waits_for_a_revision_that_loses_its_replicas_gets_one_of_another() -> None:
    async def scene() -> None:
        old, new = revision(1, backend("a"), concurrency=1), revision(2, weight_ppm=0)
        desk = desk_of(service(old, new))
        await desk.turn(WISH, until=FOREVER)
        (waiting,) = await lined_up(desk, 1)
        gone, there = replace(old, backends=()), revision(2, backend("b"), weight_ppm=1)
        desk.follow(service(gone, there))
        assert (await waiting).revision.number == 2

    play(scene())
