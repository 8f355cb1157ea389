"""A hypervisor: "machines" that boot their user data and "pods" that run a command, each in namespaces of its own.

What is real: the process tree, the network with private addresses, the file system that only the machine sees, the
user data and all that it starts. What is played: systemd (see init.py), the metadata service, and the wires between.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Self

from tests.hypervisor.namespaces import Cell, Segment
from tests.hypervisor.relays import DIALECTS, Metadata, MetadataService, Relay

INIT: Final = Path(__file__).with_name("init.py")
RAY: Final = str(Path(sys.executable).with_name("ray"))
PATIENT_RAY: Final = str(Path(sys.executable).with_name("patient-ray"))
"""`ray start` as the embedded cluster has it: Ray's own gives a node 30 s to appear, too few on a busy machine."""

STARTER: Final = Path(__file__).parents[2] / "cloud_adapters/local/starter.py"
_PATIENT: Final = f"#!{sys.executable} -P\n{STARTER.read_text()}"
MEBIBYTE: Final = 2**20
HIDDEN: Final = (sys.prefix,) if sys.prefix.startswith("/tmp/") else ()  # noqa: S108
"""A guest has a folder for temporary files of its own; a checkout may lie in the host's."""


def _ray_environment(*, gpus: int = 0) -> dict[str, str]:
    """A machine looks small, so that three of them fit on a laptop."""
    looks = {"CPU": 1, "memory": 512 * MEBIBYTE, "object_store_memory": 80 * MEBIBYTE}
    return {
        "GRPC_DNS_RESOLVER": "native",
        "RAY_OVERRIDE_RESOURCES": json.dumps(looks | ({"GPU": gpus} if gpus else {})),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that init.py has to know."""

    folder: str
    hostname: str
    address: str
    argv: tuple[str, ...] | None = None
    """None: a machine, which runs `user_data`."""

    user_data: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)
    """Symbolic links in /usr/local/bin."""

    scripts: Mapping[str, str] = field(default_factory=dict)
    """Texts of programs, by path."""

    shared: tuple[str, ...] = ()
    """Folders of the host that are seen as they are, also for writing."""

    minute_seconds: float = 60.0
    """How long a minute of `shutdown +N` takes."""

    shared_memory_bytes: int = 128 * MEBIBYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A machine or a pod that was started; it may have ended since."""

    name: str
    address: str
    folder: Path
    cell: Cell
    closers: tuple[Callable[[], None], ...]

    @property
    def console(self) -> str:
        """What its first process, and in a pod the command, has printed."""
        return (self.folder / "console.log").read_text(errors="replace")

    def log(self, name: str) -> str:
        """A file in its `/var/log`, also when it has ended; empty where there is none."""
        path = self.folder / "log" / name
        return path.read_text(errors="replace") if path.exists() else ""

    def read(self, path: str) -> str:
        """A file of a running guest. Raises `OSError`."""
        return Path(f"/proc/{self.cell.pid}/root{path}").read_text(errors="replace")


class Hypervisor:
    """Ends every guest, and leaves nothing behind, when its `with` block ends. `on_end` hears of each that ended."""

    def __init__(
        self,
        *,
        is_reachable: bool = True,
        minute_seconds: float = 60.0,
        reach: Sequence[int] = (),
        on_end: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._segment = Segment(is_reachable=is_reachable)
        self._minute_seconds = minute_seconds
        self._reach = tuple(reach)
        """Ports of the host's loopback that are found on the guests' own loopback."""

        self._on_end = on_end
        self._guests: dict[str, Guest] = {}
        self._lock = threading.Lock()
        self._numbers = iter(range(2, 255))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in tuple(self._guests):
            self.kill(name)
        self._segment.close()

    @property
    def addresses(self) -> dict[str, str]:
        """Of those that run, by name."""
        with self._lock:
            guests = tuple(self._guests.values())
        return {guest.name: guest.address for guest in guests if guest.cell.exit_code is None}

    def next_address(self) -> str:
        """One that no guest has had."""
        with self._lock:
            return self._segment.address(next(self._numbers))

    def boot(
        self,
        name: str,
        *,
        user_data: str,
        metadata: Metadata,
        address: str | None = None,
        ray: str = PATIENT_RAY,
        gpus: int = 0,
    ) -> Guest:
        """A machine, switched on. `ray` is the program of that name on its path; its GPUs are a number alone."""
        return self._start(
            name,
            address,
            metadata,
            user_data=user_data,
            environment=_ray_environment(gpus=gpus),
            commands={"ray": ray},
            scripts={PATIENT_RAY: _PATIENT},
            shared=HIDDEN,
            minute_seconds=self._minute_seconds,
        )

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        address: str | None = None,
        shared: Sequence[str] = (),
    ) -> Guest:
        """A pod: ends with the exit code of its command, or 128 + n for signal n. Its `ray` is patient."""
        return self._start(
            name,
            address,
            None,
            argv=tuple(argv),
            environment=_ray_environment() | dict(environment),
            scripts={"/usr/local/bin/ray": _PATIENT},
            shared=(*HIDDEN, *shared),
        )

    def guest(self, name: str) -> Guest:
        """Raises `KeyError` for one that was killed or never was."""
        return self._guests[name]

    def shut_down(self, name: str) -> None:
        """As the button of a console does: the machine is asked, and obeys in its own time."""
        subprocess.run(self.guest(name).cell.command("shutdown", "-h", "now"), check=True)

    def signal(self, name: str, program: str, number: int) -> None:
        """To every process of a guest, but the first, that has `program` on its command line."""
        for pid in self.guest(name).cell.pids()[1:]:
            with suppress(OSError):
                if program in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, number)

    def kill(self, name: str) -> None:
        """The power is cut: nothing of it gets to say a last word. Absent is fine."""
        with self._lock:
            guest = self._guests.pop(name, None)
        if guest is not None:
            guest.cell.kill()
            self._clear(guest)

    def _start(self, name: str, address: str | None, metadata: Metadata | None, **plan: object) -> Guest:
        address = address or self.next_address()
        folder = self._segment.folder / name
        folder.mkdir()
        whole = Plan(folder=str(folder), hostname=name, address=address, **plan)  # type: ignore[arg-type] # our own two callers
        cell = Cell(
            [sys.executable, str(INIT), json.dumps(asdict(whole))],
            log=folder / "console.log",
            environment={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        )
        closers: list[Callable[[], None]] = []
        try:
            self._wire(cell, metadata, closers)
            cell.plug(self._segment, address)
        except BaseException:
            cell.kill()
            for close in closers:
                close()
            raise
        guest = Guest(name=name, address=address, folder=folder, cell=cell, closers=tuple(closers))
        with self._lock:
            self._guests[name] = guest
        threading.Thread(target=self._await_end, args=(guest,), daemon=True).start()
        return guest

    def _wire(self, cell: Cell, metadata: Metadata | None, closers: list[Callable[[], None]]) -> None:
        cell.inside("ip", "link", "set", "lo", "up")
        closers.extend(Relay(cell.listen("127.0.0.1", port), port).close for port in self._reach)
        if metadata is not None:
            address = DIALECTS[metadata.cloud].address
            cell.inside("ip", "address", "add", f"{address}/32", "dev", "lo")
            closers.append(MetadataService(cell.listen(address, 80), metadata).close)

    def _await_end(self, guest: Guest) -> None:
        guest.cell.wait()
        self._on_end(guest.name)

    def _clear(self, guest: Guest) -> None:
        for close in guest.closers:
            close()
        with suppress(OSError):
            shutil.rmtree(guest.folder)
