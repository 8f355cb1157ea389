"""The gateway's server: its parts put together, on two ports of one event loop."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from controlplane.gateway.callers import Callers
from controlplane.gateway.calls import Door
from controlplane.gateway.channels import Channels
from controlplane.gateway.directory import Directory
from controlplane.gateway.exchange import Exchange
from controlplane.gateway.feed import Feed, Plane
from controlplane.gateway.loads import Loads
from controlplane.gateway.replicas import http_client
from controlplane.gateway.rest import Rest
from controlplane.gateway.rpc import Rpc, grpc_server
from controlplane.gateway.ways import Ways
from controlplane.identity.principals import Principal

DRAIN_SECONDS: Final = 10.0
"""Requests under way get so long to end when the gateway is told to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    host: str
    port: int
    grpc_port: int | None
    """None: no gRPC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One that runs."""

    port: int
    grpc_port: int | None
    feed: Feed
    directory: Directory
    channels: Channels


@asynccontextmanager
async def running(
    plane: Plane, look_up: Callable[[str | None], Principal], *, name: str, at: Addresses
) -> AsyncIterator[Gateway]:
    """Serves as soon as the services are known, until the block ends; then requests under way may end."""
    clock = time.monotonic  # a loop's own clock may stand still within a millisecond
    loads = Loads(name, since=datetime.now(UTC))
    callers = Callers(look_up, clock)
    wanted = asyncio.Event()
    directory = Directory(loads, clock, call_for_replicas=wanted.set)
    door = Door(directory=directory, admits=callers, clock=clock)
    channels = Channels()

    def forget_what_is_gone() -> None:
        door.forget_rates()
        channels.forget_but(directory.attempt_ids)

    feed = Feed(
        plane=plane, directory=directory, loads=loads, wanted=wanted, after_change=forget_what_is_gone
    )
    ways = Ways(directory=directory, loads=loads, callers=callers, feed=feed)
    async with http_client() as session:
        exchange = Exchange(session=session, loads=loads, clock=clock)
        rest = Rest(door=door, exchange=exchange, ways=ways.of(lambda: rest), clock=clock)
        await feed.read()
        following = asyncio.create_task(feed.run())
        try:
            async with (
                _http(rest, at) as port,
                _grpc(Rpc(door=door, loads=loads, clock=clock, channels=channels), at) as rpc_port,
            ):
                yield Gateway(
                    port=port, grpc_port=rpc_port, feed=feed, directory=directory, channels=channels
                )
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await feed.tell()


@asynccontextmanager
async def _http(rest: Rest, at: Addresses) -> AsyncIterator[int]:
    runner = web.ServerRunner(
        web.Server(rest.__call__, handler_cancellation=True, access_log=None, auto_decompress=False),
        shutdown_timeout=DRAIN_SECONDS,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, at.host, at.port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _grpc(rpc: Rpc, at: Addresses) -> AsyncIterator[int | None]:
    if at.grpc_port is None:
        yield None
        return
    server, port = grpc_server(rpc, at.host, at.grpc_port)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(DRAIN_SECONDS)
        await rpc.close()
