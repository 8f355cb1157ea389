"""The gateway's process: the real control plane behind it, and its end on SIGTERM."""

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.traffic import Load, ServiceRoute
from controlplane.gateway.front import Counters, Front, found_program
from controlplane.gateway.haproxy import Site, write
from controlplane.gateway.server import Addresses, Gateway, running
from controlplane.operations import callers, traffic
from controlplane.operations.authentication import Authenticator
from controlplane.operations.context import Context
from controlplane.runtime.bell import Bell

FRONT_SECONDS: Final = 1.0
"""Between two configurations of HAProxy, and two reports of its traffic."""

LOOPBACK: Final = "127.0.0.1"
WILDCARDS: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - not listened at, looked for

log = logging.getLogger(__name__)


@dataclass(slots=True)
class OwnPlane:
    """The plane whose database this process reads itself."""

    context: Context
    bell: Bell
    _heard: int = field(default=0)

    def routes(self) -> tuple[ServiceRoute, ...]:
        return traffic.routes(self.context)

    def report(self, loads: Sequence[Load]) -> None:
        traffic.report(self.context, loads)

    def wait(self, timeout_seconds: float) -> None:
        self._heard = self.bell.wait(self._heard, timeout_seconds)


async def serve(context: Context) -> None:
    """Until SIGTERM or SIGINT. Raises `Invalid` where an HAProxy is wanted and there is none."""
    settings = context.settings
    program = found_program() if settings.haproxy_port else None
    at = Addresses(
        host=settings.host, port=settings.gateway_port, grpc_port=settings.gateway_grpc_port or None
    )
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    bell = Bell(context.store.change_marker)
    threading.Thread(target=bell.run, name="bell", daemon=True).start()
    # The same name after a restart: what was told before is replaced, and not added to.
    name = f"{socket.gethostname()}:{settings.gateway_port}"
    plane, look_up = OwnPlane(context, bell), Authenticator(context.store).principal
    async with running(plane, look_up, name=name, at=at) as gateway:
        fronting = None if program is None else asyncio.create_task(_front(context, gateway, name, program))
        await stopping.wait()
        if fronting is not None:
            fronting.cancel()
            await asyncio.gather(fronting, return_exceptions=True)
        bell.stop()


async def _front(context: Context, gateway: Gateway, name: str, program: str) -> None:
    """Keeps HAProxy in front of the gateway, until it is cancelled."""
    settings = context.settings
    folder = settings.home / "haproxy"
    folder.mkdir(mode=0o700, exist_ok=True)
    site = Site(
        bind=f"{settings.host}:{settings.haproxy_port}",
        embedded=f"{LOOPBACK if settings.host in WILDCARDS else settings.host}:{gateway.port}",
        folder=str(folder),
    )
    front = Front(program=program, folder=folder)
    counters = Counters(gateway=f"{name}/haproxy", since=datetime.now(UTC))
    try:
        while True:
            try:
                await _step(context, gateway, site, front, counters)
            except (ControlPlaneError, OSError) as problem:
                log.warning("haproxy.behind", extra={"why": str(problem)})
            except Exception:
                log.exception("haproxy.failed")  # all services' way in: it goes on with what it has
            await asyncio.sleep(FRONT_SECONDS)
    finally:
        await front.stop()


async def _step(context: Context, gateway: Gateway, site: Site, front: Front, counters: Counters) -> None:
    routes = [desk.route for desk in gateway.directory]
    tokens = await asyncio.to_thread(callers.digests, context)
    await front.apply(write(site, routes, tokens))
    owners = {each.revision_id: route.service_id for route in routes for each in route.revisions}
    loads = counters.loads(await front.rows(), owners, datetime.now(UTC))
    if loads:
        await asyncio.to_thread(traffic.report, context, loads)
