"""gRPC: every method of every service is passed through as bytes, unary or streaming, to a replica that speaks it.

The metadata `crossdock-service: project/name` says which service is meant; `authorization` holds the caller's token.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, NoReturn, Protocol

import grpc
from grpc import aio

from controlplane.domain.errors import ControlPlaneError, Invalid, TooLarge
from controlplane.gateway.access import GONE, Entry
from controlplane.gateway.asking import Asked, avoiding, failure, turn_for
from controlplane.gateway.calls import Call, Door
from controlplane.gateway.channels import MOST_BYTES, Channels
from controlplane.gateway.desk import Wish
from controlplane.gateway.loads import Loads
from controlplane.gateway.refusals import TooSlow, refusal_of
from controlplane.gateway.replicas import BUSY, CONNECT_SECONDS, LEAVING
from controlplane.gateway.retries import FREE, Mishap, may_repeat

SERVICE: Final = "crossdock-service"
IDEMPOTENT: Final = "/inference.GRPCInferenceService/"
"""The Open Inference Protocol's methods do the same when called twice."""

CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
FAULT_STATUS: Final = 500
STATUSES: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
"""What the access log calls a replica's codes, as `google.rpc.Code` maps them; the rest are faults."""

MISHAPS: Final = {
    grpc.StatusCode.UNAVAILABLE: Mishap.BROKEN,
    grpc.StatusCode.DEADLINE_EXCEEDED: Mishap.LATE,
    grpc.StatusCode.INTERNAL: Mishap.FAILED,
    grpc.StatusCode.UNKNOWN: Mishap.FAILED,
    grpc.StatusCode.DATA_LOSS: Mishap.FAILED,
}
KEPT_BACK: Final = frozenset({"authorization", SERVICE, "user-agent", "x-request-timeout-seconds"})

Metadata = tuple[tuple[str, str | bytes], ...]


