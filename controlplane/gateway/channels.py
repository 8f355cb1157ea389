"""Channels: the gRPC connections to replicas, one each, kept as long as the replica may be asked."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from grpc import aio

from controlplane.domain.ids import AttemptId
from controlplane.domain.traffic import Backend

GRACE_SECONDS: Final = 600.0
"""Calls under way may end on a channel that gets no new ones."""

MOST_BYTES: Final = 64 * 1024 * 1024


@dataclass(slots=True)
class Channels:
    """Lives in one event loop."""

    _open: dict[AttemptId, tuple[Backend, aio.Channel]] = field(default_factory=dict)
    _closing: set[asyncio.Task[Any]] = field(default_factory=set)  # what `close` returns is nobody's business

    @property
    def open(self) -> frozenset[AttemptId]:
        return frozenset(self._open)

    def channel(self, backend: Backend) -> aio.Channel:
        known = self._open.get(backend.attempt_id)
        if known is not None and known[0] == backend:
            return known[1]
        channel = _dialled(backend)
        if known is not None:
            self._close(known[1])
        self._open[backend.attempt_id] = backend, channel
        return channel

    def forget_but(self, attempt_ids: Collection[AttemptId]) -> None:
        for gone in self._open.keys() - set(attempt_ids):
            self._close(self._open.pop(gone)[1])

    async def close(self) -> None:
        for _, channel in self._open.values():
            await channel.close()
        for task in self._closing:
            task.cancel()
        self._open.clear()

    def _close(self, channel: aio.Channel) -> None:
        task = asyncio.ensure_future(channel.close(GRACE_SECONDS))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _dialled(backend: Backend) -> aio.Channel:
    """Retries are the gateway's, not the library's."""
    options: list[tuple[str, str | int]] = [
        ("grpc.enable_retries", 0),
        ("grpc.max_receive_message_length", MOST_BYTES),
        ("grpc.max_send_message_length", MOST_BYTES),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2000),
    ]
    if backend.proxy_url is None:
        options.append(("grpc.enable_http_proxy", 0))
    else:
        options.append(("grpc.http_proxy", backend.proxy_url))
    if backend.server_name is not None:
        options.append(("grpc.ssl_target_name_override", backend.server_name))
    if backend.ca_pem is None:
        return aio.insecure_channel(backend.grpc or "", options)
    credentials = grpc.ssl_channel_credentials(backend.ca_pem.encode())
    return aio.secure_channel(backend.grpc or "", credentials, options)
