"""A limit on bytes a second that several threads share."""

import threading
from collections.abc import Callable


class Pace:
    """A token bucket that holds one second's worth: short bursts pass, the average does not exceed the limit."""

    def __init__(
        self, bytes_per_second: int | None, *, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        """`clock` tells seconds and never goes back. None: no limit."""
        self._rate = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._paid_until = clock()

    def take(self, size_bytes: int) -> None:
        """Returns when that many bytes more may pass."""
        if self._rate is None:
            return
        with self._lock:
            now = self._clock()
            self._paid_until = max(self._paid_until, now - 1.0) + size_bytes / self._rate
            wait_seconds = self._paid_until - now
        if wait_seconds > 0:
            self._sleep(wait_seconds)
