"""Keepers: the processes that own an embedded cluster. `python -m cloud_adapters.local.keeper DIRECTORY SHAPE`.

Whoever wants the cluster starts one, any number of times at once: the one that gets the lock stays. It stays as two
small processes: the guard, and below it the keeper, which starts and watches Ray. When the keeper is killed the guard
ends everything; when the guard is killed the keeper goes on; when both are, the next start sweeps first. Both are
subreapers, so what loses its parent inside the cluster becomes their child and cannot get away.

Standard library only: these processes live as long as the cluster and should weigh nothing.
"""

import ctypes
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from cloud_adapters.local.commands import Blueprint
from cloud_adapters.local.nodes import Nodes
from cloud_adapters.local.place import CLOSED, Life, Place, write_secret
from cloud_adapters.local.ports import NoFreePorts, reserve
from cloud_adapters.local.processes import descendants, kill_all, members, read
from cloud_adapters.local.shape import Shape

PR_SET_CHILD_SUBREAPER: Final = 36
POLL_SECONDS: Final = 0.1
KILL_SECONDS: Final = 20.0
LONGEST_FOLDER: Final = 40
"""Ray adds up to 64 bytes to name a socket, which may have 107."""

ASKED: Final = "it was asked to"
KEPT_LOGS: Final = ("start-*.log", "r/session_latest/logs/gcs_server.*", "r/session_latest/logs/raylet*.*")
KEPT_BYTES: Final = 64 * 1024
LONGEST_LOG_BYTES: Final = 256 * 1024


def main() -> int:
    os.umask(0o077)
    place, shape = Place.make(Path(sys.argv[1])), Shape(**json.loads(sys.argv[2]))
    if place.lock() is None:
        return 0
    if place.log_file.stat().st_size > LONGEST_LOG_BYTES:
        os.truncate(place.log_file, 0)
    previous = place.life()
    if previous is not None:
        sweep(previous.tag, Path(previous.folder))
    try:
        base_port, reservation = reserve(shape.nodes, previous.base_port if previous else None)
    except NoFreePorts as problem:
        _say(f"not started: {problem}")
        return 1
    with reservation:
        return _split(place, _draw(place, shape, base_port))


def sweep(tag: str, folder: Path) -> bool:
    """Ends what a life of the cluster left behind. False: something is still there."""
    is_gone = kill_all(lambda: members(tag, folder), within_seconds=KILL_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)
    return is_gone and not folder.exists()


def _split(place: Place, blueprint: Blueprint) -> int:
    """Returns three times: in the guard, in the keeper, and in the caller as soon as the keeper has said who it is."""
    told, tell = os.pipe()
    if os.fork():
        os.close(tell)
        os.read(told, 1)  # also ends when the keeper died
        return 0
    os.close(told)
    _become_subreaper()
    keeper = os.fork()
    if keeper == 0:
        return _keep(place, blueprint, tell)
    os.close(tell)
    return _guard(place, blueprint, keeper)


def _guard(place: Place, blueprint: Blueprint, keeper: int) -> int:
    os.waitpid(keeper, 0)
    kill_all(lambda: descendants(os.getpid()), within_seconds=KILL_SECONDS)
    sweep(blueprint.tag, blueprint.folder)
    life = place.life()
    if life is not None and life.keeper_pid == keeper and life.ended is None:
        place.write_life(replace(life, ended="its keeper was killed"))
    return 0


def _keep(place: Place, blueprint: Blueprint, tell: int) -> int:
    _become_subreaper()
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    life = _first_life(blueprint)
    place.write_life(life)
    os.close(tell)
    _say(f"started as {life.tag} on {life.url}")
    why = _watch(place, blueprint, life, stopping)
    _say(f"ends: {why}")
    with suppress(OSError):  # somebody may have removed the place
        place.write_life(replace(life, ended=why))
        if why != ASKED:
            _keep_logs(blueprint.folder, place.last_logs)
    kill_all(lambda: descendants(os.getpid()), within_seconds=KILL_SECONDS)
    sweep(blueprint.tag, blueprint.folder)
    _say("gone")
    return 0


def _watch(place: Place, blueprint: Blueprint, life: Life, stopping: list[int]) -> str:
    """Returns why the cluster ends."""
    nodes, is_up = Nodes(blueprint), False
    call, called = place.last_call(), time.monotonic()
    while not stopping:
        if why := nodes.step():
            return why
        if not place.directory.exists():
            return "its directory was removed"
        if nodes.are_up and not is_up:
            is_up = True
            place.write_life(replace(life, is_up=True))
            _say("up")
        # The wall clock would end a cluster whose machine has slept.
        if (newest := place.last_call()) != call:
            call, called = newest, time.monotonic()
        if time.monotonic() - called > blueprint.shape.orphan_seconds:
            return f"nobody wanted it for {blueprint.shape.orphan_seconds} s"
        time.sleep(POLL_SECONDS)
    return ASKED


def _draw(place: Place, shape: Shape, base_port: int) -> Blueprint:
    write_secret(place.token_file, secrets.token_hex(32))
    tag = secrets.token_hex(6)
    usual = Path(tempfile.gettempdir())
    parent = usual if len(str(usual / f"crossdock-{tag}")) <= LONGEST_FOLDER else Path("/tmp")  # noqa: S108 # short
    folder = parent / f"crossdock-{tag}"
    folder.mkdir(mode=CLOSED)
    return Blueprint(tag=tag, base_port=base_port, folder=folder, token_file=place.token_file, shape=shape)


def _first_life(blueprint: Blueprint) -> Life:
    me = read(os.getpid())
    if me is None:
        raise ProcessLookupError(os.getpid())
    return Life(
        tag=blueprint.tag,
        folder=str(blueprint.folder),
        base_port=blueprint.base_port,
        url=blueprint.url,
        keeper_pid=me.pid,
        keeper_started=me.started,
    )


def _keep_logs(folder: Path, kept: Path) -> None:
    """Copies the ends of Ray's own logs; those of users' code went to the control plane long ago."""
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(mode=CLOSED)
    for file in (file for pattern in KEPT_LOGS for file in folder.glob(pattern)):
        (kept / file.name).write_bytes(file.read_bytes()[-KEPT_BYTES:])


def _become_subreaper() -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _say(sentence: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {sentence}\n")
    sys.stderr.flush()


def arguments(place: Place, shape: Shape) -> list[str]:
    return [sys.executable, "-m", __name__, str(place.directory), json.dumps(asdict(shape))]


if __name__ == "__main__":
    sys.exit(main())
