"""Bad luck: replicas that die, leave, fail and come back while they are asked."""

import asyncio
import threading
from contextlib import suppress
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web

from controlplane.domain.errors import Unavailable
from controlplane.domain.ids import AttemptId, TokenId
from controlplane.gateway.callers import FRESH_SECONDS, Callers
from controlplane.gateway.outliers import Outliers
from controlplane.gateway.server import Addresses, running
from controlplane.identity.principals import Principal, Role
from tests.unit.gateway.stage import (
    PROJECT,
    Answers,
    HandWritten,
    Replica,
    Stage,
    play,
    revision,
    service,
    staged,
    until,
)

pytestmark = pytest.mark.sockets

INFER = "/vision/digits/v2/models/digits/infer"


async def hangs_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def leaves(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=503, headers={"x-crossdock-draining": "1"})


async def is_busy(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=503, headers={"x-crossdock-busy": "1"})


async def fails(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=500, text="boom")


def test_what_surely_reached_nobody_is_asked_of_another_replica_whatever_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "controlplane.gateway.access")

    async def scene() -> None:
        gone, good = Replica("gone"), Replica("good")
        async with staged(gone, good) as stage:
            await stage.offer(service(revision(1, gone.backend, good.backend)))
            await gone.stop()
            answers = [await stage.ask("POST", "/vision/digits/x", data=b"once") for _ in range(20)]
        assert answers == [(200, {"replica": "good", "size": 4})] * 20
        tries = [each.__dict__["tries"] for each in caplog.records]
        assert 20 < sum(tries) <= 20 + 4, "who refused is not asked at once again"

    play(scene())


class Forgetful(Outliers):
    """Leaves out who refuses for the shortest time, however often it did."""

    def refused(self, attempt_id: AttemptId, now: float) -> None:
        self.succeeded(attempt_id)
        super().refused(attempt_id, now)


def test_who_asks_a_replica_that_refuses_every_connection_hears_so_in_the_end() -> None:
    async def scene() -> None:
        gone = Replica("gone")
        async with staged(gone) as stage:
            await stage.offer(service(revision(1, gone.backend), timeout_seconds=0.2, wake_seconds=0.6))
            stage.gateway.directory.desk("vision", "digits").outliers = Forgetful()
            await gone.stop()
            async with asyncio.timeout(5):
                status, problem = await stage.ask("GET", "/vision/digits/x")
        assert (status, problem["code"]) in {(503, "no_replica"), (504, "deadline_exceeded")}

    play(scene())


def test_a_replica_that_leaves_costs_no_caller_an_answer() -> None:
    async def scene() -> None:
        leaving, good = Replica("leaving", leaves), Replica("good")
        async with staged(leaving, good) as stage:
            await stage.offer(service(revision(1, leaving.backend, good.backend)))
            answers = await asyncio.gather(
                *(stage.ask("POST", "/vision/digits/x", data=b"once") for _ in range(30))
            )
            again = [await stage.ask("POST", "/vision/digits/x", data=b"once") for _ in range(10)]
        assert {status for status, _ in (*answers, *again)} == {200}
        assert 1 <= len(leaving.seen) <= 15, "it was asked again after it had said that it leaves"

    play(scene())


def test_a_replica_that_is_busy_with_others_requests_is_waited_for_and_no_error_of_its_revision() -> None:
    async def is_busy_at_first(request: web.Request) -> web.StreamResponse:
        return await is_busy(request) if len(replica.seen) == 1 else web.json_response("now")

    replica = Replica("a", is_busy_at_first)

    async def scene() -> None:
        async with staged(replica) as stage:
            await stage.offer(service(revision(1, replica.backend)))
            assert await stage.ask("POST", "/vision/digits/x", data=b"once") == (200, "now")
            await stage.gateway.feed.tell()
            assert stage.plane.told() == {"revision-1": (1, 0)}

    play(scene())


def test_a_replica_that_stays_busy_is_not_asked_all_the_time_and_waiting_for_it_ends() -> None:
    async def scene() -> None:
        replica = Replica("a", is_busy)
        async with staged(replica) as stage:
            await stage.offer(service(revision(1, replica.backend), timeout_seconds=0.5))
            status, problem = await stage.ask("GET", "/vision/digits/x")
            await stage.gateway.feed.tell()
            told = stage.plane.told()
        assert status in {503, 504}, problem
        assert (1 <= len(replica.seen) <= 3, told) == (True, {})

    play(scene())


