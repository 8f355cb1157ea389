"""Budgets: how often one cloud account is called, whoever of the loops calls it.

A token bucket for each cluster. A cloud that says it is busy is left alone by all, for as long as it asked.
"""

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

NO_WAIT: Final = timedelta()


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: datetime
    busy_until: datetime | None = None


class Budgets:
    """Shared by the loops' threads. Time is the caller's, so that a simulated world has the same budgets."""

    def __init__(self, *, calls_per_second: float, burst: int) -> None:
        self._rate = calls_per_second
        self._burst = burst
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def take(self, cluster_id: str, now: datetime) -> timedelta:
        """Zero: the call may be made, and is counted. Else how long to wait before asking again."""
        with self._lock:
            bucket = self._buckets.setdefault(cluster_id, _Bucket(tokens=self._burst, filled_at=now))
            if bucket.busy_until is not None and now < bucket.busy_until:
                return bucket.busy_until - now
            passed = max(0.0, (now - bucket.filled_at).total_seconds())
            bucket.tokens = min(float(self._burst), bucket.tokens + passed * self._rate)
            bucket.filled_at = max(bucket.filled_at, now)
            if bucket.tokens < 1:
                return timedelta(seconds=(1 - bucket.tokens) / self._rate)
            bucket.tokens -= 1
            return NO_WAIT

    def rest(self, cluster_id: str, until: datetime) -> None:
        """The cloud asked to be left alone until then."""
        with self._lock:
            bucket = self._buckets.get(cluster_id)
            if bucket is not None and (bucket.busy_until is None or bucket.busy_until < until):
                bucket.busy_until = until
