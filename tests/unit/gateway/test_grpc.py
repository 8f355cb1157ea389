"""gRPC through a real gateway to real replicas, as bytes that the gateway does not understand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc import aio

from controlplane.domain.traffic import Backend
from controlplane.gateway.channels import Channels
from controlplane.gateway.rpc import Unconnected, _connect
from tests.unit.gateway.stage import Stage, backend, play, revision, service, staged, until

pytestmark = pytest.mark.sockets

INFER = "/inference.GRPCInferenceService/ModelInfer"
TO_DIGITS = (("crossdock-service", "vision/digits"),)


class Model(grpc.GenericRpcHandler):  # type: ignore[misc] # the library ships no types
    """Answers with its name and what it got; `/x/Leave` and `/x/Count` do what they are called."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[dict[str, Any]] = []
        self.leaves = False
        self.is_busy_for = 0
        self.is_dry = False

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return {
            INFER: grpc.unary_unary_rpc_method_handler(self._infer),
            "/x/Count": grpc.unary_stream_rpc_method_handler(self._count),
            "/x/Flood": grpc.unary_stream_rpc_method_handler(self._flood),
            "/x/Never": grpc.unary_unary_rpc_method_handler(self._never),
            "/x/Join": grpc.stream_unary_rpc_method_handler(self._join),
        }.get(handler_call_details.method)

    async def _infer(self, request: bytes, context: Any) -> bytes:  # noqa: ANN401 - untyped
        self.heard.append(dict(context.invocation_metadata()))
        if self.leaves:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "leaving", (("x-crossdock-draining", "1"),))
        if len(self.heard) <= self.is_busy_for:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "busy", (("x-crossdock-busy", "1"),))
        if request == b"ill":
            await context.abort(grpc.StatusCode.INTERNAL, "no memory")
        if request == b"bad":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such tensor", (("why", "shape"),))
        return self.name.encode() + b":" + request

    async def _count(self, request: bytes, _context: object) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()

    async def _flood(self, _request: bytes, _context: object) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(65536)
        finally:
            self.is_dry = True

    async def _never(self, _request: bytes, context: Any) -> bytes:  # noqa: ANN401 - untyped
        self.heard.append(dict(context.invocation_metadata()))
        await asyncio.Event().wait()
        return b""

    async def _join(self, requests: AsyncIterator[bytes], _context: object) -> bytes:
        return b"".join([each async for each in requests])


