"""REST: every path below a service's name goes to one of its replicas, and what it answers comes back as it comes."""

import asyncio
import logging
import math
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from controlplane.domain.errors import ControlPlaneError, NotFound
from controlplane.gateway.access import GONE, Entry
from controlplane.gateway.bodies import Body, body_of, held, whole_of
from controlplane.gateway.calls import Call, Door
from controlplane.gateway.exchange import Exchange
from controlplane.gateway.pieces import gathered
from controlplane.gateway.refusals import MEDIA_TYPE, BrokenOff, Late, Refusal, TooSlow, refusal_of
from controlplane.gateway.replicas import Message, passed_on
from controlplane.gateway.retries import is_idempotent
from controlplane.gateway.split import parts_wanted, split

REQUEST_ID: Final = "x-request-id"
SPLIT: Final = "x-crossdock-split"
REVISION: Final = "x-crossdock-revision"
SHAPE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
SERVICE_PATH: Final = re.compile(r"/([^/]+)/([^/]+)(/.*)?")
INFERENCE: Final = re.compile(r"/v2/models/[^/?]+(/versions/[^/?]+)?/infer(\?.*)?")
OURS: Final = ("Host", "Authorization", "Content-Length", "Expect", SPLIT)
"""Headers that mean something else between the gateway and a replica."""

HELD_ANSWER_BYTES: Final = 64 * 1024
FAULT: Final = Refusal(
    status=500,
    code="internal",
    title="The gateway has a fault",
    detail="the gateway has a fault; it was logged",
)

log = logging.getLogger(__name__)

Way = Callable[["Visit"], Awaitable[web.StreamResponse]]


class CallerGone(Exception):
    """The caller does not take its answer any more."""


