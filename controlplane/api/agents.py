"""The route at which agents connect: a WebSocket that carries a tunnel. See docs/adr/0004-agents-dial-out.md."""

import asyncio
from contextlib import suppress
from typing import Final

from anyio.to_thread import run_sync
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from controlplane.api.calls import Site
from controlplane.domain.errors import Unauthenticated
from controlplane.operations import agents
from controlplane.tunnels.tunnel import Tunnel

router = APIRouter()
LOOK_SECONDS: Final = 60.0
"""Between two looks whether the cluster is still ours."""

LOOKS_PER_TOKEN: Final = 24 * 60
POLICY_VIOLATION: Final = 1008


@router.websocket("/v1/agents/connect")
async def connect_agent(line: WebSocket) -> None:
    site: Site = line.app.state.site
    token = line.headers.get("authorization", "").removeprefix("Bearer ")
    try:
        cluster_id, fresh = await run_sync(agents.admitted, site.context, token)
    except Unauthenticated:
        await line.close(POLICY_VIOLATION)  # before it is accepted: the agent is answered 403
        return
    await line.accept()
    watching: list[asyncio.Task[None]] = []

    def watch(tunnel: Tunnel) -> None:
        watching.append(asyncio.ensure_future(_watch(site, line, tunnel, fresh)))

    try:
        with suppress(ConnectionError):
            await site.hub.serve(cluster_id, _Wire(line), watch)
    finally:
        for task in watching:
            task.cancel()
        with suppress(RuntimeError):  # closed already
            await line.close()


async def _watch(site: Site, line: WebSocket, tunnel: Tunnel, token: str) -> None:
    """Hands over a fresh token at once and every day, and hangs up when the cluster was detached."""
    looks = 0
    while True:
        try:
            _, fresh = await run_sync(agents.admitted, site.context, token)
        except Unauthenticated:
            await line.close(POLICY_VIOLATION)
            return
        if looks % LOOKS_PER_TOKEN == 0:
            token = fresh
            await tunnel.hand_over(token)
        looks += 1
        await asyncio.sleep(LOOK_SECONDS)


class _Wire:
    def __init__(self, line: WebSocket) -> None:
        self._line = line

    async def send(self, message: bytes) -> None:
        try:
            await self._line.send_bytes(message)
        except (WebSocketDisconnect, RuntimeError) as end:
            raise ConnectionResetError("the agent has gone") from end

    async def receive(self) -> bytes:
        try:
            return await self._line.receive_bytes()
        except (WebSocketDisconnect, RuntimeError, KeyError) as end:
            raise ConnectionResetError("the agent has gone") from end
