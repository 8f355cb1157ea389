"""Callers: whose token a request carries, remembered for a few seconds, and for longer while the database is away."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from controlplane.domain.errors import Unavailable
from controlplane.domain.ids import ProjectId
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal

FRESH_SECONDS: Final = 3.0
"""A token that is revoked is refused after this long at the latest."""

STALE_SECONDS: Final = 300.0
"""The same while the database is away."""

LOOK_UP_SECONDS: Final = 10.0
"""A database that says nothing for so long is away."""

MOST_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal
    at: float


class Callers:
    """Lives in one event loop; `look_up` blocks, so it is called in a thread."""

    def __init__(
        self,
        look_up: Callable[[str | None], Principal],
        clock: Callable[[], float],
        *,
        look_up_seconds: float = LOOK_UP_SECONDS,
    ) -> None:
        self._look_up = look_up
        self._look_up_seconds = look_up_seconds
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[Principal]] = {}

    async def caller(self, secret: str | None, project_id: ProjectId) -> str:
        principal = await self.principal(secret)
        authorize(principal, Action.INVOKE, project_id)
        return principal.name

    async def principal(self, secret: str | None) -> Principal:
        """Raises `Unauthenticated`, or `Unavailable` for a token that nobody has seen lately."""
        known = self._known.get(secret or "")
        if known is not None and self._clock() < known.at + FRESH_SECONDS:
            return known.principal
        try:
            principal = await self._asked(secret)
        except Unavailable:
            if known is not None and self._clock() < known.at + STALE_SECONDS:
                return known.principal
            raise
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[secret or ""] = _Known(principal, self._clock())
        return principal

    async def _asked(self, secret: str | None) -> Principal:
        """Many requests with one token ask once."""
        name = secret or ""
        task = self._asking.get(name)
        if task is None:
            task = asyncio.ensure_future(asyncio.to_thread(self._look_up, secret))
            self._asking[name] = task
            task.add_done_callback(lambda _: self._asking.pop(name, None))
        try:
            async with asyncio.timeout(self._look_up_seconds):
                return await asyncio.shield(task)
        except TimeoutError:
            raise Unavailable(f"the database said nothing for {self._look_up_seconds:g} seconds") from None
