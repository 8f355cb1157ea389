"""Starts the loops again and again without importing them each time: forks off one for each line that it reads.

Each is a process of its own that a test may kill, by the clock of `tests.later`. Prints its number.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Final

from controlplane.admin import processes
from controlplane.admin.server import environment_of
from controlplane.settings import Settings
from tests import later

EARLY: Final = ("controlplane.runtime.process", "boto3", "alibabacloud_ecs20140526.client")


class Forge:
    """At most one of its loops lives at a time."""

    def __init__(self, smith: "subprocess.Popen[str]") -> None:
        self._smith = smith
        self._pid: int | None = None

    def start(self) -> None:
        assert self._smith.stdin is not None
        assert self._smith.stdout is not None
        self._smith.stdin.write("\n")
        self._smith.stdin.flush()
        self._pid = int(self._smith.stdout.readline())

    def kill(self) -> None:
        """SIGKILL; returns when it is dead."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            while Path(f"/proc/{self._pid}").exists():
                time.sleep(0.001)  # poll
        self._pid = None


@contextmanager
def forge(settings: Settings) -> Iterator[Forge]:
    with (settings.home / "loops.log").open("ab") as log:
        smith = subprocess.Popen(
            [sys.executable, "-m", "tests.forge"],
            env=os.environ | environment_of(settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    made = Forge(smith)
    try:
        yield made
    finally:
        made.kill()
        smith.communicate(timeout=30)


def main() -> None:
    later.set_ahead()
    for name in EARLY:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead leave nothing behind
    for _ in sys.stdin:
        if (pid := os.fork()) == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            sys.argv[1:] = ["loops"]
            processes.main()
        print(pid, flush=True)  # noqa: T201 # what the other end waits for


if __name__ == "__main__":
    main()
