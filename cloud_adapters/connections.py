"""Connections: one for each endpoint that is dialled, closed when nobody has used it for some minutes.

Every Ray cluster that is built or bought has an address and a token of its own, and ends without a word to whoever
dialled it: what is only added to ends in "too many open files".
"""

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Final, Generic, Protocol, TypeVar

from cloud_adapters.base import Endpoint

IDLE_SECONDS: Final = 300.0


class Closes(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=Closes)


@dataclass(slots=True)
class _Kept(Generic[C]):
    connection: C
    used_at: float = 0.0
    users: int = 0


class Connections(Generic[C]):
    """Safe for threads: what one of them uses, none closes."""

    def __init__(
        self, dialled: Callable[[Endpoint], C], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._dialled = dialled
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: dict[Endpoint, _Kept[C]] = {}
        """The one that was lent last is the last."""

        # Not every holder has an end of its own: connections end with whoever holds them.
        weakref.finalize(self, _close, self._kept)

    @contextmanager
    def lent(self, endpoint: Endpoint) -> Iterator[C]:
        """Raises what dialling it raises."""
        for idle in self._idle():
            idle.close()
        key = replace(endpoint, session=None, gpu_resource="")
        with self._lock:
            kept = self._kept.pop(key, None) or _Kept(self._dialled(endpoint))
            self._kept[key] = kept
            kept.users, kept.used_at = kept.users + 1, self._monotonic()
        try:
            yield kept.connection
        finally:
            with self._lock:
                kept.users, kept.used_at = kept.users - 1, self._monotonic()

    def close(self) -> None:
        """All of them, whoever uses one: for the end of a process."""
        with self._lock:
            _close(self._kept)

    def _idle(self) -> list[C]:
        """Takes them out. What is under way is in use, however long it takes."""
        now = self._monotonic()
        with self._lock:
            old = takewhile(lambda each: now - each[1].used_at > IDLE_SECONDS, self._kept.items())
            return [self._kept.pop(key).connection for key, each in list(old) if not each.users]


def _close(kept: dict[Endpoint, _Kept[C]]) -> None:
    while kept:
        kept.popitem()[1].connection.close()
