"""Rates: how many requests a second each caller may make of a service."""

from typing import Final

MOST_CALLERS: Final = 10_000


class Rates:
    """A bucket of tokens per caller: a second's worth, at least one. Times are seconds of a steady clock."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_seconds(self, caller: str, per_second: float, now: float) -> float:
        """Takes one request from the caller's bucket; 0 if there was one, else how long until there is."""
        most = max(1.0, per_second)
        saved, since = self._buckets.get(caller, (most, now))
        saved = min(most, saved + (now - since) * per_second)
        if saved < 1:
            return (1 - saved) / per_second
        if caller not in self._buckets and len(self._buckets) >= MOST_CALLERS:
            self._forget(per_second, now)
        self._buckets[caller] = (saved - 1, now)
        return 0.0

    def _forget(self, per_second: float, now: float) -> None:
        """A bucket that is full again says nothing; where none is, the oldest goes."""
        most = max(1.0, per_second)
        full = [
            name for name, (saved, at) in self._buckets.items() if saved + (now - at) * per_second >= most
        ]
        for name in full or [min(self._buckets, key=lambda each: self._buckets[each][1])]:
            del self._buckets[name]
