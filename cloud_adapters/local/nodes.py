"""Starts the head and the nodes of an embedded cluster, and watches that they stay. Standard library only."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cloud_adapters.local import starter
from cloud_adapters.local.commands import (
    HEAD,
    START_SECONDS,
    Blueprint,
    address_of,
    environment,
    start_flags,
)
from cloud_adapters.local.ports import Service, port_of
from cloud_adapters.local.processes import Process, descendants, kill_all, members, reap, slot_of

MOST_STARTS: Final = 4
"""A node that is lost starts again; one that is lost for the fourth time takes the cluster with it."""

KILL_SECONDS: Final = 10.0
SOCKETS_PER_NODE: Final = 2


@dataclass(slots=True)
class Slot:
    """A place for the head or a node, whatever is in it now."""

    number: int
    starting: subprocess.Popen[bytes] | None = None
    until: float = 0.0
    daemons: frozenset[int] = field(default_factory=frozenset)
    """Ray's processes for this node, which are children of ours; it needs every one of them."""

    is_up: bool = False
    """The agents beside Ray's core answer too: without them it takes no jobs."""

    starts: int = 0

    @property
    def name(self) -> str:
        return "the head" if self.number == HEAD else f"node {self.number}"


class Nodes:
    """`ray start` leaves its daemons to the calling process, a subreaper, so their deaths are heard of at once."""

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint
        self._slots = [Slot(number) for number in range(blueprint.shape.nodes + 1)]
        self._newest: Slot | None = None
        self._sockets_before: frozenset[str] = frozenset()

    @property
    def are_up(self) -> bool:
        return all(slot.is_up for slot in self._slots)

    def step(self) -> str | None:
        """Hears who ended, starts who is missing; says why when the cluster cannot go on."""
        ended = reap()
        for slot in self._slots:
            if (why := self._lost(slot, ended)) and (slot.number == HEAD or slot.starts >= MOST_STARTS):
                return why
        for slot in self._slots:
            slot.is_up = bool(slot.daemons) and (slot.is_up or self._answers(slot))
            if slot.starting is None and not slot.daemons and self._may_start(slot):
                self._start(slot)
        return None

    def _lost(self, slot: Slot, ended: dict[int, int]) -> str | None:
        why = self._failed_start(slot, ended) if slot.starting else self._died(slot, ended)
        if why and slot.number != HEAD:
            # A node's death must be the death of all that ran there: it may be started again elsewhere.
            kill_all(lambda: self._of(slot), within_seconds=KILL_SECONDS)
            slot.starting, slot.daemons = None, frozenset()
        return why

    def _failed_start(self, slot: Slot, ended: dict[int, int]) -> str | None:
        if slot.starting is None:
            return None
        if slot.starting.pid not in ended:
            late = time.monotonic() > slot.until
            return f"{slot.name} did not start within {START_SECONDS:.0f} s" if late else None
        code = slot.starting.returncode = ended[slot.starting.pid]
        slot.starting = None
        children = (process for process in descendants(os.getpid()) if process.parent == os.getpid())
        slot.daemons = frozenset(each.pid for each in children if self._is_of(slot, each))
        if code == 0 and slot.daemons:
            return None
        return f"{slot.name} did not start: `ray start` ended with {code}: {self._last_words(slot)}"

    def _died(self, slot: Slot, ended: dict[int, int]) -> str | None:
        if dead := sorted(slot.daemons & ended.keys()):
            return f"{slot.name} died: process {dead[0]} ended with {ended[dead[0]]}"
        if slot.daemons and not slot.is_up and time.monotonic() > slot.until:
            return f"the agents of {slot.name} did not start within {START_SECONDS:.0f} s"
        return None

    def _answers(self, slot: Slot) -> bool:
        base = self._blueprint.base_port
        return all(
            _is_open(address_of(slot.number), port_of(base, slot.number, service))
            for service in (Service.AGENT_HTTP, Service.RUNTIME_ENV_AGENT)
        )

    def _may_start(self, slot: Slot) -> bool:
        """One after the other until their sockets exist: two nodes that name theirs at once choose the same name."""
        if slot.number == HEAD:
            return True
        newest = self._newest
        if newest is None or newest.starting is None:
            return newest is not None
        return len(self._sockets() - self._sockets_before) >= SOCKETS_PER_NODE

    def _start(self, slot: Slot) -> None:
        blueprint = self._blueprint
        self._newest, self._sockets_before = slot, self._sockets()
        slot.starts += 1
        slot.until = time.monotonic() + START_SECONDS
        with self._output(slot).open("wb") as output:
            slot.starting = subprocess.Popen(
                # -P: this module's own folder must not hide modules that Ray imports.
                [sys.executable, "-P", starter.__file__, *start_flags(blueprint, slot.number)],
                env=environment(
                    blueprint, slot.number, bin_folder=Path(sys.executable).parent, ours=os.environ
                ),
                cwd=blueprint.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def _sockets(self) -> frozenset[str]:
        folder = self._blueprint.ray_folder / "session_latest" / "sockets"
        return frozenset(each.name for kind in ("raylet*", "plasma_store*") for each in folder.glob(kind))

    def _output(self, slot: Slot) -> Path:
        return self._blueprint.folder / f"start-{slot.number}.log"

    def _last_words(self, slot: Slot) -> str:
        lines = self._output(slot).read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def _of(self, slot: Slot) -> list[Process]:
        found = members(self._blueprint.tag, self._blueprint.folder)
        return [process for process in found if self._is_of(slot, process)]

    def _is_of(self, slot: Slot, process: Process) -> bool:
        return slot_of(process.pid, self._blueprint.tag) == str(slot.number)


def _is_open(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False
