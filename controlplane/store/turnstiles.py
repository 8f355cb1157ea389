"""Turnstiles: the writers of several processes take turns at one SQLite file.

SQLite has no queue. Who finds the file locked looks again now and then, longer and longer apart, while a busy writer
lets go of it for no more than a moment: the others would starve. So who has written gives way to who waits.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from typing import Final

LOOK_SECONDS: Final = 0.001
"""Between two looks at a file that is locked."""


class Turnstile:
    """Of one writer. Who waits holds a lock of the operating system, shared with all who wait; it ends with them."""

    def __init__(
        self,
        path: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`path`: a file that only shows who waits; made when somebody first does. Time is in seconds."""
        self._path = path
        self._clock = clock
        self._sleep = sleep
        self._descriptor: int | None = None

    def pass_through(self, try_once: Callable[[], bool], timeout_seconds: float) -> bool:
        """Tries until it succeeds, in sight of who holds up the others. False: not in time."""
        if try_once():
            return True
        ends_at = self._clock() + timeout_seconds
        with self._waiting():
            while self._clock() < ends_at:
                self._sleep(LOOK_SECONDS)
                if try_once():
                    return True
        return False

    def give_way(self, at_most_seconds: float) -> None:
        """Returns when nobody waits, or after that time."""
        ends_at = self._clock() + at_most_seconds
        while self._somebody_waits() and self._clock() < ends_at:
            self._sleep(LOOK_SECONDS)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        descriptor = self._opened(os.O_CREAT)
        # Where it cannot be locked it is unseen, but waiting all the same.
        if descriptor is not None:
            with contextlib.suppress(OSError):
                # Somebody who looks whether anybody waits holds it for himself, for an instant.
                fcntl.flock(descriptor, fcntl.LOCK_SH)
        try:
            yield
        finally:
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _somebody_waits(self) -> bool:
        descriptor = self._opened(0)
        if descriptor is None:
            return False  # nobody ever did
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        except BlockingIOError:
            return True
        except OSError:
            return False  # nobody could be seen here
        return False

    def _opened(self, flags: int) -> int | None:
        if self._descriptor is None:
            with contextlib.suppress(OSError):
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
        return self._descriptor
