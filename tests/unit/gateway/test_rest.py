"""REST through a real gateway to real replicas."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from controlplane.identity.principals import Role
from tests.unit.gateway.stage import Replica, play, revision, service, staged

pytestmark = pytest.mark.sockets


def test_any_method_and_path_reaches_the_replica_as_it_was_sent() -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(
            status=207,
            text=f"{request.method} {request.path_qs} {(await request.content.read()).decode()}",
            headers={"X-Answer": "yes"},
        )

    async def scene() -> None:
        replica = Replica("a", echo)
        async with staged(replica) as stage:
            await stage.offer(service(revision(3, replica.backend)))
            url = stage.url("/vision/digits/v2/a%20b?q=%2F")
            async with stage.client.patch(url, data=b"body", headers={"X-Mine": "1"}) as answer:
                text = await answer.text()
            assert (answer.status, text) == (207, "PATCH /v2/a%20b?q=%2F body")
            assert answer.headers["X-Answer"] == "yes"
            assert answer.headers["x-crossdock-revision"] == "3"
        seen = replica.seen[0].headers
        assert seen["X-Mine"] == "1"
        assert seen["x-request-id"] == answer.headers["x-request-id"]
        assert seen["Authorization"] == "Bearer key-3"

    play(scene())


def test_a_stream_comes_piece_by_piece() -> None:
    go_on = asyncio.Event()

    async def events(request: web.Request) -> web.StreamResponse:
        out = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await out.prepare(request)
        await out.write(b"data: one\n\n")
        await go_on.wait()
        await out.write(b"data: two\n\n")
        await out.write_eof()
        return out

    async def scene() -> None:
        replica = Replica("a", events)
        async with staged(replica) as stage:
            await stage.offer(service(revision(1, replica.backend)))
            async with stage.client.get(stage.url("/vision/digits/tokens")) as answer:
                first = await answer.content.readany()
                go_on.set()
                rest = await answer.content.read()
        assert (first, rest) == (b"data: one\n\n", b"data: two\n\n")

    play(scene())


def test_a_caller_who_goes_away_ends_the_replicas_work() -> None:
    ended = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        out = web.StreamResponse()
        await out.prepare(request)
        try:
            while True:
                await out.write(b"more")
                await asyncio.sleep(0.01)  # poll
        finally:
            ended.set()

    async def scene() -> None:
        replica = Replica("a", endless)
        async with staged(replica) as stage:
            await stage.offer(service(revision(1, replica.backend)))
            async with stage.client.get(stage.url("/vision/digits/")) as answer:
                await answer.content.readany()
                answer.close()
            async with asyncio.timeout(5):
                await ended.wait()

    play(scene())


def test_what_is_wrong_with_a_request_is_said_as_a_problem() -> None:
    async def scene() -> None:
        replica = Replica("a")
        async with staged(replica) as stage:
            one = revision(1, replica.backend)
            await stage.offer(service(one, request_bytes=10), service(one, name="shut", is_open=False))
            stage.plane.let_in("mine")
            stage.plane.let_in("viewer", Role.VIEWER)
            stage.plane.let_in("other", project_id=None)
            status = {
                what: (code, document["code"])
                for what, (code, document) in {
                    "unknown": await stage.ask("GET", "/vision/nothing/x"),
                    "no path": await stage.ask("GET", "/nothing"),
                    "large": await stage.ask("POST", "/vision/digits/x", data=b"12345678901"),
                    "chunked": await stage.ask("POST", "/vision/digits/x", data=_pieces(b"12345678901")),
                    "timeout": await stage.ask(
                        "GET", "/vision/digits/x", headers={"x-request-timeout-seconds": "99"}
                    ),
                    "anybody": await stage.ask("GET", "/vision/shut/x"),
                    "viewer": await stage.ask("GET", "/vision/shut/x", headers=_bearer("viewer")),
                }.items()
            }
            allowed = await stage.ask("GET", "/vision/shut/x", headers=_bearer("mine"))
        assert status == {
            "unknown": (404, "not_found"),
            "no path": (404, "not_found"),
            "large": (413, "too_large"),
            "chunked": (413, "too_large"),
            "timeout": (422, "invalid"),
            "anybody": (401, "unauthenticated"),
            "viewer": (403, "forbidden"),
        }
        assert allowed[0] == 200

    play(scene())


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content
