"""Pacing: a bulk writer leaves a database that takes one writer at a time to others for as long as it held it."""

import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Pace(Protocol):
    """Of all bulk writers of one process."""

    def write(self, deed: Callable[[], T]) -> T:
        """Does one bounded write when it is its turn."""


class AtOnce:
    """Where writers do not stand in each other's way."""

    def write(self, deed: Callable[[], T]) -> T:
        return deed()


class InTurns:
    """One write at a time, and after each a pause as long as it took.

    Without the pause writers of other processes starve: they try for the lock now and then, and meet it held.
    What a writer does for itself between two writes counts as its pause.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Both in seconds."""
        self._clock = clock
        self._sleep = sleep
        self._turn = threading.Lock()
        self._pause_ends_at = 0.0

    def write(self, deed: Callable[[], T]) -> T:
        with self._turn:
            began_at = self._clock()
            if began_at < self._pause_ends_at:
                self._sleep(self._pause_ends_at - began_at)
                began_at = self._clock()
            try:
                return deed()
            finally:
                ended_at = self._clock()
                self._pause_ends_at = ended_at + (ended_at - began_at)
