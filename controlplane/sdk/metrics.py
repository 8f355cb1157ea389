"""Metrics while they come in."""

from controlplane.sdk.transport import Params, Transport, parse
from controlplane.wire.base import Page
from controlplane.wire.jobs import MetricPoint


class MetricTail:
    """Reads what was not there at the last call, and asks again for the last page alone."""

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = path
        self._after: str | None = None
        self._seen = 0

    def read(self) -> list[MetricPoint]:
        """New points, in the server's order."""
        found: list[MetricPoint] = []
        while True:
            params: Params = {"after": self._after}
            page = parse(Page[MetricPoint], self._transport.get(self._path, params=params))
            found.extend(page.items[self._seen :])
            self._seen = len(page.items)
            if page.next is None:
                return found
            self._after, self._seen = page.next, 0
