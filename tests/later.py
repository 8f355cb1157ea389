"""Runs a role of the server by a clock that a test sets ahead: `python -m tests.later ROLE`.

What takes minutes because lists of clouds lag takes a moment then. Everything that counts in seconds goes on as it was,
so nobody who holds a lease should be about when the clock is set.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from cloud_adapters.alibaba.adapter import AlibabaAdapter
from cloud_adapters.aws.adapter import AwsAdapter
from cloud_adapters.base import Lends
from controlplane import bootstrap
from controlplane.admin import processes
from controlplane.store import Store

AHEAD = "ahead"
"""A file in the server's home: how many seconds its clock is ahead. Absent: none."""


class Clock:
    def __init__(self, home: Path) -> None:
        self._file = home / AHEAD

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_seconds)

    @property
    def ahead_seconds(self) -> float:
        return float(self._file.read_text()) if self._file.exists() else 0.0

    def skip(self, seconds: float) -> None:
        """Whole or not at all: others read it at any time."""
        written = self._file.with_suffix(".new")
        written.write_text(str(self.ahead_seconds + seconds))
        written.replace(self._file)


def set_ahead() -> None:
    clock = Clock(Path(os.environ["CROSSDOCK_HOME"]))
    installed = bootstrap.adapters()

    def adapters() -> Mapping[str, Lends]:
        return {**installed, "aws": AwsAdapter(now=clock), "alibaba": AlibabaAdapter(now=clock)}

    bootstrap.adapters = adapters
    Store.open = partial(Store.open, now=clock)  # type: ignore[method-assign]


if __name__ == "__main__":
    set_ahead()
    processes.main()
