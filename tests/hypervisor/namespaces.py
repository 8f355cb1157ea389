"""Namespaces: what a machine or a pod is made of on one Linux host. Needs root.

A `Segment` is a private network: a bridge of its own with a subnet that no other segment of this host has. A `Cell` is
a process tree with its own network, process, mount, host-name and IPC namespaces, plugged into a segment. Kill its
first process and all of it is gone at once; it also ends by itself when whoever made it is gone, however that went,
for its first process watches a pipe that only the maker holds.
"""

import ctypes
import fcntl
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Final, Self

SEGMENTS: Final = ipaddress.IPv4Network("10.213.0.0/16")
"""All segments of this host are /24s of it."""

LOCKS: Final = Path("/tmp/xd")  # noqa: S108 # for all runs of this host; short, for the paths of sockets
MOST_SEGMENTS: Final = 200
UNSHARE: Final = (
    *("unshare", "--net", "--mount", "--propagation=private", "--pid", "--uts", "--ipc"),
    *("--fork", "--kill-child=KILL"),
)
CLONE_NEWNET: Final = 0x40000000
LIBC: Final = ctypes.CDLL(None, use_errno=True)
START_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.01


def is_available() -> bool:
    """Whether this process may make namespaces, and the programs for it are here."""
    probe = ["unshare", "--net", "--mount", "--pid", "--fork", "ip", "link", "set", "lo", "up"]
    try:
        return os.geteuid() == 0 and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class Segment:
    """A private network of cells. With `is_reachable` the host has an address in it, the first one."""

    def __init__(self, *, is_reachable: bool = True) -> None:
        self._lock, number = _take_number()
        self.network = list(SEGMENTS.subnets(new_prefix=24))[number]
        self.gateway = str(self.network[1])
        self.bridge = f"xd{number}"
        self.folder = LOCKS / f"{number}.files"
        """For whoever has the segment; gone with it."""
        self._plugged = 0
        self._guard = threading.Lock()
        self._remove()  # what a killed run may have left
        self.folder.mkdir()
        ip("link", "add", self.bridge, "type", "bridge")
        ip("link", "set", self.bridge, "up")
        if is_reachable:
            ip("address", "add", f"{self.gateway}/24", "dev", self.bridge)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._remove()
        self._lock.close()

    def address(self, number: int) -> str:
        """2 to 254."""
        return str(self.network[number])

    def plug(self, pid: int, address: str) -> None:
        """Gives the network namespace of `pid` one interface, `eth0`, with this address and a way out to the bridge."""
        with self._guard:
            self._plugged += 1
            outer = f"{self.bridge}v{self._plugged}"
        with suppress(OSError):  # of a cell that has ended; the kernel takes its time
            ip("link", "delete", outer)
        ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        ip("link", "set", outer, "master", self.bridge, "up")

    def _remove(self) -> None:
        """The cells' ends of the cables go with the cells."""
        with suppress(OSError):
            ip("link", "delete", self.bridge)
        shutil.rmtree(self.folder, ignore_errors=True)


def _take_number() -> tuple[TextIOWrapper, int]:
    LOCKS.mkdir(exist_ok=True)
    for number in range(MOST_SEGMENTS):
        lock = (LOCKS / str(number)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            return lock, number
    raise OSError(f"all {MOST_SEGMENTS} segments of this host are taken")


class Cell:
    """A process tree in namespaces of its own. `argv` becomes its first process and must watch its standard input.

    It reads one line there when the network stands, and must end at the end of file. Its standard output and error go
    to `log`.
    """

    def __init__(self, argv: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> None:
        with log.open("ab") as out:
            self._outer = subprocess.Popen(
                [*UNSHARE, *argv],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )
        self.pid = self._first()
        self._namespace = _namespace(self.pid)

    def plug(self, segment: Segment, address: str) -> None:
        """May be called once; lets the first process go on."""
        segment.plug(self.pid, address)
        self.inside("ip", "link", "set", "lo", "up")
        self.inside("ip", "address", "add", f"{address}/24", "dev", "eth0")
        self.inside("ip", "link", "set", "eth0", "up")
        self.inside("ip", "route", "add", "default", "via", segment.gateway)
        pipe = self._outer.stdin
        assert pipe is not None
        pipe.write(b"go\n")
        pipe.flush()

    def inside(self, *argv: str) -> None:
        """Runs a program of the host in the cell's network alone."""
        subprocess.run(["nsenter", f"--net=/proc/{self.pid}/ns/net", *argv], check=True, capture_output=True)

    def listen(self, address: str, port: int) -> socket.socket:
        """A socket of this process that listens in the cell's network. Close it when the cell has ended."""
        found: list[socket.socket | OSError] = []

        def inside() -> None:
            # A namespace is entered by one thread, which ends with the call; a socket stays where it was made.
            try:
                _enter_network(self.pid)
                found.append(socket.create_server((address, port), backlog=128))
            except OSError as problem:
                found.append(problem)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if isinstance(found[0], OSError):
            raise found[0]
        return found[0]

    def command(self, *argv: str) -> list[str]:
        """The command line that runs `argv` in the cell."""
        return ["nsenter", f"--target={self.pid}", "--all", "--root", "--wd", *argv]

    def pids(self) -> list[int]:
        """Of all its processes, as the host numbers them."""
        found = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return sorted(pid for pid in found if _namespace(pid) == self._namespace)

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._outer.poll()

    def wait(self, seconds: float | None = None) -> int:
        """Raises `subprocess.TimeoutExpired`."""
        return self._outer.wait(seconds)

    def signal(self, number: int) -> None:
        """To the first process, which gets only those that it expects."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Returns when nothing of it is left."""
        if self._outer.poll() is None:
            # Its own death ends every other process first; that of `unshare` is seen when all are gone.
            self.signal(signal.SIGKILL)
        self._outer.wait()
        if self._outer.stdin is not None:
            with suppress(OSError):
                self._outer.stdin.close()

    def _first(self) -> int:
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self._outer.poll() is None:
            if found := children.read_text().split():
                return int(found[0])
            time.sleep(POLL_SECONDS)  # poll
        self._outer.kill()
        raise OSError(f"no first process after {START_SECONDS} s, exit code {self._outer.poll()}")


def _namespace(pid: int) -> Path | None:
    with suppress(OSError):
        return Path(f"/proc/{pid}/ns/pid").readlink()
    return None


def _enter_network(pid: int) -> None:
    """The calling thread alone."""
    with Path(f"/proc/{pid}/ns/net").open() as namespace:
        if LIBC.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the network of process {pid}")
