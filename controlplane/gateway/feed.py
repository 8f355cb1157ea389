"""The feed: what a gateway is told of services, and what it tells of them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.traffic import Load, ServiceRoute
from controlplane.gateway.directory import Directory
from controlplane.gateway.loads import Loads

LEAST_SECONDS: Final = 0.5
"""Between two looks at the services."""

MOST_SECONDS: Final = 5.0
"""After so long they are looked at though nothing rang: residency and time change them too."""

REPORT_SECONDS: Final = 1.0
MOST_UNTOLD: Final = 10_000
LOOK_AGAIN_SECONDS: Final = 0.2
AFTER_FAULT_SECONDS: Final = 1.0
"""Before what failed for a reason that nobody foresaw is tried again."""

log = logging.getLogger(__name__)


class Plane(Protocol):
    """The control plane, as a gateway knows it. Called from threads of the feed's own."""

    def routes(self) -> tuple[ServiceRoute, ...]:
        """Raises `Unavailable`."""

    def report(self, loads: Sequence[Load]) -> None:
        """Raises `Unavailable`."""

    def wait(self, timeout_seconds: float) -> None:
        """Returns at once when anything changed since the last call."""


@dataclass(slots=True, kw_only=True)
class Feed:
    """Keeps a directory and a control plane in step; while the latter is away, what is known stays true."""

    plane: Plane
    directory: Directory
    loads: Loads
    wanted: asyncio.Event
    """Set: somebody waits for a service that sleeps, so the plane is told at once."""

    after_change: Callable[[], None] = lambda: None
    is_fresh: bool = False
    """The services were read at least once."""

    fault: str | None = None
    """Why the services of the last look could not be followed, though the control plane told them: a fault of ours."""

    _untold: tuple[Load, ...] = ()
    _telling: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_again_and_again(self._follow))
            group.create_task(_again_and_again(self._report))
            group.create_task(_again_and_again(self._look_again))

    async def read(self) -> None:
        """The services as they are now; an outage, or a fault of ours, leaves them as they were."""
        try:
            routes = await asyncio.to_thread(self.plane.routes)
            self.directory.follow(routes)
            self.after_change()
        except ControlPlaneError as problem:
            log.warning("routes.unknown", extra={"why": problem.message})
        except Exception as fault:
            log.exception("routes.failed")
            self.fault = f"{type(fault).__name__}: {fault}"
        else:
            self.is_fresh, self.fault = True, None

    async def tell(self) -> None:
        """What could not be told is told again, word for word: it may have been heard all the same."""
        async with self._telling:
            await self._tell()

    async def _tell(self) -> None:
        known = {desk.route.service_id for desk in self.directory}
        fresh = (each for each in self.loads.drain(datetime.now(UTC)) if each.service_id in known)
        self._untold = (*self._untold, *fresh)[-MOST_UNTOLD:]
        if not self._untold:
            return
        try:
            await asyncio.to_thread(self.plane.report, self._untold)
        except ControlPlaneError as problem:
            log.warning("loads.untold", extra={"why": problem.message})
            return
        except Exception:
            log.exception("loads.failed")
        self._untold = ()

    async def _follow(self) -> None:
        await self.read()
        await asyncio.sleep(LEAST_SECONDS)
        await asyncio.to_thread(self.plane.wait, MOST_SECONDS)

    async def _report(self) -> None:
        try:
            async with asyncio.timeout(REPORT_SECONDS):
                await self.wanted.wait()
        except TimeoutError:
            pass
        await self.tell()
        await asyncio.sleep(LOOK_AGAIN_SECONDS)  # many who wait at once are told of once
        self.wanted.clear()

    async def _look_again(self) -> None:
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
        self.directory.look_again()


async def _again_and_again(turn: Callable[[], Awaitable[None]]) -> None:
    """Whatever goes wrong: without the feed a gateway would go on for ever with what it knew, and nobody would see."""
    while True:
        try:
            await turn()
        except Exception:
            log.exception("feed.failed")
            await asyncio.sleep(AFTER_FAULT_SECONDS)
