"""The gateway's process: the real control plane behind it, and its end on SIGTERM."""

import asyncio
import signal
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from controlplane.domain.traffic import Load, ServiceRoute
from controlplane.gateway.server import Addresses, running
from controlplane.operations import traffic
from controlplane.operations.authentication import Authenticator
from controlplane.operations.context import Context
from controlplane.runtime.bell import Bell


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
    """Until SIGTERM or SIGINT."""
    settings = context.settings
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
    async with running(plane, look_up, name=name, at=at):
        await stopping.wait()
        bell.stop()