@asynccontextmanager
async def served(model: Model) -> AsyncIterator[Backend]:
    server = aio.server()
    server.add_generic_rpc_handlers((model,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield backend(model.name, grpc_port=port)
    finally:
        await server.stop(0)


def dial(stage: Stage) -> aio.Channel:
    return aio.insecure_channel(f"127.0.0.1:{stage.gateway.grpc_port}", (("grpc.enable_http_proxy", 0),))


def test_calls_of_all_four_kinds_pass_through() -> None:
    async def scene() -> None:
        model = Model("a")
        async with served(model) as one, staged(grpc=True) as stage, dial(stage) as channel:
            await stage.offer(service(revision(7, one)))
            unary = await channel.unary_unary(INFER)(b"digit", metadata=TO_DIGITS)
            counted = [each async for each in channel.unary_stream("/x/Count")(b"3", metadata=TO_DIGITS)]

            async def pieces() -> AsyncIterator[bytes]:
                yield b"one"
                yield b"two"

            joined = await channel.stream_unary("/x/Join")(pieces(), metadata=TO_DIGITS)
        assert (unary, counted, joined) == (b"a:digit", [b"0", b"1", b"2"], b"onetwo")
        assert model.heard[0]["authorization"] == "Bearer key-7"
        assert "crossdock-service" not in model.heard[0]

    play(scene())


def test_a_replica_that_leaves_or_is_gone_costs_no_caller_an_answer() -> None:
    async def scene() -> None:
        leaving, good = Model("leaving"), Model("good")
        leaving.leaves = True
        async with served(leaving) as one, served(good) as two, staged(grpc=True) as stage:
            await stage.offer(service(revision(1, backend("gone", grpc_port=1), one, two)))
            async with dial(stage) as channel:
                answers = await asyncio.gather(
                    *(channel.unary_unary(INFER)(b"x", metadata=TO_DIGITS) for _ in range(12))
                )
        assert answers == [b"good:x"] * 12
        assert leaving.heard

    play(scene())


def test_a_replica_that_is_busy_is_waited_for_and_no_error_of_its_revision() -> None:
    async def scene() -> None:
        model = Model("a")
        model.is_busy_for = 1
        async with served(model) as one, staged(grpc=True) as stage, dial(stage) as channel:
            await stage.offer(service(revision(1, one)))
            assert await channel.unary_unary(INFER)(b"x", metadata=TO_DIGITS) == b"a:x"
            await stage.gateway.feed.tell()
            assert stage.plane.told() == {"revision-1": (1, 0)}

    play(scene())


def test_a_caller_in_a_hurry_is_held_against_nobody() -> None:
    async def scene() -> None:
        async with served(Model("a")) as one, staged(grpc=True) as stage, dial(stage) as channel:
            await stage.offer(service(revision(1, one)))
            metadata = (*TO_DIGITS, ("x-request-timeout-seconds", "0.05"))
            with pytest.raises(aio.AioRpcError) as raised:
                await channel.unary_unary("/x/Never")(b"x", metadata=metadata)
            await stage.gateway.feed.tell()
            assert (raised.value.code(), stage.plane.told()) == (grpc.StatusCode.DEADLINE_EXCEEDED, {})

    play(scene())


def test_the_access_log_tells_what_became_of_each_call(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "controlplane.gateway.access")

    async def scene() -> None:
        model = Model("a")
        async with served(model) as one, staged(grpc=True) as stage, dial(stage) as channel:
            await stage.offer(service(revision(1, one)))
            await channel.unary_unary(INFER)(b"fine", metadata=TO_DIGITS)
            for request in (b"ill", b"bad"):
                with pytest.raises(aio.AioRpcError):
                    await channel.unary_unary(INFER)(request, metadata=TO_DIGITS)
            with pytest.raises(aio.AioRpcError):
                await channel.unary_unary(INFER)(b"lost", metadata=(("crossdock-service", "vision/nothing"),))
            asked = len(model.heard)
            leaving = channel.unary_unary("/x/Never")(b"x", metadata=TO_DIGITS)
            await until(lambda: len(model.heard) > asked)
            leaving.cancel()
            flooded = channel.unary_stream("/x/Flood")(b"xy", metadata=TO_DIGITS)
            await flooded.read()
            flooded.cancel()
            await until(lambda: len(caplog.records) == 6)

    play(scene())
    told = [
        (each.__dict__["code"], each.__dict__["problem"], each.__dict__["received_bytes"])
        for each in caplog.records
    ]
    assert told[:4] == [(200, None, 4), (500, None, 3), (400, None, 3), (404, "not_found", 0)]
    assert sorted(told[4:]) == [(499, None, 1), (499, None, 2)]


def test_who_calls_and_sends_nothing_is_let_go() -> None:
    async def scene() -> None:
        async with staged(grpc=True) as stage, dial(stage) as channel:
            await stage.offer(service(revision(1), timeout_seconds=0.1))
            silent = channel.stream_unary("/x/Join")(metadata=TO_DIGITS)
            with pytest.raises(aio.AioRpcError) as raised:
                async with asyncio.timeout(5):
                    await silent
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    play(scene())


def test_connections_to_replicas_that_are_gone_are_closed() -> None:
    async def scene() -> None:
        channels = Channels()
        gone, here = backend("gone", grpc_port=1), backend("here", grpc_port=2)
        closed = channels.channel(gone)
        kept = channels.channel(here)
        channels.forget_but({here.attempt_id})
        await until(lambda: closed.get_state() is grpc.ChannelConnectivity.SHUTDOWN)
        assert (channels.open, channels.channel(here) is kept) == (frozenset({here.attempt_id}), True)
        with pytest.raises(Unconnected):
            await _connect(closed, 1.0)
        await channels.close()

    play(scene())


def test_a_gateway_keeps_no_connection_to_replicas_that_are_gone() -> None:
    async def scene() -> None:
        model = Model("a")
        async with served(model) as one, staged(grpc=True) as stage, dial(stage) as channel:
            await stage.offer(service(revision(1, one)))
            await channel.unary_unary(INFER)(b"x", metadata=TO_DIGITS)
            assert stage.gateway.channels.open == {one.attempt_id}
            await stage.offer(service(revision(1)))
            assert stage.gateway.channels.open == frozenset()

    play(scene())


def test_what_is_wrong_comes_as_a_code_and_a_sentence() -> None:
    async def scene() -> None:
        model = Model("a")
        async with served(model) as one, staged(grpc=True) as stage, dial(stage) as channel:
            await stage.offer(
                service(revision(1, one), request_bytes=8),
                service(revision(1, one), name="shut", is_open=False),
                service(revision(1, backend("rest-only")), name="rest"),
            )

            async def code(request: bytes, *metadata: tuple[str, str]) -> tuple[grpc.StatusCode, str]:
                with pytest.raises(aio.AioRpcError) as raised:
                    await channel.unary_unary(INFER)(request, metadata=metadata, timeout=5)
                return raised.value.code(), raised.value.details() or ""

            found = [
                await code(b"bad", *TO_DIGITS),
                await code(b"123456789", *TO_DIGITS),
                await code(b"x", ("crossdock-service", "vision/nothing")),
                await code(b"x", ("crossdock-service", "vision/shut")),
                await code(b"x", ("crossdock-service", "vision/rest")),
                await code(b"x"),
            ]
        assert found == [
            (grpc.StatusCode.INVALID_ARGUMENT, "no such tensor"),
            (grpc.StatusCode.RESOURCE_EXHAUSTED, "is larger than 8 bytes"),
            (grpc.StatusCode.NOT_FOUND, "there is no service vision/nothing"),
            (grpc.StatusCode.UNAUTHENTICATED, "No valid token was sent"),
            (grpc.StatusCode.INVALID_ARGUMENT, "this service speaks no gRPC"),
            (grpc.StatusCode.INVALID_ARGUMENT, "must be project/name"),
        ]

    play(scene())


def test_a_caller_who_takes_nothing_occupies_no_replica_and_is_held_against_none() -> None:
    async def scene() -> None:
        model = Model("a")
        async with served(model) as one, staged(grpc=True) as stage, dial(stage) as channel:
            await stage.offer(service(revision(1, one, concurrency=1), timeout_seconds=0.3))
            idle = channel.unary_stream("/x/Flood")(b"", metadata=TO_DIGITS)
            await until(lambda: model.is_dry)
            assert await channel.unary_unary(INFER)(b"x", metadata=TO_DIGITS) == b"a:x"
            await stage.gateway.feed.tell()
            assert stage.plane.told() == {"revision-1": (2, 0)}
            idle.cancel()

    play(scene())
