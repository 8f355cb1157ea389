"""Tunnels: many streams over one wire, each with its own window. The same at both ends."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol

from controlplane.tunnels.frames import (
    MOST_PAYLOAD_BYTES,
    MOST_STREAMS,
    WINDOW_BYTES,
    Broken,
    Frame,
    Kind,
    credit,
    credited,
)

OPEN_SECONDS: Final = 20.0


class Wire(Protocol):
    """Messages both ways, in order. `receive` raises ConnectionError at the end, and `send` after it."""

    async def send(self, message: bytes) -> None: ...

    async def receive(self) -> bytes: ...


class Stream:
    """One connection. Both directions end together, after everything that was written before has been read."""

    def __init__(self, number: int, wire: Wire) -> None:
        self.number = number
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wire = wire
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._may_send = WINDOW_BYTES
        self._may_get = WINDOW_BYTES
        self._credited = asyncio.Event()
        self._is_over = False

    async def welcome(self) -> None:
        """Tells the end that asked that its target is connected."""
        await self._send(Kind.OPENED, b"")

    async def read(self) -> bytes:
        """Empty at the end."""
        data = await self._inbox.get()
        if data is None:
            self._inbox.put_nowait(None)
            return b""
        if not self._is_over:
            self._may_get += len(data)
            with suppress(ConnectionError):
                await self._send(Kind.CREDIT, credit(len(data)))
        return data

    async def write(self, data: bytes) -> None:
        """Waits while the other end is slow. Raises ConnectionError when the stream has ended."""
        while data:
            while self._may_send == 0 and not self._is_over:
                self._credited.clear()
                await self._credited.wait()
            if self._is_over:
                raise ConnectionResetError("the stream has ended")
            piece = data[: min(self._may_send, MOST_PAYLOAD_BYTES)]
            data = data[len(piece) :]
            self._may_send -= len(piece)
            await self._send(Kind.DATA, piece)

    async def close(self, why: str = "") -> None:
        """Idempotent."""
        if not self._is_over:
            self.over(why)
            with suppress(ConnectionError):
                await self._send(Kind.CLOSE, why.encode()[:1000])

    def over(self, why: str) -> None:
        """The other end, or the wire, has ended it."""
        self._is_over = True
        self._inbox.put_nowait(None)
        self._credited.set()
        if not self.opened.done():
            self.opened.set_exception(ConnectionRefusedError(why or "the stream was closed"))
            self.opened.exception()  # nobody has to ask

    def got(self, data: bytes) -> None:
        """Raises `Broken` when the other end sends more than it may."""
        self._may_get -= len(data)
        if self._may_get < 0 or not data:
            raise Broken(f"stream {self.number} got nothing, or more than its window of {WINDOW_BYTES} bytes")
        self._inbox.put_nowait(data)

    def may_send(self, more: int) -> None:
        self._may_send += more
        self._credited.set()

    async def _send(self, kind: Kind, payload: bytes) -> None:
        await self._wire.send(Frame(kind=kind, stream=self.number, payload=payload).encoded())


Accept = Callable[[str, Stream], Awaitable[None]]
"""Called with the target and the new stream; must close it. `stream.opened` is for the end that asked."""


async def refuse(_target: str, stream: Stream) -> None:
    await stream.close("this end opens no connections")


async def ignore(_token: str) -> None:
    """The near end is told no tokens."""


class Tunnel:
    """One end. `run` it for as long as the wire lasts."""

    def __init__(
        self, wire: Wire, *, accept: Accept = refuse, on_token: Callable[[str], Awaitable[None]] = ignore
    ) -> None:
        self._wire = wire
        self._accept = accept
        self._on_token = on_token
        self._streams: dict[int, Stream] = {}
        self._last = 0
        self._is_over = False

    async def run(self) -> None:
        """Returns when the wire has ended, and every stream with it. Raises `Broken`."""
        tasks: set[asyncio.Task[None]] = set()
        try:
            with suppress(ConnectionResetError):
                while True:
                    frame = Frame.decoded(await self._wire.receive())
                    if frame.kind is Kind.OPEN:
                        task = asyncio.get_running_loop().create_task(self._opened_there(frame))
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
                    elif frame.kind is Kind.TOKEN:
                        await self._on_token(frame.payload.decode())
                    else:
                        self._heed(frame)
        finally:
            self._is_over = True
            for stream in self._streams.values():
                stream.over("the tunnel has ended")
            for task in tasks:
                task.cancel()

    async def open(self, target: str) -> Stream:
        """Raises ConnectionError with the reason, or TimeoutError."""
        if self._is_over or len(self._streams) >= MOST_STREAMS:
            raise ConnectionRefusedError(
                "the tunnel has ended" if self._is_over else f"{MOST_STREAMS} streams are open already"
            )
        self._last += 1
        stream = self._streams[self._last] = Stream(self._last, self._wire)
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await self._send(Kind.OPEN, stream.number, target.encode())
                await stream.opened
        except BaseException:
            await self.done(stream)
            raise
        return stream

    async def done(self, stream: Stream) -> None:
        """Closes the stream and forgets it."""
        self._streams.pop(stream.number, None)
        await stream.close()

    async def hand_over(self, token: str) -> None:
        await self._send(Kind.TOKEN, 0, token.encode())

    async def _opened_there(self, frame: Frame) -> None:
        stream = Stream(frame.stream, self._wire)
        if frame.stream in self._streams or len(self._streams) >= MOST_STREAMS:
            await stream.close(f"{len(self._streams)} streams are open already")
            return
        self._streams[frame.stream] = stream
        try:
            await self._accept(frame.payload.decode(errors="replace"), stream)
        finally:
            await self.done(stream)

    def _heed(self, frame: Frame) -> None:
        """What comes for a stream that has just ended is dropped."""
        stream = self._streams.get(frame.stream)
        if stream is None:
            return
        match frame.kind:
            case Kind.OPENED:
                if not stream.opened.done():
                    stream.opened.set_result(None)
            case Kind.DATA:
                stream.got(frame.payload)
            case Kind.CREDIT:
                stream.may_send(credited(frame.payload))
            case _:
                stream.over(frame.payload.decode(errors="replace"))

    async def _send(self, kind: Kind, stream: int, payload: bytes) -> None:
        await self._wire.send(Frame(kind=kind, stream=stream, payload=payload).encoded())


async def join(stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Passes bytes between a stream and a connection until one of them ends; who opened them closes them."""

    async def outward() -> None:
        while data := await reader.read(MOST_PAYLOAD_BYTES):
            await stream.write(data)

    async def inward() -> None:
        while data := await stream.read():
            writer.write(data)
            await writer.drain()

    ways = [asyncio.ensure_future(outward()), asyncio.ensure_future(inward())]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
