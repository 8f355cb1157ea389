"""Outlets: where a rank's records go, and where it hears that it is to stop."""

import json
import math
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from ..board import Record

ASK_EVERY_SECONDS: Final = 0.2


class Outlet(Protocol):
    def begin_step(self) -> bool:
        """Whether this rank was told to stop. It is enough that one of them was."""

    def post(self, record: Record) -> None: ...

    @property
    def place(self) -> str:
        """Where this rank is, for the log."""


class ProcessOutlet:
    """Of a rank that is a process of its own, which hears signals and writes its own records."""

    def __init__(self, records: Path | None, *, place: str) -> None:
        self.place = place
        self._records = records
        self._stopping = threading.Event()
        self.hear()

    def hear(self) -> None:
        """Signals; to be said again after a library has taken them for itself."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())

    def begin_step(self) -> bool:
        return self._stopping.is_set()

    def post(self, record: Record) -> None:
        if "message" in record:
            print(record["message"], flush=True)
        if self._records is not None:
            with self._records.open("a", encoding="utf-8") as records:
                records.write(json.dumps(record) + "\n")


class BoardCalls(Protocol):
    """What a rank asks of its driver's `Board`, wherever that is."""

    def begin_step(self, *measured: Record) -> bool: ...

    def post(self, *records: Record) -> None: ...


class BoardOutlet:
    """Of a rank that signals do not reach: the driver's board speaks for all.

    A call to the board takes as long as a small step, so it is not made in each: what was measured waits for the
    next call.
    """

    def __init__(
        self, board: BoardCalls, *, asks: bool, place: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        """One rank asks: ranks that each asked for themselves could hear different answers in one step."""
        self.place = place
        self._board, self._asks, self._now = board, asks, now
        self._measured: tuple[Record, ...] = ()
        self._asked_at = -math.inf
        self._stopping = False

    def begin_step(self) -> bool:
        if self._asks and self._now() - self._asked_at >= ASK_EVERY_SECONDS:
            self._asked_at = self._now()
            self._stopping = self._board.begin_step(*self._measured)
            self._measured = ()
        return self._stopping

    def post(self, record: Record) -> None:
        """What is more than a measurement is on the board when this returns, behind all that was measured before."""
        self._measured += (record,)
        if record["kind"] != "metric":
            self.close()

    def close(self) -> None:
        """Hands on what was measured last."""
        if self._measured:
            self._board.post(*self._measured)
            self._measured = ()
