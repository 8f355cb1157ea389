"""The feed: what a gateway is told of services, and what it tells of them."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

    _untold: tuple[Load, ...] = ()

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._report())
            group.create_task(self._look_again())

    async def read(self) -> None:
        """The services as they are now; an outage leaves them as they were."""
        try:
            routes = await asyncio.to_thread(self.plane.routes)
        except ControlPlaneError as problem:
            log.warning("routes.unknown", extra={"why": problem.message})
            return
        except Exception:
            log.exception("routes.failed")
            return
        self.directory.follow(routes)
        self.after_change()
        self.is_fresh = True

    async def tell(self) -> None:
        """What could not be told is told again, word for word: it may have been heard all the same."""
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
        while True:
            await self.read()
            await asyncio.sleep(LEAST_SECONDS)
            await asyncio.to_thread(self.plane.wait, MOST_SECONDS)

    async def _report(self) -> None:
        while True:
            try:
                async with asyncio.timeout(REPORT_SECONDS):
                    await self.wanted.wait()
            except TimeoutError:
                pass
            await self.tell()
            await asyncio.sleep(LOOK_AGAIN_SECONDS)  # many who wait at once are told of once
            self.wanted.clear()

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            self.directory.look_again()
