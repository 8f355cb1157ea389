"""The bell: wakes waiting loops when anything was committed, by this process or another."""

import threading
from collections.abc import Callable

from controlplane.domain.errors import Unavailable

CHECK_SECONDS = 0.02
AWAY_SECONDS = 0.5


class Bell:
    """One thread asks the store cheaply whether something changed; loops wait on the answer, not on the database."""

    def __init__(self, change_marker: Callable[[], object]) -> None:
        self._change_marker = change_marker
        self._condition = threading.Condition()
        self._count = 0
        self._stopping = threading.Event()

    def ring(self) -> None:
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def wait(self, heard: int, timeout_seconds: float) -> int:
        """Returns at once when it rang since `heard`; the answer is the next `heard`."""
        with self._condition:
            self._condition.wait_for(lambda: self._count != heard or self._stopping.is_set(), timeout_seconds)
            return self._count

    def run(self) -> None:
        marker: object = None
        while not self._stopping.is_set():
            try:
                latest = self._change_marker()
            except Unavailable:
                self._stopping.wait(AWAY_SECONDS)
                continue
            if latest != marker:
                marker = latest
                self.ring()
            self._stopping.wait(CHECK_SECONDS)

    def sleep(self, seconds: float) -> None:
        """Sleeps until the time is up or everything stops; rings do not wake it."""
        self._stopping.wait(seconds)

    def stop(self) -> None:
        self._stopping.set()
        self.ring()

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()
