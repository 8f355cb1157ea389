"""Outlets: where a rank's records go, and where it hears that it is to stop."""

import json
import signal
import threading
from pathlib import Path
from typing import Protocol

from ..board import Record


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
