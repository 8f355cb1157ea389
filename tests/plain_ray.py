"""A Ray cluster without us between: what Ray's own tools and programs see of it, and what they hold there."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx

from cloud_adapters.base import Endpoint

ASK_SECONDS: Final = 60.0
RETURN_SECONDS: Final = 60.0
MOST_ROWS: Final = 10_000
PAUSE_SECONDS: Final = 0.2
HOLDERS: Final = {
    "actors": ("actor_id", "class_name", frozenset({"DEAD"})),
    "placement_groups": ("placement_group_id", "name", frozenset({"REMOVED"})),
}
"""What takes resources: its id, its name, and the states in which it no longer does."""

JOB_ENDS: Final = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})

Row = dict[str, Any]  # JSON, as Ray tells it


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainRay:
    address: str
    """`host:port` of its GCS, as RAY_ADDRESS takes it."""

    endpoint: Endpoint
    http: httpx.Client
    """To the dashboard, with the token."""

    @classmethod
    @contextmanager
    def connected(cls, address: str, endpoint: Endpoint) -> Iterator[Self]:
        token = {"Authorization": f"Bearer {endpoint.token}"}
        with httpx.Client(base_url=endpoint.url, headers=token, timeout=ASK_SECONDS, trust_env=False) as http:
            yield cls(address=address, endpoint=endpoint, http=http)

    @property
    def environment(self) -> dict[str, str]:
        """Lets a program join the cluster as a driver."""
        return {
            "RAY_ADDRESS": self.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.endpoint.token or "",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def rows(self, kind: str) -> list[Row]:
        asked = {"detail": "1", "limit": str(MOST_ROWS)}
        answer = self.http.get(f"/api/v0/{kind}", params=asked).raise_for_status().json()
        rows: list[Row] = answer["data"]["result"]["result"]
        return rows

    def node_ids(self) -> tuple[str, ...]:
        """Of the nodes that are not the head, in order of their addresses."""
        nodes = sorted(self.rows("nodes"), key=lambda node: str(node["node_ip"]))
        return tuple(
            node["node_id"] for node in nodes if node["state"] == "ALIVE" and not node["is_head_node"]
        )

    @contextmanager
    def returned(self) -> Iterator[None]:
        """Fails unless all that is taken meanwhile is given back soon after."""
        before = self._held()
        yield
        until(lambda: not self._held() - before, RETURN_SECONDS, lambda: f"kept: {self._held() - before}")

    def _held(self) -> set[tuple[str, str, str]]:
        jobs = self.http.get("/api/jobs/").raise_for_status().json()
        return {
            (kind, str(row[name]), str(row[key]))
            for kind, (key, name, ends) in HOLDERS.items()
            for row in self.rows(kind)
            if row["state"] not in ends
        } | {
            ("jobs", job["type"], str(job["submission_id"] or job["job_id"]))
            for job in jobs
            if job["status"] not in JOB_ENDS
        }


def until(look: Callable[[], Any], seconds: float, otherwise: Callable[[], str]) -> Any:  # noqa: ANN401 - what `look` found
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s; {otherwise()}"
        time.sleep(PAUSE_SECONDS)  # poll
    return found