def test_a_replica_that_dies_in_mid_request_is_made_good_for_if_it_may_be() -> None:
    async def scene() -> None:
        dying, good = Replica("dying", hangs_up), Replica("good")
        async with staged(dying, good) as stage:
            await stage.offer(service(revision(1, dying.backend, good.backend)))
            plain = [(await stage.ask("POST", "/vision/digits/x"))[0] for _ in range(4)]
            asked = len(dying.seen)
            inferences = [(await stage.ask("POST", INFER, data=b"{}"))[0] for _ in range(4)]
            key = {"Idempotency-Key": "k"}
            keyed = [(await stage.ask("POST", "/vision/digits/x", headers=key))[0] for _ in range(4)]
        assert sorted(plain) == [200] * (4 - asked) + [502] * asked, "each was asked once"
        assert asked
        assert {*inferences, *keyed} == {200}
        assert len(dying.seen) > asked

    play(scene())


def test_errors_of_a_bad_revision_are_hidden_and_counted() -> None:
    async def scene() -> None:
        old, canary = Replica("old"), Replica("canary", fails)
        async with staged(old, canary) as stage:
            await stage.offer(
                service(
                    revision(1, old.backend, weight_ppm=900_000),
                    revision(2, canary.backend, weight_ppm=100_000),
                )
            )
            answers = [await stage.ask("POST", INFER, data=b"{}") for _ in range(100)]
            await stage.gateway.feed.tell()
            told = stage.plane.told()
        assert {status for status, _ in answers} == {200}
        assert told == {
            "revision-1": (100, 0),
            "revision-2": (len(canary.seen), len(canary.seen)),
        }
        assert canary.seen

    play(scene())


def test_what_may_not_be_repeated_is_passed_on_as_it_was_answered() -> None:
    async def scene() -> None:
        bad = Replica("bad", fails)
        async with staged(bad) as stage:
            await stage.offer(service(revision(1, bad.backend)))
            assert await stage.ask("POST", "/vision/digits/x") == (500, "boom")

    play(scene())


def test_retries_end_when_the_budget_does() -> None:
    async def scene() -> None:
        one, two = Replica("one", fails), Replica("two", fails)
        async with staged(one, two) as stage:
            await stage.offer(service(revision(1, one.backend, two.backend)))
            for _ in range(100):
                await stage.ask("GET", "/vision/digits/x")
        asked = len(one.seen) + len(two.seen)
        assert 100 + 10 <= asked <= 100 + 10 + 20, "ten are saved at first, then one in five is"

    play(scene())


def test_an_answer_that_breaks_off_does_not_look_whole() -> None:
    async def breaks(request: web.Request) -> web.StreamResponse:
        out = web.StreamResponse()
        await out.prepare(request)
        await out.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return out

    async def scene() -> None:
        replica = Replica("a", breaks)
        async with staged(replica) as stage:
            await stage.offer(service(revision(1, replica.backend)))
            with pytest.raises(aiohttp.ClientError):
                await stage.ask("GET", "/vision/digits/x")
            await stage.gateway.feed.tell()
            assert stage.plane.told() == {"revision-1": (1, 1)}

    play(scene())


