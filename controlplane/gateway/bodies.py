"""Bodies: what a caller sends, held when it is small and can be sent again, passed on as it comes when it is not."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from controlplane.domain.errors import TooLarge

HELD_BYTES: Final = 1024 * 1024
"""A request up to this size can be sent to another replica, and takes up no replica while it arrives."""


class Source(Protocol):
    async def readany(self) -> bytes:
        """What has come; empty at the end."""


@dataclass(slots=True, kw_only=True)
class Body:
    """Of one request. Either `held` is all of it, or `rest` follows what is held."""

    held: bytes
    rest: Source | None
    check_size: Callable[[int], None]
    length: int | None
    """As announced; None: nobody knows before its end."""

    size_bytes: int = 0
    is_touched: bool = False
    """Some of the rest went to a replica: it cannot be sent again."""

    is_sent: bool = False
    """All of the rest was handed on: from then on the replica is waited for, and not the caller."""

    problem: TooLarge | None = None
    """Why it ended too early: who sends it on only learns that it did."""

    @property
    def is_whole(self) -> bool:
        """It can be sent, from its first byte."""
        return self.rest is None or not self.is_touched

    async def pieces(self) -> AsyncIterator[bytes]:
        """Raises `TooLarge` in the middle."""
        if self.held:
            yield self.held
        while self.rest is not None:
            piece = await self.rest.readany()
            if not piece:
                self.is_sent = True
                return
            self.is_touched = True
            self.size_bytes += len(piece)
            try:
                self.check_size(self.size_bytes)
            except TooLarge as problem:
                self.problem = problem
                raise
            yield piece


async def body_of(source: Source, *, length: int | None, check_size: Callable[[int], None]) -> Body:
    """Holds a body that is announced to be small. Raises `TooLarge`."""
    if length is not None:
        check_size(length)
    if length is None or length > HELD_BYTES:
        return Body(held=b"", rest=source, check_size=check_size, length=length)
    pieces = []
    while piece := await source.readany():
        pieces.append(piece)
    held = b"".join(pieces)
    return Body(held=held, rest=None, check_size=check_size, length=len(held), size_bytes=len(held))


async def whole_of(source: Source, *, check_size: Callable[[int], None]) -> bytes:
    """Raises `TooLarge`."""
    pieces, size_bytes = [], 0
    while piece := await source.readany():
        pieces.append(piece)
        size_bytes += len(piece)
        check_size(size_bytes)
    return b"".join(pieces)


def held(content: bytes) -> Body:
    return Body(
        held=content, rest=None, check_size=lambda _: None, length=len(content), size_bytes=len(content)
    )
