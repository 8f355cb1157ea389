"""The agent: dials out from a site that nobody can dial, and lets the control plane reach what it was told to."""

import asyncio
import os
import random
import ssl
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from controlplane.tunnels.frames import Broken
from controlplane.tunnels.targets import Target, is_covered, place_of
from controlplane.tunnels.tunnel import Accept, Stream, Tunnel, join

PATH: Final = "/v1/agents/connect"
LONGEST_PAUSE_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 60.0
MOST_MESSAGE_BYTES: Final = 128 * 1024
CONNECT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    url: str
    """Of the control plane."""

    token_file: Path
    """Written again whenever the control plane hands over a new token."""

    targets: tuple[Target, ...]
    """Nothing else is connected to."""

    ca_file: Path | None = None
    """Certificates that alone vouch for the control plane; None: those of the system."""


def pause_seconds(failures: int, chance: float) -> float:
    """Before the next try. `chance` is from 0 to 1: agents that lost one server do not come back at one moment."""
    return float(min(2.0 ** min(failures, 10), LONGEST_PAUSE_SECONDS) * (0.5 + chance / 2))


async def keep_connected(options: AgentOptions) -> None:
    """Until it is cancelled."""
    failures, loop = 0, asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            await _connected(options)
            _say("the control plane closed the tunnel")
        except (OSError, WebSocketException, TimeoutError) as problem:
            _say(f"no tunnel: {type(problem).__name__} {problem}")
        failures = 0 if loop.time() - began > STEADY_SECONDS else failures + 1
        await asyncio.sleep(pause_seconds(failures, random.random()))  # noqa: S311 - no secret


async def _connected(options: AgentOptions) -> None:
    token = options.token_file.read_text(encoding="ascii").strip()
    address = _websocket(options.url)
    async with connect(
        address,
        additional_headers={"Authorization": f"Bearer {token}"},
        ssl=_context(options.ca_file) if address.startswith("wss:") else None,
        max_size=MOST_MESSAGE_BYTES,
        compression=None,
    ) as line:
        _say(f"connected to {options.url}")

        async def keep(new: str) -> None:
            replace_file(options.token_file, new)

        tunnel = Tunnel(_Wire(line), accept=connector(options.targets), on_token=keep)
        with suppress(Broken):
            await tunnel.run()


class _Wire:
    def __init__(self, line: ClientConnection) -> None:
        self._line = line

    async def send(self, message: bytes) -> None:
        try:
            await self._line.send(message)
        except ConnectionClosed as end:
            raise ConnectionResetError(str(end)) from end

    async def receive(self) -> bytes:
        try:
            message = await self._line.recv()
        except ConnectionClosed as end:
            raise ConnectionResetError(str(end)) from end
        return message if isinstance(message, bytes) else message.encode()


def connector(targets: Sequence[Target]) -> Accept:
    async def connected(target: str, stream: Stream) -> None:
        try:
            host, port = place_of(target)
        except ValueError as problem:
            await stream.close(str(problem))
            return
        if not is_covered(targets, host, port):
            await stream.close(f"the agent does not connect to {target}")
            return
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(host, port)
        except OSError as problem:
            await stream.close(f"{target}: {type(problem).__name__}")
            return
        try:
            await stream.welcome()
            await join(stream, reader, writer)
        finally:
            writer.close()

    return connected


def replace_file(path: Path, text: str) -> None:
    """Whole or not at all, readable by its owner alone."""
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)


def _websocket(url: str) -> str:
    parsed = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}[parsed.scheme]
    return urlunsplit((scheme, parsed.netloc, parsed.path.rstrip("/") + PATH, "", ""))


def _context(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


def _say(text: str) -> None:
    print(f"crossdock agent: {text}", file=sys.stderr, flush=True)  # noqa: T201 - its only voice
