"""Alarms: which loops have something to do. One look at the work list for all of them, after every commit.

There are a dozen loops, and nearly every commit concerns one or two of them: looking each for itself, the others would
take most of the processor.
"""

import logging
import threading
from collections.abc import Mapping
from typing import Final

from controlplane.domain.errors import Unavailable
from controlplane.runtime.bell import Bell
from controlplane.store import Store

IDLE_SECONDS: Final = 1.0
"""Longest wait without looking."""

log = logging.getLogger(__name__)


class Alarm:
    """Wakes one loop. Rung while nobody waits, it wakes whoever waits next; who waits first is woken at once."""

    __slots__ = ("_rung",)

    def __init__(self) -> None:
        self._rung = threading.Event()
        self._rung.set()

    def ring(self) -> None:
        self._rung.set()

    def wait(self, timeout_seconds: float) -> None:
        """Whoever looks afterwards sees all that it was rung for."""
        self._rung.wait(timeout_seconds)
        self._rung.clear()


class Alarms:
    """Rings each noun's alarm when something of it is due, and all of them when everything stops."""

    def __init__(self, alarms: Mapping[str, Alarm], *, store: Store, bell: Bell) -> None:
        self._alarms = alarms
        self._store = store
        self._bell = bell

    def run(self) -> None:
        heard, seconds = -1, 0.0
        while not self._bell.is_stopping:
            heard = self._bell.wait(heard, seconds)
            seconds = self.look()
        for alarm in self._alarms.values():
            alarm.ring()

    def look(self) -> float:
        """Rings for what is due; for how many seconds nothing more will be, unless something is committed."""
        try:
            with self._store.read() as tx:
                dues = tx.work.dues(tuple(self._alarms))
                waits = {noun: (at - tx.now).total_seconds() for noun, at in dues.items()}
        except Unavailable as away:
            log.warning("store.away", extra={"problem": away.message})
            return IDLE_SECONDS
        for noun, seconds in waits.items():
            if seconds <= 0:
                self._alarms[noun].ring()
        # What is due already waits for its loop, which tells by a commit when it has taken it.
        return min(
            (seconds for seconds in waits.values() if 0 < seconds < IDLE_SECONDS), default=IDLE_SECONDS
        )
