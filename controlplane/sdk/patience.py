"""How long to go on trying, and how long to pause in between."""

import random
import time
from typing import Final

from controlplane.sdk.errors import Unreachable

FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 2.0
LONGEST_OBEYED_SECONDS: Final = 30.0
"""A server that asks for a longer pause is asked again earlier."""


class Patience:
    """Paces the tries of one thing. Its time runs from the first failure after a success."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self.reset()

    def reset(self) -> None:
        """It went well."""
        self.found()
        self._pause_seconds = FIRST_PAUSE_SECONDS

    def found(self) -> None:
        """The server is there. Whether it has something to say is open, so pauses stay as long as they are."""
        self._ends_at: float | None = None

    def pause(self, failure: Unreachable) -> None:
        """Waits before the next try; raises `failure` when there shall be none."""
        now = time.monotonic()
        self._ends_at = now + self._patience_seconds if self._ends_at is None else self._ends_at
        left = self._ends_at - now
        if left <= 0:
            raise failure
        # Scattered, so that clients which lost the same server do not come back in one instant.
        scattered = self._pause_seconds * random.SystemRandom().uniform(0.5, 1.0)
        asked = min(failure.retry_after_seconds, LONGEST_OBEYED_SECONDS)
        time.sleep(min(max(scattered, asked), left))
        self._pause_seconds = min(self._pause_seconds * 2, LONGEST_PAUSE_SECONDS)
