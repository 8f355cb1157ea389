"""Replicas at sites that nobody can dial: asked through the tunnel of their cluster's agent, over HTTP and gRPC."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from controlplane.tunnels.agent import connector
from controlplane.tunnels.hub import Hub
from controlplane.tunnels.targets import Target
from controlplane.tunnels.tunnel import Tunnel
from tests.unit.gateway.stage import Replica, play, revision, service, staged
from tests.unit.gateway.test_grpc import INFER, TO_DIGITS, Model, dial, served
from tests.unit.tunnels.wires import MemoryWire

pytestmark = pytest.mark.sockets

PATH = "/vision/digits/v2/models/digits/infer"


@asynccontextmanager
async def tunnel(target: str) -> AsyncIterator[tuple[str, MemoryWire]]:
    """Its near end as a proxy, and its wire, which may be cut."""
    hub, is_up = Hub(lambda _: "secret"), asyncio.Event()
    near, far = MemoryWire(), MemoryWire()
    near.other, far.other = far, near
    door = await hub.listen(0)
    ends = (
        asyncio.ensure_future(Tunnel(far, accept=connector([Target.parsed(target)])).run()),
        asyncio.ensure_future(hub.serve("c1", near, lambda _: is_up.set())),
    )
    await is_up.wait()
    try:
        yield f"http://c1:secret@127.0.0.1:{door.sockets[0].getsockname()[1]}", near
    finally:
        door.close()
        near.cut()
        await asyncio.gather(*ends, return_exceptions=True)


def test_a_replica_behind_a_tunnel_answers_over_http_and_grpc() -> None:
    async def scene() -> None:
        far, model = Replica("far"), Model("far")
        async with (
            tunnel("127.0.0.1:1024-65535") as (way, _),
            served(model) as speaking,
            staged(far, grpc=True) as stage,
            dial(stage) as channel,
        ):
            both = replace(far.backend, grpc=speaking.grpc, proxy_url=way)
            await stage.offer(service(revision(1, both), timeout_seconds=30.0))
            answers = [await stage.ask("POST", PATH, data=b"x") for _ in range(3)]
            assert answers == [(200, {"replica": "far", "size": 1})] * 3
            assert await channel.unary_unary(INFER)(b"x", metadata=TO_DIGITS) == b"far:x"

    play(scene())


def test_what_a_tunnel_does_not_reach_was_asked_of_nobody_and_is_no_error_of_the_revision() -> None:
    async def scene() -> None:
        far, near = Replica("far"), Replica("near")
        async with tunnel("127.0.0.1:1") as (way, wire), staged(far, near) as stage:
            behind = replace(far.backend, proxy_url=way)
            await stage.offer(service(revision(1, behind, near.backend)))
            for _ in range(4):
                assert (await stage.ask("POST", "/vision/digits/once", data=b"x"))[1]["replica"] == "near"
                wire.cut()  # the agent refuses the target at first, and is gone then
            await stage.gateway.feed.tell()
            assert stage.plane.told() == {"revision-1": (4, 0)}
            assert far.seen == []

    play(scene())