class Context(Protocol):
    """What gRPC's own context can, as far as it is used here: the library ships no types."""

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing_metadata: Metadata = ()
    ) -> NoReturn: ...

    async def write(self, message: bytes) -> None: ...

    def peer(self) -> str: ...

    def time_remaining(self) -> float | None: ...

    def invocation_metadata(self) -> Metadata | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a call ends that did not go well."""

    code: grpc.StatusCode
    details: str
    metadata: Metadata = ()


class Unconnected(Exception):
    """The replica does not answer at all: it surely saw nothing."""


@dataclass(slots=True, kw_only=True)
class Sending:
    """What a caller sends: its first message is kept, since most send no other, and can be sent again."""

    messages: AsyncIterator[bytes]
    check_size: Callable[[int], None]
    first: bytes | None = None
    is_whole: bool = True
    problem: TooLarge | None = None
    size_bytes: int = 0

    async def begin(self) -> None:
        self.first = await anext(self.messages, None)
        self._count(self.first or b"")

    async def pieces(self) -> AsyncIterator[bytes]:
        if self.first is None:
            return
        yield self.first
        async for message in self.messages:
            self.is_whole = False
            try:
                self._count(message)
            except TooLarge as problem:
                self.problem = problem
                raise
            yield message

    def _count(self, message: bytes) -> None:
        self.size_bytes += len(message)
        self.check_size(len(message))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc:
    """Answers all gRPC calls."""

    door: Door
    loads: Loads
    clock: Callable[[], float]
    channels: Channels = field(default_factory=Channels)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """As gRPC asks for it. The bytes of unary calls are those of streams with one message."""
        method = str(details.method)

        async def passed(messages: AsyncIterator[bytes], context: Context) -> None:
            end = await self._visit(method, messages, context)
            if end is not None:
                await context.abort(end.code, end.details, end.metadata)

        return grpc.stream_stream_rpc_method_handler(passed)

    async def _visit(self, method: str, messages: AsyncIterator[bytes], context: Context) -> End | None:
        """What went wrong, if something did. Told when all of it is over: even a refusal may not be taken."""
        entry = Entry(
            request_id=secrets.token_hex(8),
            method="gRPC",
            path=method,
            began_at=self.clock(),
            status=FAULT_STATUS,
        )
        try:
            await self._pass_on(entry, messages, context)
            entry.status = 200
        except ControlPlaneError as error:
            refusal = refusal_of(error)
            entry.status, entry.code = refusal.status, refusal.code
            code = CODES.get(refusal.status, grpc.StatusCode.UNAVAILABLE)
            return End(code=code, details=refusal.detail)
        except aio.AioRpcError as error:
            entry.status = STATUSES.get(error.code(), FAULT_STATUS)
            metadata = tuple(error.trailing_metadata() or ())
            return End(code=error.code(), details=error.details() or "", metadata=metadata)
        except (asyncio.CancelledError, aio.InternalError):  # the latter: in the middle of a message to it
            entry.status = GONE
            raise
        finally:
            entry.write(self.clock())
        return None

    async def _pass_on(self, entry: Entry, messages: AsyncIterator[bytes], context: Context) -> None:
        """Raises `ControlPlaneError`, and `AioRpcError` for what a replica said itself."""
        call = entry.call = await self._call(entry.request_id, context)
        sending = Sending(messages=messages, check_size=call.check_size)
        try:
            await _begun(sending, call)
            async with aclosing(self._answers(entry.path, call, sending, context)) as answers:
                async for answer in answers:
                    await self._hand_over(context, call, answer)
                    entry.sent_bytes += len(answer)
        finally:
            entry.received_bytes = sending.size_bytes

    async def _hand_over(self, context: Context, call: Call, answer: bytes) -> None:
        """Raises `TooSlow` for a caller who does not read: a replica is occupied for as long as one may take."""
        left = call.deadline - self.clock() if call.is_strict else call.timeout_seconds
        try:
            async with asyncio.timeout(max(0.0, left)):
                await context.write(answer)
        except TimeoutError:
            raise TooSlow(f"the answer was not taken within {call.timeout_seconds:g} seconds") from None

    async def _call(self, request_id: str, context: Context) -> Call:
        headers = {name: value for name, value in _metadata(context) if isinstance(value, str)}
        project, _, name = headers.get(SERVICE, "").partition("/")
        if not (project and name):
            raise Invalid("must be project/name", field=SERVICE, value=headers.get(SERVICE))
        call = await self.door.call(
            project, name, request_id=request_id, headers=headers, address=_host(context.peer())
        )
        left = context.time_remaining()
        if left is not None:
            call.timeout_seconds, call.is_strict = min(left, call.timeout_seconds), True
            call.deadline = call.began_at + call.timeout_seconds
        return call

    async def _answers(
        self, method: str, call: Call, sending: Sending, context: Context
    ) -> AsyncGenerator[bytes, None]:
        call.desk.budget.note_request()
        wish, paid = Wish(draw_ppm=call.draw_ppm), 0
        while True:
            began_at = self.clock()
            turn = await turn_for(call, wish, self.clock)
            asked = Asked(loads=self.loads, clock=self.clock, call=call, turn=turn, began_at=began_at)
            ended: aio.AioRpcError | None = None
            try:
                async with aclosing(self._asked(method, asked, sending, context)) as answers:
                    async for answer in answers:
                        sending.is_whole = False  # what was answered cannot be taken back
                        yield answer
                return
            except aio.AioRpcError as error:
                ended, asked.mishap = error, _mishap(error)
            except Unconnected:
                asked.mishap = Mishap.REFUSED
            finally:
                asked.close()
            if sending.problem is not None:
                raise sending.problem
            if not _may_repeat(method, asked, sending, paid):
                raise ended or failure(call, None)
            paid += asked.mishap not in FREE
            wish = avoiding(wish, turn, asked.mishap or Mishap.BROKEN)

    async def _asked(
        self, method: str, asked: Asked, sending: Sending, context: Context
    ) -> AsyncGenerator[bytes, None]:
        """Raises `AioRpcError`, `Unconnected`, `Late`, `Invalid`."""
        call, turn = asked.call, asked.turn
        call.tries += 1
        if turn.backend.grpc is None:
            raise Invalid("this service speaks no gRPC", field=SERVICE, value=call.desk.name)
        channel = self.channels.channel(turn.backend)
        try:
            await _connect(channel, min(CONNECT_SECONDS, max(0.0, call.deadline - self.clock())))
        except Unconnected:
            if self.clock() < call.deadline:
                raise
            raise _too_late(asked) from None  # it may have been about to answer
        key = turn.revision.key
        rpc = channel.stream_stream(method)(
            sending.pieces(), metadata=_for_replica(context, key, call.request_id)
        )
        call.revision = turn.revision.number
        until = call.deadline
        try:
            while True:
                try:
                    answer = await asyncio.wait_for(rpc.read(), max(0.0, until - self.clock()))
                except TimeoutError:
                    raise _too_late(asked) from None
                if answer is aio.EOF:
                    return
                yield answer
                if not call.is_strict:
                    until = self.clock() + call.timeout_seconds
        finally:
            rpc.cancel()

    async def close(self) -> None:
        await self.channels.close()


class _Everything(grpc.GenericRpcHandler):  # type: ignore[misc] # the library ships no types
    """gRPC asks it for a way to answer each method."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return self._rpc.service(handler_call_details)


