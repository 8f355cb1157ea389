"""Time of the world: passes only when told to, and carries out what falls due on the way."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import Final

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOON_US: Final = int(NOON.timestamp()) * 1_000_000


class Timeline:
    def __init__(self) -> None:
        self.now_us = NOON_US
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._entries = 0

    @property
    def now(self) -> datetime:
        return NOON + timedelta(microseconds=self.now_us - NOON_US)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return (self.now_us - NOON_US) / 1e6

    def after(self, seconds: float, deed: Callable[[], None]) -> None:
        """Done once that much time has passed; deeds of one moment in the order in which they were put down."""
        self._entries += 1
        heappush(self._agenda, (self.now_us + max(1, round(seconds * 1e6)), self._entries, deed))

    def pass_seconds(self, seconds: float) -> None:
        until_us = self.now_us + round(seconds * 1e6)
        while self._agenda and self._agenda[0][0] <= until_us:
            due_us, _, deed = heappop(self._agenda)
            self.now_us = max(self.now_us, due_us)
            deed()
        self.now_us = max(self.now_us, until_us)

    @property
    def next_in_seconds(self) -> float | None:
        """Until the next deed falls due."""
        return max(0, self._agenda[0][0] - self.now_us) / 1e6 if self._agenda else None