async def never(_request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


async def stands_still(request: web.Request) -> web.StreamResponse:
    out = web.StreamResponse()
    await out.prepare(request)
    await out.write(b"half")
    return await never(request)


def usable(stage: Stage) -> list[str]:
    desk = stage.gateway.directory.desk("vision", "digits")
    backends = desk.route.revisions[0].backends
    return [each.attempt_id for each in desk.outliers.usable(backends, desk.clock())]


@pytest.mark.parametrize("answers", [never, stands_still])
def test_a_caller_in_a_hurry_is_held_against_nobody(answers: Answers) -> None:
    async def scene() -> None:
        one, two = Replica("one", answers), Replica("two", answers)
        async with staged(one, two) as stage:
            await stage.offer(service(revision(1, one.backend, two.backend)))
            headers = {"x-request-timeout-seconds": "0.05"}
            for _ in range(12):
                with suppress(aiohttp.ClientError):  # half an answer is cut
                    await stage.ask("GET", "/vision/digits/x", headers=headers)
            assert (len(one.seen) + len(two.seen), usable(stage)) == (12, ["one", "two"])
            await stage.gateway.feed.tell()
            assert stage.plane.told() == {}

    play(scene())


def test_a_replica_that_hangs_is_ejected() -> None:
    async def scene() -> None:
        hangs, good = Replica("hangs", never), Replica("good")
        async with staged(hangs, good) as stage:
            await stage.offer(service(revision(1, hangs.backend, good.backend), timeout_seconds=0.1))
            answers = [await stage.ask("GET", "/vision/digits/x") for _ in range(12)]
            assert usable(stage) == ["good"]
            await stage.gateway.feed.tell()
            assert stage.plane.told() == {"revision-1": (12, 5)}
        assert sorted(status for status, _ in answers) == [200] * 7 + [504] * 5

    play(scene())


def test_who_waited_for_half_of_its_time_is_not_sent_to_a_replica_any_more() -> None:
    async def scene() -> None:
        replica = Replica("a", never)
        async with staged(replica) as stage:
            await stage.offer(service(revision(1, replica.backend, concurrency=1), timeout_seconds=0.5))
            first = asyncio.create_task(stage.ask("GET", "/vision/digits/x"))
            await until(lambda: len(replica.seen) == 1)
            status, problem = await stage.ask("GET", "/vision/digits/x")
            assert (status, problem["code"]) == (503, "no_replica")
            assert (await first)[0] == 504
        assert len(replica.seen) == 1

    play(scene())


def test_a_replica_that_is_late_is_given_up() -> None:
    async def scene() -> None:
        replica = Replica("a", never)
        async with staged(replica) as stage:
            await stage.offer(service(revision(1, replica.backend)))
            headers = {"x-request-timeout-seconds": "0.05"}
            status, problem = await stage.ask("GET", "/vision/digits/x", headers=headers)
        assert (status, problem["code"]) == (504, "deadline_exceeded")

    play(scene())


def test_a_service_without_replicas_wakes_up_for_who_waits() -> None:
    async def scene() -> None:
        replica = Replica("a")
        async with staged(replica) as stage:
            asleep = service(revision(1))
            await stage.offer(asleep)
            waiting = asyncio.create_task(stage.ask("POST", "/vision/digits/x", data=b"hello"))
            await until(lambda: any(each.waiting for each in stage.plane.loads))
            load = stage.plane.loads[0]
            assert (load.revision_id, load.waiting, load.in_flight) == (None, 1, 1)
            await stage.offer(replace(asleep, revisions=(revision(1, replica.backend),)))
            assert await waiting == (200, {"replica": "a", "size": 5})

    play(scene())


def test_a_service_that_does_not_wake_up_in_time_says_when_to_come_back() -> None:
    async def scene() -> None:
        async with staged() as stage:
            await stage.offer(service(revision(1), wake_seconds=0.05))
            async with stage.client.get(stage.url("/vision/digits/x")) as answer:
                assert (answer.status, (await answer.json(content_type=None))["code"]) == (503, "no_replica")
                assert answer.headers["Retry-After"] == "1"

    play(scene())


def test_a_queue_has_an_end_and_nobody_in_it_is_lost() -> None:
    go_on = asyncio.Event()

    async def waits(_request: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return web.json_response({})

    async def scene() -> None:
        replica = Replica("a", waits)
        async with staged(replica) as stage:
            one_at_a_time = revision(1, replica.backend, concurrency=1)
            await stage.offer(service(one_at_a_time, queue_requests=2))
            asked = [asyncio.create_task(stage.ask("GET", "/vision/digits/x")) for _ in range(4)]
            await until(lambda: any(each.done() for each in asked))
            go_on.set()
            statuses = sorted([(await each)[0] for each in asked])
        assert statuses == [200, 200, 200, 429]

    play(scene())


def test_callers_have_a_rate_each() -> None:
    async def scene() -> None:
        replica = Replica("a")
        async with staged(replica) as stage:
            await stage.offer(service(revision(1, replica.backend), is_open=False, requests_per_second=2.0))
            stage.plane.let_in("one")
            stage.plane.let_in("two")
            statuses = [
                (await stage.ask("GET", "/vision/digits/x", headers={"Authorization": f"Bearer {who}"}))[0]
                for who in ("one", "one", "one", "two")
            ]
        assert statuses == [200, 200, 429, 200]

    play(scene())


def test_while_the_database_is_away_what_was_known_goes_on() -> None:
    async def ask(stage: Stage, secret: str) -> int:
        headers = {"Authorization": f"Bearer {secret}"}
        status, _ = await stage.ask("GET", "/vision/digits/x", headers=headers)
        return status

    async def scene() -> None:
        replica = Replica("a")
        async with staged(replica) as stage:
            await stage.offer(service(revision(1, replica.backend), is_open=False))
            stage.plane.let_in("known")
            assert await ask(stage, "known") == 200
            stage.plane.is_away = True
            await stage.gateway.feed.read()
            await stage.gateway.feed.tell()
            assert [await ask(stage, "known"), await ask(stage, "new")] == [200, 503]
            stage.plane.is_away = False
            await stage.gateway.feed.tell()
        assert stage.plane.told() == {"revision-1": (2, 0)}, "what could not be told was told later"

    play(scene())


def test_a_database_that_says_nothing_is_away() -> None:
    async def scene() -> None:
        go_on, now = threading.Event(), [0.0]
        principal = Principal(token_id=TokenId("t"), name="me", role=Role.SUBMITTER, project_id=PROJECT)
        is_stuck = [False]

        def look_up(_secret: str | None) -> Principal:
            if is_stuck[0]:
                go_on.wait(10)
            return principal

        callers = Callers(look_up, lambda: now[0], look_up_seconds=0.05)
        assert await callers.caller("known", PROJECT) == "me"
        is_stuck[0], now[0] = True, FRESH_SECONDS
        try:
            assert await callers.caller("known", PROJECT) == "me", "who was let in lately is let in"
            with pytest.raises(Unavailable):
                await callers.caller("new", PROJECT)
        finally:
            go_on.set()

    play(scene())


def test_a_caller_who_sends_slowly_keeps_no_replica_busy() -> None:
    async def scene() -> None:
        replica = Replica("a")
        async with staged(replica) as stage:
            await stage.offer(service(revision(1, replica.backend, concurrency=1), queue_requests=0))
            reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.port)
            writer.write(b"POST /vision/digits/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
            await writer.drain()
            assert (await stage.ask("GET", "/vision/digits/x"))[0] == 200
            writer.write(b"cd")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()

    play(scene())


def test_a_caller_who_never_ends_its_request_is_not_held_against_the_revision() -> None:
    async def scene() -> None:
        replica = Replica("a")
        async with staged(replica) as stage:
            await stage.offer(service(revision(1, replica.backend, concurrency=1), timeout_seconds=0.3))
            reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.port)
            head = b"POST /vision/digits/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(head + b"2\r\nab\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 504")
            writer.close()
            assert (await stage.ask("GET", "/vision/digits/x"))[0] == 200, "its place is free again"
            await stage.gateway.feed.tell()
        assert stage.plane.told() == {"revision-1": (1, 0)}

    play(scene())


def test_a_gateway_that_is_told_to_end_lets_requests_under_way_end() -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def waits(_request: web.Request) -> web.StreamResponse:
        arrived.set()
        await go_on.wait()
        return web.json_response({"whole": True})

    async def scene() -> None:
        replica = Replica("a", waits)
        await replica.start()
        plane = HandWritten(services=(service(revision(1, replica.backend)),))
        at = Addresses(host="127.0.0.1", port=0, grpc_port=None)
        async with aiohttp.ClientSession(trust_env=False) as client:
            async with running(plane, plane.principal, name="g", at=at) as gateway:
                url = f"http://127.0.0.1:{gateway.port}/vision/digits/x"
                asked = asyncio.create_task(client.get(url))
                await arrived.wait()
                asyncio.get_running_loop().call_later(0.05, go_on.set)
            answer = await asked
            assert (answer.status, await answer.json()) == (200, {"whole": True})
        await replica.stop()
        assert plane.told() == {"revision-1": (1, 0)}, "its last words were told"

    play(scene())


def test_a_caller_who_reads_slowly_keeps_no_replica_busy_with_a_short_answer() -> None:
    async def scene() -> None:
        replica = Replica("a")
        async with staged(replica) as stage:
            await stage.offer(service(revision(1, replica.backend, concurrency=1), queue_requests=0))
            reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.port)
            writer.write(b"GET /vision/digits/x HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: len(replica.seen) == 1)
            await until(lambda: not _under_way(stage))
            assert (await stage.ask("GET", "/vision/digits/x"))[0] == 200
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()

    play(scene())


def _under_way(stage: Stage) -> int:
    return sum(tally.in_flight for tally in stage.gateway.feed.loads.tallies.values())
