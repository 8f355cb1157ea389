"""Reads a Ray cluster's inventory from its dashboard over HTTP; the one place that knows its addresses and errors."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypedDict, cast

import httpx

from cloud_adapters import dialling
from cloud_adapters.base import (
    AuthFailed,
    Endpoint,
    Inventory,
    PluginError,
    Rejected,
    Throttled,
    Transient,
)
from cloud_adapters.connections import Connections
from cloud_adapters.ray_nodes import NodeRow, machines

MOST_NODES: Final = 10_000
"""Ray's own limit on a listing."""

UNREACHED: Final = (
    httpx.TimeoutException,
    httpx.NetworkError,
    httpx.ProxyError,  # its tunnel's far end is not there
    httpx.RemoteProtocolError,
)
THROTTLED_SECONDS: Final = 1.0
"""When the answer does not say how long."""


class Listing(TypedDict):
    """The inner part of `/api/v0/nodes`."""

    total: int
    num_after_truncation: int
    result: list[NodeRow]
    partial_failure_warning: str | None


class RayState:
    """Keeps one connection pool per endpoint for as long as it is used; has no other state: any thread may call."""

    def __init__(
        self,
        *,
        transport: httpx.BaseTransport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = Connections(partial(dialling.client, transport=transport), monotonic=monotonic)

    def inventory(self, endpoint: Endpoint, *, deadline: float) -> Inventory:
        until = time.monotonic() + deadline
        version = self._get(endpoint, "/api/version", {}, until)
        listing = self._get(endpoint, "/api/v0/nodes", {"detail": "1", "limit": str(MOST_NODES)}, until)
        summary = self._get(endpoint, "/nodes", {"view": "summary"}, until)
        try:
            session = cast("str", version["session_name"])
            listed = cast("Listing", cast("Mapping[str, Mapping[str, object]]", listing)["data"]["result"])
            booked = cast("Mapping[str, Mapping[str, str]]", summary)["data"]["nodeLogicalResources"]
            return Inventory(
                machines=machines(
                    listed["result"], cast("Mapping[str, str]", booked), gpu_resource=endpoint.gpu_resource
                ),
                complete=_is_whole(listed),
                session=session,
            )
        except (KeyError, TypeError, AttributeError) as problem:
            raise Rejected(f"{endpoint.url} does not answer like Ray's state API: {problem!r}") from problem

    def _get(
        self, endpoint: Endpoint, path: str, params: Mapping[str, str], until: float
    ) -> Mapping[str, object]:
        remaining = until - time.monotonic()
        if remaining <= 0:
            raise Transient(f"{endpoint.url} did not answer in time")
        try:
            with self._clients.lent(endpoint) as client:
                answer = client.get(path, params=params, timeout=remaining)
        except UNREACHED as problem:
            raise Transient(f"{endpoint.url} did not answer: {type(problem).__name__} {problem}") from problem
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            raise Rejected(f"{endpoint.url} cannot be asked: {problem}") from problem
        if answer.status_code != httpx.codes.OK:
            raise refusal(endpoint.url, answer)
        return _json(endpoint.url, answer)


def refusal(url: str, answer: httpx.Response) -> PluginError:
    """The error table: what an answer other than 200 means."""
    said = f"{url} answered {answer.status_code}"
    match answer.status_code:
        case 401 | 403:
            return AuthFailed(f"{said}: the token was refused")
        case 429:
            return Throttled(said, retry_after_seconds=_retry_after_seconds(answer))
        case code if code >= httpx.codes.INTERNAL_SERVER_ERROR:
            return Transient(said)
        case _:
            return Rejected(said)


def _retry_after_seconds(answer: httpx.Response) -> float:
    try:
        return max(0.0, float(answer.headers["Retry-After"]))
    except (KeyError, ValueError):
        return THROTTLED_SECONDS


def _is_whole(listed: Listing) -> bool:
    return listed["num_after_truncation"] >= listed["total"] and not listed["partial_failure_warning"]


def _json(url: str, answer: httpx.Response) -> Mapping[str, object]:
    try:
        body = answer.json()
    except ValueError as problem:
        raise Rejected(f"{url} does not answer like Ray's dashboard: {problem}") from problem
    if not isinstance(body, dict):
        raise Rejected(f"{url} does not answer like Ray's dashboard: {type(body).__name__}")
    return body
