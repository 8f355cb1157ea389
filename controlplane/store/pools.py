"""Pools: open connections that are kept for the next reader or writer, and a limit to how many there are."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from controlplane.domain.errors import Unavailable


class Closable(Protocol):
    @property
    def usable(self) -> bool:
        """False once its transaction may be unfinished or the other side is gone."""

    def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


class Pool(Generic[C]):
    def __init__(self, connect: Callable[[], C], *, most: int, most_idle: int, wait_seconds: float) -> None:
        """`most_idle` are kept open for the next one: each costs memory, opening one costs time."""
        self._connect = connect
        self._most = most
        self._most_idle = most_idle
        self._wait_seconds = wait_seconds
        self._places = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._idle: list[C] = []
        self._is_closed = False

    @contextmanager
    def lend(self) -> Iterator[C]:
        """The one used last comes first: its caches are warm."""
        if not self._places.acquire(timeout=self._wait_seconds):
            raise Unavailable(f"all {self._most} database connections are busy for {self._wait_seconds} s")
        try:
            connection = self._take() or self._connect()
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._places.release()

    def drop_idle(self) -> None:
        """One of them was found dead, so the others are likely to be."""
        with self._lock:
            dropped, self._idle = self._idle, []
        for connection in dropped:
            connection.close()

    def close(self) -> None:
        """Those on loan are closed when they come back."""
        self._is_closed = True
        self.drop_idle()

    def _take(self) -> C | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _give_back(self, connection: C) -> None:
        with self._lock:
            keeps = connection.usable and not self._is_closed and len(self._idle) < self._most_idle
            if keeps:
                self._idle.append(connection)
        if not keeps:
            connection.close()
