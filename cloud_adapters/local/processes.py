"""Processes of one cluster: finding them all, and ending them and nobody else's. Standard library only."""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TAG_VARIABLE: Final = "CROSSDOCK_CLUSTER"
"""In the environment of every process of a cluster: `<tag>.<slot>`."""

PAUSE_SECONDS: Final = 0.05
PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    pid: int
    started: int
    """Clock ticks since the machine came up: with the pid it names one process for ever."""

    parent: int


def read(pid: int) -> Process | None:
    """None when it is gone, or is only waiting to be reaped."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name stands in parentheses and may itself hold spaces and parentheses.
    fields = stat[stat.rindex(")") + 2 :].split()
    if fields[0] in {"Z", "X"}:
        return None
    return Process(pid=pid, started=int(fields[19]), parent=int(fields[1]))


def is_alive(pid: int, started: int) -> bool:
    process = read(pid)
    return process is not None and process.started == started


def descendants(ancestor: int) -> tuple[Process, ...]:
    """Children of children too. A subreaper also has those that lost their own parents."""
    children: dict[int, list[Process]] = {}
    for process in _all():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    open_ends = [ancestor]
    while open_ends:
        born = children.get(open_ends.pop(), [])
        found += born
        open_ends += [process.pid for process in born]
    return tuple(found)


def members(tag: str, folder: Path) -> tuple[Process, ...]:
    """Every process of the cluster but this one, wherever it hangs in the tree.

    Two marks, since some of Ray's processes write their title over their environment: the tag in the environment,
    or a file in the cluster's own folder that is open for writing.
    """
    return tuple(
        process for process in _all() if process.pid != os.getpid() and _is_marked(process.pid, tag, folder)
    )


def slot_of(pid: int, tag: str) -> str | None:
    """Which part of the cluster a process belongs to, by the tag in its environment."""
    mark = f"{TAG_VARIABLE}={tag}.".encode()
    with suppress(OSError):
        for variable in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
            if variable.startswith(mark):
                return variable.removeprefix(mark).decode()
    return None


def kill(process: Process) -> None:
    """Looks once more before it shoots: the pid may have passed on."""
    if is_alive(process.pid, process.started):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def kill_all(find: Callable[[], Iterable[Process]], *, within_seconds: float) -> bool:
    """Kills what `find` finds until it finds nothing: a process may fork while others are being killed."""
    until = time.monotonic() + within_seconds
    while found := tuple(find()):
        for process in found:
            kill(process)
        reap()
        if time.monotonic() > until:
            return False
        time.sleep(PAUSE_SECONDS)
    return True


def reap() -> dict[int, int]:
    """Exit codes of our children that ended since the last call."""
    ended: dict[int, int] = {}
    with suppress(ChildProcessError):
        while True:
            pid, wait_code = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended[pid] = os.waitstatus_to_exitcode(wait_code)
    return ended


def _all() -> Iterator[Process]:
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (process := read(int(entry.name))):
            yield process


def _is_marked(pid: int, tag: str, folder: Path) -> bool:
    return slot_of(pid, tag) is not None or _writes_into(pid, folder)


def _writes_into(pid: int, folder: Path) -> bool:
    # Another user's processes and those that are just ending cannot be read.
    with suppress(OSError):
        for opened in (PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                if opened.readlink().is_relative_to(folder) and _is_for_writing(pid, opened.name):
                    return True
    return False


def _is_for_writing(pid: int, number: str) -> bool:
    lines = (PROC / str(pid) / "fdinfo" / number).read_text().splitlines()
    flags = next(line.split()[1] for line in lines if line.startswith("flags:"))
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
