"""A stage for gateways: a control plane that a test writes by hand, and replicas that do as they are told."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import aiohttp
import uvloop
from aiohttp import web
from yarl import URL

from controlplane.domain.errors import Unauthenticated, Unavailable
from controlplane.domain.ids import AttemptId, ClusterId, ProjectId, RevisionId, ServiceId, TokenId
from controlplane.domain.traffic import Backend, Limits, Load, RevisionRoute, ServiceRoute
from controlplane.gateway.server import Addresses, Gateway, running
from controlplane.identity.principals import Principal, Role

T = TypeVar("T")
SCENE_SECONDS = 60.0
PROJECT = ProjectId("project-1")
LIMITS = Limits(request_bytes=4 * 1024**2, timeout_seconds=5.0, queue_requests=100, wake_seconds=5.0)
Answers = Callable[[web.Request], Awaitable[web.StreamResponse]]


def play(scene: Coroutine[Any, Any, T]) -> T:
    """On the event loop that the gateway has in production; no scene takes long."""

    async def in_time() -> T:
        async with asyncio.timeout(SCENE_SECONDS):
            return await scene

    return uvloop.run(in_time())


@dataclass(slots=True)
class HandWritten:
    """The plane: `routes` is whatever a test says, and `is_away` makes it fail."""

    services: tuple[ServiceRoute, ...] = ()
    is_away: bool = False
    loads: list[Load] = field(default_factory=list)
    principals: dict[str, Principal] = field(default_factory=dict)
    _changed: threading.Event = field(default_factory=threading.Event)

    def routes(self) -> tuple[ServiceRoute, ...]:
        self._check()
        return self.services

    def report(self, loads: Sequence[Load]) -> None:
        self._check()
        self.loads.extend(loads)

    def wait(self, timeout_seconds: float) -> None:
        self._changed.wait(min(timeout_seconds, 0.05))

    def principal(self, secret: str | None) -> Principal:
        self._check()
        if secret not in self.principals:
            raise Unauthenticated
        return self.principals[secret]

    def let_in(
        self, secret: str, role: Role = Role.SUBMITTER, project_id: ProjectId | None = PROJECT
    ) -> None:
        self.principals[secret] = Principal(
            token_id=TokenId(secret), name=f"{secret}-name", role=role, project_id=project_id
        )

    def told(self) -> dict[str | None, tuple[int, int]]:
        """Requests and errors of each revision, in all that was told."""
        sums: dict[str | None, tuple[int, int]] = {}
        for each in self.loads:
            requests, errors = sums.get(each.revision_id, (0, 0))
            sums[each.revision_id] = requests + each.requests, errors + each.errors
        return {name: counts for name, counts in sums.items() if any(counts)}

    def _check(self) -> None:
        if self.is_away:
            raise Unavailable


def backend(name: str, port: int = 1, *, grpc_port: int | None = None) -> Backend:
    return Backend(
        attempt_id=AttemptId(name),
        cluster_id=ClusterId("cluster"),
        url=f"http://127.0.0.1:{port}",
        grpc=None if grpc_port is None else f"127.0.0.1:{grpc_port}",
    )


def revision(
    number: int, *backends: Backend, weight_ppm: int = 1_000_000, concurrency: int = 8
) -> RevisionRoute:
    return RevisionRoute(
        revision_id=RevisionId(f"revision-{number}"),
        number=number,
        weight_ppm=weight_ppm,
        key=f"key-{number}",
        backends=backends,
        concurrency=concurrency,
    )


def service(
    *revisions: RevisionRoute,
    name: str = "digits",
    is_open: bool = True,
    **changes: Any,  # noqa: ANN401 - fields of the limits
) -> ServiceRoute:
    limits = replace(LIMITS, **changes)
    return ServiceRoute(
        service_id=ServiceId(f"service-{name}"),
        project_id=PROJECT,
        project="vision",
        name=name,
        is_open=is_open,
        limits=limits,
        revisions=revisions,
    )


@dataclass(slots=True)
class Replica:
    """Answers `{"replica": name}` unless a test says otherwise; counts what it was asked."""

    name: str
    answers: Answers | None = None
    seen: list[web.Request] = field(default_factory=list)
    port: int = 0
    runner: web.ServerRunner | None = None

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(request)  # type: ignore[arg-type] # a base request will do
        if self.answers is not None:
            return await self.answers(request)  # type: ignore[arg-type] # likewise
        return web.json_response({"replica": self.name, "size": len(await request.content.read())})

    async def start(self) -> None:
        self.runner = web.ServerRunner(web.Server(self, handler_cancellation=True), shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        """As if killed: whoever waits for an answer gets none."""
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None

    @property
    def backend(self) -> Backend:
        return backend(self.name, self.port)


@dataclass(slots=True, kw_only=True)
class Stage:
    plane: HandWritten
    gateway: Gateway
    client: aiohttp.ClientSession

    def url(self, path: str) -> URL:
        return URL(f"http://127.0.0.1:{self.gateway.port}{path}", encoded=True)

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:  # noqa: ANN401 - JSON
        """Status and document."""
        async with self.client.request(method, self.url(path), **options) as response:
            is_json = "json" in response.content_type
            return response.status, await (response.json(content_type=None) if is_json else response.text())

    async def offer(self, *services: ServiceRoute) -> None:
        """From now on these are all services."""
        self.plane.services = services
        await self.gateway.feed.read()


@asynccontextmanager
async def staged(*replicas: Replica, grpc: bool = False) -> AsyncIterator[Stage]:
    """A gateway before replicas that run; a test offers services itself."""
    plane = HandWritten()
    async with AsyncExitStack() as stack:
        for each in replicas:
            await each.start()
            stack.push_async_callback(each.stop)
        at = Addresses(host="127.0.0.1", port=0, grpc_port=0 if grpc else None)
        gateway = await stack.enter_async_context(running(plane, plane.principal, name="gateway-1", at=at))
        client = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        yield Stage(plane=plane, gateway=gateway, client=client)


async def until(condition: Callable[[], bool]) -> None:
    """Raises `TimeoutError` when it does not come true within ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for rings no bell
            await asyncio.sleep(0.01)  # poll
