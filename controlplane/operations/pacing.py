"""Pacing: how the writes of whoever writes in bulk follow each other, beside those of everybody else."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

T = TypeVar("T")

MOST_WRITES_AT_ONCE: Final = 2
"""Of all bulk writers of a process."""


class Pace(Protocol):
    """Of all bulk writers of one process."""

    def write(self, deed: Callable[[], T]) -> Future[T]:
        """Does one bounded write when it is its turn, while the caller makes the next one ready."""


class Inline:
    """In the calling thread, which waits for it: for tests and simulations."""

    def write(self, deed: Callable[[], T]) -> Future[T]:
        done: Future[T] = Future()
        done.set_result(deed())
        return done


class AtOnce:
    """In threads of its own, where writers do not stand in each other's way."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(MOST_WRITES_AT_ONCE, thread_name_prefix="bulk-writer")

    def write(self, deed: Callable[[], T]) -> Future[T]:
        return self._threads.submit(deed)


class InTurns:
    """One at a time in the calling thread, each as long after the one before as that took.

    A database that takes one writer at a time is then free for at least half of the time. Without these pauses
    writers of other processes starve: they try for the lock now and then, and meet it held. What a caller does between
    two writes counts as a pause. It does nothing during them: with two threads at work in one interpreter each row
    would wait for its turn to run, and the lock with it.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Both in seconds."""
        self._clock = clock
        self._sleep = sleep
        self._turn = threading.Lock()
        self._pause_ends_at = 0.0

    def write(self, deed: Callable[[], T]) -> Future[T]:
        with self._turn:
            began_at = self._clock()
            if began_at < self._pause_ends_at:
                self._sleep(self._pause_ends_at - began_at)
                began_at = self._clock()
            try:
                return Inline().write(deed)
            finally:
                ended_at = self._clock()
                self._pause_ends_at = ended_at + (ended_at - began_at)