@dataclass(slots=True, kw_only=True)
class Visit:
    """One HTTP request, on its way through."""

    request: web.BaseRequest
    entry: Entry
    is_answering: bool = False
    """Some of an answer may have gone out."""

    @property
    def length(self) -> int | None:
        return self.request.content_length

    async def let_it_send(self) -> None:
        """For those who ask before they send a large body: it is wanted."""
        if self.request.headers.get("Expect", "").lower() == "100-continue":
            await self.request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Answers all HTTP requests; `ways` are the paths that mean something of their own."""

    door: Door
    exchange: Exchange
    ways: Mapping[str, Way]
    clock: Callable[[], float]

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        given = request.headers.get(REQUEST_ID, "")
        request_id = given if SHAPE.fullmatch(given) else secrets.token_hex(8)
        path = request.rel_url.raw_path
        entry = Entry(request_id=request_id, method=request.method, path=path, began_at=self.clock())
        visit = Visit(request=request, entry=entry)
        try:
            answer = await self.ways.get(path, self._to_service)(visit)
            entry.status = answer.status
            return answer
        except ControlPlaneError as error:
            refusal = refusal_of(error)
            if refusal.status >= FAULT.status:
                log.warning("request.refused", extra={"request_id": request_id, "why": refusal.detail})
            return self._refuse(visit, refusal)
        except CallerGone:
            _cut(visit)
            entry.status = GONE
            return web.Response(status=GONE)  # nobody reads it
        except asyncio.CancelledError:
            entry.status = GONE
            raise
        except Exception:
            log.exception("request.failed", extra={"request_id": request_id})
            return self._refuse(visit, FAULT)
        finally:
            entry.write(self.clock())

    async def call(self, visit: Visit, project: str, name: str) -> Call:
        request = visit.request
        visit.entry.call = await self.door.call(
            project,
            name,
            request_id=visit.entry.request_id,
            headers=request.headers,
            address=request.remote or "",
        )
        return visit.entry.call

    async def pass_on(self, visit: Visit, call: Call, path: str, body: Body) -> web.StreamResponse:
        """Asks a replica and hands its answer back, piece by piece."""
        answer = await self.exchange.answer(call, message_of(visit, path, body))
        headers = _answer_headers(call, answer.response)
        try:
            async with answer:
                if _is_small(visit.request.method, answer.response):
                    return await self._held(visit, call, answer.response, headers)
                return await self._stream(visit, call, answer.response, headers)
        except (aiohttp.ClientError, Late) as problem:
            log.warning("answer.broken", extra={"request_id": call.request_id, "why": str(problem)})
            if not visit.is_answering:
                raise problem if isinstance(problem, Late) else _broken(call) from problem
            visit.entry.code = "broken_off"
            _cut(visit)
            return web.Response(status=answer.response.status)  # nobody reads it

    async def _to_service(self, visit: Visit) -> web.StreamResponse:
        request = visit.request
        found = SERVICE_PATH.fullmatch(visit.entry.path)
        if found is None:
            raise NotFound(
                f"{request.method} {visit.entry.path}: there is no such path; /project/service/... is"
            )
        call = await self.call(visit, found[1], found[2])
        query = request.rel_url.raw_query_string
        path = (found[3] or "/") + (f"?{query}" if query else "")
        wanted = request.headers.get(SPLIT)
        if wanted is not None and request.method == "POST" and INFERENCE.fullmatch(path):
            return await self._split(visit, call, path, parts_wanted(wanted))
        body = await received(visit, call)
        try:
            return await self.pass_on(visit, call, path, body)
        finally:
            visit.entry.received_bytes = body.size_bytes

    async def _split(self, visit: Visit, call: Call, path: str, parts: int) -> web.StreamResponse:
        content = await whole(visit, call.check_size, call.timeout_seconds)
        message = message_of(visit, path, held(content))
        found = await gathered(self.exchange, call, message, split(content, parts))
        visit.entry.sent_bytes = len(found.content)
        headers = {
            REQUEST_ID: call.request_id,
            REVISION: str(call.revision),
            "Content-Type": found.content_type,
        }
        return web.Response(status=found.status, body=found.content, headers=headers)

    async def _held(
        self, visit: Visit, call: Call, response: aiohttp.ClientResponse, headers: CIMultiDict[str]
    ) -> web.StreamResponse:
        """In one write. A slow caller occupies no replica, and one that breaks off leaves no half answer."""
        try:
            async with asyncio.timeout(max(0.0, call.deadline - self.clock())):
                content = await response.read()
        except TimeoutError:
            raise _stopped(call) from None
        visit.entry.sent_bytes = len(content)
        headers.popall("Content-Length", None)
        return web.Response(status=response.status, reason=response.reason, headers=headers, body=content)

    async def _stream(
        self, visit: Visit, call: Call, response: aiohttp.ClientResponse, headers: CIMultiDict[str]
    ) -> web.StreamResponse:
        """An answer with a length has to be whole in time; a stream only has to go on."""
        loop, is_stream = asyncio.get_running_loop(), response.content_length is None
        out = web.StreamResponse(status=response.status, reason=response.reason, headers=headers)
        is_writing = visit.is_answering = True
        try:
            async with asyncio.timeout(max(0.0, call.deadline - self.clock())) as limit:
                await out.prepare(visit.request)
                while True:
                    is_writing = False
                    piece = await response.content.readany()
                    is_writing = True
                    if not piece:
                        break
                    await out.write(piece)
                    visit.entry.sent_bytes += len(piece)
                    if is_stream:
                        limit.reschedule(loop.time() + call.timeout_seconds)
                await out.write_eof()
        except TimeoutError:
            if is_writing:
                raise CallerGone from None
            raise _stopped(call) from None
        except ConnectionError as problem:
            if isinstance(problem, aiohttp.ClientError) and not is_writing:
                raise
            raise CallerGone from problem
        return out

    def _refuse(self, visit: Visit, refusal: Refusal) -> web.StreamResponse:
        visit.entry.status, visit.entry.code = refusal.status, refusal.code
        return refused(refusal, visit)


async def received(visit: Visit, call: Call) -> Body:
    """Raises `TooLarge`, `TooSlow`."""
    request = visit.request
    if not request.body_exists:
        return held(b"")
    if visit.length is not None:
        call.check_size(visit.length)
    await visit.let_it_send()
    try:
        async with asyncio.timeout(call.timeout_seconds):
            return await body_of(request.content, length=visit.length, check_size=call.check_size)
    except TimeoutError:
        raise TooSlow(f"the request did not arrive within {call.timeout_seconds:g} seconds") from None


async def whole(visit: Visit, check_size: Callable[[int], None], timeout_seconds: float) -> bytes:
    """For requests that the gateway has to read itself. Raises `TooLarge`, `TooSlow`."""
    if visit.length is not None:
        check_size(visit.length)
    await visit.let_it_send()
    try:
        async with asyncio.timeout(timeout_seconds):
            content = await whole_of(visit.request.content, check_size=check_size)
    except TimeoutError:
        raise TooSlow(f"the request did not arrive within {timeout_seconds:g} seconds") from None
    visit.entry.received_bytes = len(content)
    return content


def message_of(visit: Visit, path: str, body: Body) -> Message:
    """The caller's token stays here: a replica is a user's code."""
    headers = passed_on(visit.request.headers)
    for name in OURS:
        headers.popall(name, None)
    headers[REQUEST_ID] = visit.entry.request_id
    has_key = "Idempotency-Key" in headers
    method = visit.request.method
    return Message(
        method=method,
        path=path,
        headers=headers,
        body=body,
        is_idempotent=is_idempotent(method, path.partition("?")[0], has_key=has_key),
    )


def refused(refusal: Refusal, visit: Visit) -> web.Response:
    request_id = visit.entry.request_id
    headers = {REQUEST_ID: request_id, "Content-Type": MEDIA_TYPE}
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(math.ceil(refusal.retry_after_seconds))
    body = refusal.document(request_id).model_dump_json().encode()
    out = web.Response(status=refusal.status, body=body, headers=headers)
    if not visit.request.content.is_eof():
        out.force_close()  # what is left of the body would be read as the next request
    return out


def _answer_headers(call: Call, response: aiohttp.ClientResponse) -> CIMultiDict[str]:
    headers = passed_on(response.headers)
    headers[REQUEST_ID] = call.request_id
    headers[REVISION] = str(call.revision)
    return headers


def _is_small(method: str, response: aiohttp.ClientResponse) -> bool:
    length = response.content_length
    return method != "HEAD" and length is not None and 0 < length <= HELD_ANSWER_BYTES


def _broken(call: Call) -> BrokenOff:
    return BrokenOff(f"a replica of {call.desk.name} broke off in its answer")


def _stopped(call: Call) -> Late:
    return Late(f"a replica of {call.desk.name} stopped in its answer")


def _cut(visit: Visit) -> None:
    """A half answer must not look like a whole one."""
    if visit.request.transport is not None:
        visit.request.transport.abort()
