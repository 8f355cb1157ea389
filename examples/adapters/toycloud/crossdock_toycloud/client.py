"""ToyCloud's raw API, and the one table from its refusals to Crossdock's errors."""

from collections.abc import Mapping
from typing import Any, Final

import httpx

from cloud_adapters import dialling
from cloud_adapters.base import (
    Ambiguous,
    AuthFailed,
    Endpoint,
    NoCapacity,
    PluginError,
    QuotaExceeded,
    Rejected,
    Throttled,
    Transient,
)

# `Any`: JSON, as the provider documents it.
Json = Mapping[str, Any]

REFUSALS: Final[Mapping[str, type[PluginError]]] = {
    "bad_key": AuthFailed,
    "no_such_type": Rejected,
    "other_order": Rejected,
    "over_quota": QuotaExceeded,
    "sold_out": NoCapacity,
}
"""ToyCloud's own words. Any other 4xx is `Rejected`; any 5xx is like no answer."""

BUSY: Final = 429
GONE: Final = 404


class ToyClient:
    """Kept alive; safe for threads. Repeats nothing: the control plane's loops do."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._http = dialling.client(endpoint)

    def close(self) -> None:
        self._http.close()

    def types(self, *, deadline: float) -> list[Json]:
        return self._items("/types", {}, deadline)

    def machines(self, cluster_id: str, *, deadline: float) -> list[Json]:
        return self._items("/machines", {"cluster": cluster_id}, deadline)

    def nodes(self, *, deadline: float) -> list[Json]:
        return self._items("/nodes", {}, deadline)

    def session(self, *, deadline: float) -> str:
        return str(self._call("GET", "/session", deadline)["session"])

    def order(self, order_id: str, body: Json, *, deadline: float) -> list[Json]:
        """Buys. No answer means that it may have happened."""
        answer = self._call("PUT", f"/orders/{order_id}", deadline, body=body, lost=Ambiguous)
        return list(answer["items"])

    def end(self, name: str, *, deadline: float) -> None:
        """A machine that is gone already is fine."""
        self._call("DELETE", f"/machines/{name}", deadline)

    def _items(self, path: str, params: Mapping[str, str], deadline: float) -> list[Json]:
        return list(self._call("GET", path, deadline, params=params)["items"])

    def _call(
        self,
        method: str,
        path: str,
        deadline: float,
        *,
        params: Mapping[str, str] | None = None,
        body: Json | None = None,
        lost: type[PluginError] = Transient,
    ) -> Json:
        what = f"{method} {path}"
        try:
            answer = self._http.request(method, path, params=params, json=body, timeout=deadline)
        except httpx.ConnectError as problem:  # nothing was sent
            raise Transient(f"{what}: toycloud does not answer: {problem}") from problem
        except httpx.HTTPError as problem:
            raise lost(f"{what}: no answer: {type(problem).__name__}") from problem
        if answer.is_server_error:
            raise lost(f"{what}: toycloud answered {answer.status_code}")
        if answer.is_error and not (method == "DELETE" and answer.status_code == GONE):
            raise _refusal(what, answer)
        found: Json = answer.json() if answer.content else {}
        return found


def _refusal(what: str, answer: httpx.Response) -> PluginError:
    if answer.status_code == BUSY:
        wait = float(answer.headers.get("Retry-After", "1"))
        return Throttled(f"{what}: too many calls", retry_after_seconds=wait)
    problem = answer.json()
    return REFUSALS.get(problem["error"], Rejected)(f"{what}: {problem['detail']}")
