"""A real radosgw for tests: a Ceph of one monitor and one store in memory, and the S3 door in front of it.

Used is the one at `CROSSDOCK_RADOSGW=http://KEY:SECRET@host:port`, or one that is started where Ceph's programs are.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from controlplane.storage.base import Credentials

VARIABLE: Final = "CROSSDOCK_RADOSGW"
PROGRAMS: Final = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
UP_SECONDS: Final = 120.0
STEP_SECONDS: Final = 60.0
MEMORY_BYTES: Final = 1024**3
CREDENTIALS: Final = Credentials(access_key_id="AKTEST", secret="SKTEST")

CONFIGURATION: Final = """
[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{mon}
public addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
mon allow pool size one = true
mon max pg per osd = 1000
osd crush chooseleaf type = 0
ms bind msgr2 = false
osd objectstore = memstore
memstore device bytes = {memory}
run dir = {folder}
pid file = {folder}/$name.pid
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
mon data = {folder}/mon
osd data = {folder}/osd
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{door}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    url: str
    credentials: Credentials


def absent() -> str | None:
    """Why there is none; None: there is."""
    missing = [each for each in PROGRAMS if shutil.which(each) is None]
    if VARIABLE in os.environ or not missing:
        return None
    return f"{', '.join(missing)} not found, and {VARIABLE} names none"


@contextmanager
def gateway(folder: Path) -> Iterator[Gateway]:
    """Of this machine alone, and empty; what `CROSSDOCK_RADOSGW` names stays as it is."""
    if VARIABLE in os.environ:
        yield _named(os.environ[VARIABLE])
        return
    try:
        url = _started(folder)
        yield Gateway(url=url, credentials=CREDENTIALS)
    finally:
        for file in sorted(folder.glob("*.pid")):
            with suppress(ProcessLookupError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)


def _named(text: str) -> Gateway:
    parts = urlsplit(text)
    credentials = Credentials(access_key_id=parts.username or "", secret=parts.password or "")
    return Gateway(url=f"{parts.scheme}://{parts.hostname}:{parts.port}", credentials=credentials)


def _started(folder: Path) -> str:
    """Daemons that write down their own process ids."""
    fsid, mon, door = str(uuid.uuid4()), _free_port(), _free_port()
    config, osd = folder / "ceph.conf", str(uuid.uuid4())
    config.write_text(CONFIGURATION.format(fsid=fsid, mon=mon, door=door, folder=folder, memory=MEMORY_BYTES))
    here = ("-c", str(config))
    monmap = str(folder / "monmap")
    (folder / "osd").mkdir()
    _run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v1:127.0.0.1:{mon}]", monmap)
    _run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, *here)
    _run("ceph-mon", "-i", "a", *here)
    _run("ceph", *here, "osd", "new", osd)
    _run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd, *here)
    _run("ceph-osd", "-i", "0", *here, again_on="wrong fsid")  # it spoke before it had heard of the monitor
    _run("ceph", *here, "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=h")
    _run("radosgw", "-n", "client.rgw", *here)
    url = f"http://127.0.0.1:{door}"
    _await_answer(url)
    user = ("--uid", "t", "--display-name", "t", "--access-key", CREDENTIALS.access_key_id)
    _run(
        "radosgw-admin",
        "-n",
        "client.rgw",
        *here,
        "user",
        "create",
        *user,
        "--secret-key",
        CREDENTIALS.secret,
    )
    return url


def _run(*command: str, again_on: str | None = None) -> None:
    end = time.monotonic() + STEP_SECONDS
    while True:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=STEP_SECONDS,
            stdin=subprocess.DEVNULL,
        )
        if not done.returncode:
            return
        if again_on is None or again_on not in done.stderr or time.monotonic() > end:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
        time.sleep(0.2)  # poll


def _await_answer(url: str) -> None:
    end = time.monotonic() + UP_SECONDS
    while True:
        try:
            httpx.get(url, timeout=5.0)
        except httpx.HTTPError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)  # poll
        else:
            return


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
