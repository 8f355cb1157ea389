"""Metrics while they come in."""

from controlplane.sdk.transport import Params, Transport, parse
from controlplane.wire.base import Page
from controlplane.wire.jobs import MetricPoint

Place = tuple[str, int, int]
"""Attempt, rank, seq: what makes a point one of its kind."""


class MetricTail:
    """Reads what was not there at the last call, and asks again for the last page alone.

    Points are ordered by attempt and rank: what an earlier rank adds to a page that is already full is not seen.
    """

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = path
        self._after: str | None = None
        self._seen: frozenset[Place] = frozenset()

    def read(self) -> list[MetricPoint]:
        """New points, in the server's order."""
        found: list[MetricPoint] = []
        while True:
            params: Params = {"after": self._after}
            page = parse(Page[MetricPoint], self._transport.get(self._path, params=params))
            found.extend(point for point in page.items if _place(point) not in self._seen)
            self._seen = frozenset(map(_place, page.items))
            if page.next is None:
                return found
            self._after, self._seen = page.next, frozenset()


def _place(point: MetricPoint) -> Place:
    return point.attempt_id, point.rank, point.seq
