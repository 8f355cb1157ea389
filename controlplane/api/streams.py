"""Streams: server-sent events. The one corner that is asynchronous, since a follower mostly waits."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Final

import anyio
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi.responses import StreamingResponse

from controlplane.api.problems import TooBusy
from controlplane.domain.errors import Unavailable, UserError
from controlplane.store import Store

MOST_STREAMS: Final = 100
POLL_SECONDS: Final = 0.1
KEEP_ALIVE_SECONDS: Final = 15.0
LONGEST_BLIND_SECONDS: Final = 1.0
"""Even if the marker is the same: tokens expire by the clock, and PostgreSQL's marker does not count log bytes."""

MEDIA_TYPE: Final = "text/event-stream"
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one look found."""

    messages: tuple[tuple[str, str], ...] = ()
    """(id, JSON). The id brings the reader back to behind the message."""

    is_over: bool = False
    has_more: bool = False
    """Look again at once."""


Look = Callable[[], Told]
"""Reads what is new since the last call. Runs in a thread; raises `UserError` when the reader may no longer look."""


class Streams:
    """Looks for new messages whenever anything was committed, for a bounded number of followers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open = 0
        self._threads = CapacityLimiter(4)
        self._marker: object = None
        self._marked_at = -POLL_SECONDS

    def respond(self, look: Look) -> StreamingResponse:
        """Raises `TooBusy` when there are too many followers already."""
        if self._open >= MOST_STREAMS:
            raise TooBusy(f"{self._open} streams are open, the limit is {MOST_STREAMS}")
        return StreamingResponse(self._follow(look), media_type=MEDIA_TYPE, headers=HEADERS)

    async def _follow(self, look: Look) -> AsyncIterator[str]:
        self._open += 1
        try:
            yield ": open\n\n"
            async for told in self._looks(look):
                for text in _messages(told):
                    yield text
                if told.is_over:
                    return
        finally:
            self._open -= 1

    async def _looks(self, look: Look) -> AsyncIterator[Told]:
        """Something at least every `KEEP_ALIVE_SECONDS`."""
        marker: object = None
        spoke_at = looked_at = -LONGEST_BLIND_SECONDS
        while True:
            now = time.monotonic()
            seen = await self._newest_marker(now)
            if seen != marker or now - looked_at > LONGEST_BLIND_SECONDS:
                marker, looked_at = seen, now
                told = await self._look(look)
                if told.messages or told.is_over or now - spoke_at > KEEP_ALIVE_SECONDS:
                    spoke_at = now
                    yield told
                if told.has_more:
                    marker = None
                    continue
            await anyio.sleep(POLL_SECONDS)

    async def _newest_marker(self, now: float) -> object:
        """One question to the database for all followers. None while it is away: nothing new can be seen then."""
        if now - self._marked_at >= POLL_SECONDS:
            self._marked_at = now
            try:
                self._marker = await run_sync(self._store.change_marker, limiter=self._threads)
            except Unavailable:
                self._marker = None
        return self._marker

    async def _look(self, look: Look) -> Told:
        try:
            return await run_sync(look, limiter=self._threads)
        except Unavailable:
            return Told()
        except UserError:
            return Told(is_over=True)


def _messages(told: Told) -> Iterator[str]:
    if not told.messages and not told.is_over:
        yield ": still here\n\n"
    for message_id, data in told.messages:
        yield f"id: {message_id}\ndata: {data}\n\n"
