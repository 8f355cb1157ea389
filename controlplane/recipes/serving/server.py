"""The HTTP server: Open Inference Protocol v2, plain JSON calls, and streams of server-sent events."""

import asyncio
import hmac
import inspect
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from .gangs import PeerLost
from .gates import Draining, Full, Gate
from .models import Model
from .surroundings import Surroundings
from .tensors import BadRequest, Tensor, inputs_of

# `Any`: JSON values.

DRAINING_HEADER: Final = "x-crossdock-draining"
BUSY_HEADER: Final = "x-crossdock-busy"
TAKEN_SECONDS: Final = 60.0
"""Who takes nothing of a stream for so long is gone, with a gateway's whole host perhaps; its place is another's."""

Endpoint = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)
_END: Final = object()


class Replica:
    """What all endpoints share."""

    def __init__(self, surroundings: Surroundings, model: Model, gate: Gate) -> None:
        self.surroundings = surroundings
        self.model = model
        self.gate = gate
        self.is_ready = False
        self.is_broken = False
        self.over = asyncio.Event()
        self.threads = ThreadPoolExecutor(gate.concurrency, thread_name_prefix="model")

    def admits(self, header: str | None) -> bool:
        """Whether somebody who may ask asks, in constant time."""
        given = (header or "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), self.surroundings.key.encode())

    async def in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
        """Asks the model. All ways to it lead through here, so that whichever finds a rank gone ends the replica."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, call, *arguments)
        except PeerLost:
            self.is_broken = self.gate.is_draining = True
            self.over.set()
            raise

    async def pieces(self, stream: Iterator[Any]) -> AsyncIterator[Any]:
        """Each made in a thread when the one before was taken; the stream ends with its reader."""
        try:
            while (piece := await self.in_thread(next, stream, _END)) is not _END:
                yield piece
        finally:
            if inspect.isgenerator(stream):
                await asyncio.shield(self.in_thread(stream.close))


def application(replica: Replica) -> web.Application:
    app = web.Application(
        client_max_size=replica.surroundings.request_bytes + 1, middlewares=[_guarded(replica)]
    )
    protocol = V2(replica)
    name = f"/v2/models/{replica.surroundings.name}"
    app.router.add_get("/v2/health/live", protocol.live)
    app.router.add_get("/v2/health/ready", protocol.ready)
    app.router.add_get("/v2", protocol.server)
    app.router.add_get(name, protocol.metadata)
    app.router.add_get(f"{name}/ready", protocol.ready)
    app.router.add_post(f"{name}/infer", protocol.infer)
    app.router.add_post("/invoke", protocol.invoke)
    return app


class V2:
    """The endpoints; a request under way is in the gate from its first byte of answer's making to the last."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def live(self, _request: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def ready(self, _request: web.Request) -> web.Response:
        is_ready = self._replica.is_ready and not self._replica.gate.is_draining
        return web.json_response({"ready": is_ready}, status=200 if is_ready else 503)

    async def server(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "name": self._replica.surroundings.name,
                "version": self._replica.surroundings.revision,
                "extensions": [],
            }
        )

    async def metadata(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "name": self._replica.surroundings.name,
                "versions": [self._replica.surroundings.revision],
                "platform": self._replica.model.platform,
                "inputs": [],
                "outputs": [],
            }
        )

    async def infer(self, request: web.Request) -> web.StreamResponse:
        replica = self._replica
        async with replica.gate.entered():
            document = await body_of(request)
            answer = await replica.in_thread(replica.model.infer, inputs_of(document))
            if inspect.isgenerator(answer):
                return await streamed(request, replica.pieces(answer))
            return web.json_response(self._answer(document, answer))

    async def invoke(self, request: web.Request) -> web.StreamResponse:
        replica = self._replica
        async with replica.gate.entered():
            answer = await replica.in_thread(replica.model.call, await body_of(request))
            if inspect.isgenerator(answer):
                return await streamed(request, replica.pieces(answer))
            return web.json_response(answer)

    def _answer(self, document: Any, tensors: list[Tensor]) -> dict[str, Any]:  # noqa: ANN401
        told = {
            "model_name": self._replica.surroundings.name,
            "model_version": self._replica.surroundings.revision,
            "outputs": [tensor.document() for tensor in tensors],
        }
        return told | ({"id": document["id"]} if "id" in document else {})


async def body_of(request: web.Request) -> Any:  # noqa: ANN401
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError) as problem:
        raise BadRequest(f"the body is not JSON: {problem}") from problem


async def streamed(request: web.Request, pieces: AsyncIterator[Any], *, last: str = "") -> web.StreamResponse:
    """As server-sent events, one JSON value each. What breaks in the middle becomes an `error` event."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    try:
        async for piece in pieces:
            await _write(request, response, f"data: {json.dumps(piece)}\n\n")
    except ConnectionError:
        raise
    except Exception as problem:
        log.exception("stream broke off")
        said = json.dumps({"error": {"message": f"{type(problem).__name__}: {problem}"}})
        await _write(request, response, f"event: error\ndata: {said}\n\n")
    else:
        if last:
            await _write(request, response, f"data: {last}\n\n")
    await response.write_eof()
    return response


async def _write(request: web.Request, response: web.StreamResponse, text: str) -> None:
    """Raises `ConnectionError` for a reader that is gone, or as good as gone."""
    try:
        async with asyncio.timeout(TAKEN_SECONDS):
            await response.write(text.encode())
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError(f"nothing was taken for {TAKEN_SECONDS:g} seconds") from None


def _guarded(replica: Replica) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Endpoint) -> web.StreamResponse:
        if request.path != "/v2/health/live" and not replica.admits(request.headers.get("Authorization")):
            return problem(401, "this replica answers its gateway alone")
        try:
            return await handler(request)
        except Draining:
            return _leaving()
        except Full:
            return _busy(replica)
        except BadRequest as bad:
            return problem(400, str(bad))
        except web.HTTPException:
            raise
        except Exception as fault:
            log.exception("%s failed", request.path)
            return problem(500, f"{type(fault).__name__}: {fault}")

    return guard


def _leaving() -> web.Response:
    """To those for whom nothing was done: whoever hears this asks the next replica, whatever was asked."""
    response = problem(503, "this replica is being stopped")
    response.headers[DRAINING_HEADER] = "1"
    return response


def _busy(replica: Replica) -> web.Response:
    """Whoever asks may ask another replica, whatever it is, and holds it against none."""
    response = problem(503, f"{replica.gate.concurrency} requests are under way, as many as it takes")
    response.headers[BUSY_HEADER] = "1"
    return response


def problem(code: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=code)