def grpc_server(rpc: Rpc, host: str, port: int) -> tuple[aio.Server, int]:
    """Not started yet; the port is the one that it got. Raises `RuntimeError` when it is taken."""
    options = (
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", MOST_BYTES),
        ("grpc.max_send_message_length", MOST_BYTES),
    )
    server = aio.server(options=options)
    server.add_generic_rpc_handlers((_Everything(rpc),))
    return server, server.add_insecure_port(f"{host}:{port}")


async def _begun(sending: Sending, call: Call) -> None:
    """Raises `TooLarge`, `TooSlow`."""
    try:
        async with asyncio.timeout(call.timeout_seconds):
            await sending.begin()
    except TimeoutError:
        raise TooSlow(f"the request did not arrive within {call.timeout_seconds:g} seconds") from None


async def _connect(channel: aio.Channel, seconds: float) -> None:
    """Raises `Unconnected`. Without this, nobody could tell a refused connection from one that broke."""
    state = channel.get_state(try_to_connect=True)
    try:
        async with asyncio.timeout(seconds):
            while state is not grpc.ChannelConnectivity.READY:
                if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    raise Unconnected
                await channel.wait_for_state_change(state)
                state = channel.get_state(try_to_connect=True)
    except (TimeoutError, aio.UsageError):  # the latter: it was closed meanwhile, its replica being gone
        raise Unconnected from None


def _too_late(asked: Asked) -> ControlPlaneError:
    asked.mishap = asked.timed_out(Mishap.LATE)
    return failure(asked.call, asked.mishap)


def _may_repeat(method: str, asked: Asked, sending: Sending, paid: int) -> bool:
    return asked.mishap is not None and may_repeat(
        asked.mishap,
        is_idempotent=method.startswith(IDEMPOTENT),
        is_whole=sending.is_whole,
        paid=paid,
        budget=asked.call.desk.budget,
    )


def _mishap(error: aio.AioRpcError) -> Mishap | None:
    said = {name for name, _ in error.trailing_metadata() or ()}
    if LEAVING in said:
        return Mishap.LEAVING
    if BUSY in said:
        return Mishap.BUSY
    return MISHAPS.get(error.code())


def _metadata(context: Context) -> Metadata:
    return tuple(context.invocation_metadata() or ())


def _for_replica(context: Context, key: str, request_id: str) -> Metadata:
    """The caller's token stays here: a replica is a user's code."""
    kept = [
        each for each in _metadata(context) if each[0] not in KEPT_BACK and not each[0].startswith("grpc-")
    ]
    return (*kept, ("authorization", f"Bearer {key}"), ("x-request-id", request_id))


def _host(peer: str) -> str:
    """From `ipv4:127.0.0.1:4711`."""
    return peer.partition(":")[2].rpartition(":")[0]
