"""A wire in memory, and two tunnels that it joins."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from controlplane.tunnels.frames import Frame, Kind
from controlplane.tunnels.tunnel import Accept, Stream, Tunnel


class MemoryWire:
    """One end. `cut` ends both."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.other: MemoryWire = self
        self.sent: list[Frame] = []
        self.said_something = asyncio.Event()

    async def send(self, message: bytes) -> None:
        self.sent.append(Frame.decoded(message))
        self.said_something.set()
        self.other.inbox.put_nowait(message)

    async def receive(self) -> bytes:
        message = await self.inbox.get()
        if message is None:
            raise ConnectionResetError("cut")
        return message

    def cut(self) -> None:
        self.inbox.put_nowait(None)
        self.other.inbox.put_nowait(None)

    def data_bytes(self) -> int:
        return sum(len(frame.payload) for frame in self.sent if frame.kind is Kind.DATA)


async def echo(_target: str, stream: Stream) -> None:
    await stream.welcome()
    while data := await stream.read():
        await stream.write(data)


@asynccontextmanager
async def joined(
    accept: Accept, on_token: Callable[[str], Awaitable[None]] | None = None
) -> AsyncIterator[tuple[Tunnel, MemoryWire, MemoryWire]]:
    """The near end's tunnel, and the wires of near and far."""
    near, far = MemoryWire(), MemoryWire()
    near.other, far.other = far, near
    more = {"on_token": on_token} if on_token is not None else {}
    tunnels = (Tunnel(near), Tunnel(far, accept=accept, **more))
    running = [asyncio.ensure_future(tunnel.run()) for tunnel in tunnels]
    try:
        yield tunnels[0], near, far
    finally:
        near.cut()
        await asyncio.gather(*running, return_exceptions=True)
