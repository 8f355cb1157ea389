"""The gate: how many requests are under way, how many may be, and whether new ones come in at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Draining(Exception):
    """The replica ends what it has and takes nothing new."""


class Full(Exception):
    """As many requests as it takes at a time are under way; whoever counts sends it no more."""


class Gate:
    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.is_draining = False
        self._under_way = 0
        self._left = asyncio.Condition()

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[None]:
        """Raises `Draining` or `Full`."""
        if self.is_draining:
            raise Draining
        if self._under_way >= self.concurrency:
            raise Full
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            async with self._left:
                self._left.notify_all()

    async def drained(self, timeout_seconds: float) -> bool:
        """Closes, and says whether all requests that were under way ended in time."""
        self.is_draining = True
        try:
            async with asyncio.timeout(timeout_seconds), self._left:
                await self._left.wait_for(lambda: self._under_way == 0)
        except TimeoutError:
            return False
        return True
