"""Pacing: how the writes of whoever writes in bulk follow each other, beside those of everybody else."""

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
    """In the calling thread, which waits for it.

    For a database that takes one writer at a time: with two threads at work in one interpreter each row would wait for
    its turn to run, and the file with it. Its writers take turns below this (store/turnstiles.py).
    """

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
