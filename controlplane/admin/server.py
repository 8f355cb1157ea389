"""`crossdock server init` and `crossdock server run`: prepare a home, then keep api, loops and gateway alive in it."""

import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import IO, Final

from controlplane.settings import PREFIX, Settings

CLIENT_FILE: Final = "client.json"
ROLES: Final = ("api", "loops")
GATEWAY: Final = "gateway"
QUICK_DEATH_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 15.0
STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InitAnswer:
    url: str
    home: Path
    created: bool
    """False: the home was there already, and nothing was changed."""

    admin_token: str | None = field(repr=False)
    """Shown this once; None when the home was there already."""


def init(settings: Settings) -> InitAnswer:
    """Makes home, keys, schema, the default project and the admin token. Running it again only upgrades the schema."""
    from controlplane import bootstrap
    from controlplane.operations.setting_up import set_up
    from controlplane.secrets import keyfile
    from controlplane.store import Store

    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    keyfile.create(settings.home)
    store = Store.open(settings.database_url)
    store.migrate()
    store.close()
    context = bootstrap.context(settings)
    try:
        token = set_up(context)
    finally:
        context.store.close()
    if token is not None:
        _write_client_file(settings, token)
    return InitAnswer(url=settings.url, home=settings.home, created=token is not None, admin_token=token)


def run(settings: Settings) -> int:
    """Keeps all processes alive until SIGTERM or SIGINT, then stops them and the clusters that are ours.

    Raises `Invalid` for a program that the settings ask for and that is not there.
    """
    if settings.gateway_port and settings.haproxy_port:
        from controlplane.gateway.front import found_program

        found_program()
    return Supervisor(settings).run()


class Supervisor:
    """The parent: starts api, loops and gateway, starts them again when they die, and imports nothing heavy itself."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.url
        self._roles = (*ROLES, GATEWAY) if settings.gateway_port else ROLES
        self._environment = os.environ | environment_of(settings)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}
        self._pauses: dict[str, float] = dict.fromkeys(self._roles, 0.0)
        self._not_before: dict[str, float] = dict.fromkeys(self._roles, 0.0)
        self._stopping = False

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note_stop)
        print(f"crossdock: serving {self._url}", file=sys.stderr, flush=True)
        while not self._stopping:
            for role in self._roles:
                self._keep(role)
            time.sleep(0.2)
        self._stop_children()
        return subprocess.run(self._command("clusters-down"), env=self._environment, check=False).returncode

    def _keep(self, role: str) -> None:
        child = self._children.get(role)
        if child is not None and child.poll() is None:
            return
        if child is not None:
            self._note_death(role, child.returncode)
        if time.monotonic() >= self._not_before[role]:
            self._children[role] = subprocess.Popen(
                self._command(role), env=self._environment, start_new_session=True
            )
            self._started[role] = time.monotonic()

    def _note_death(self, role: str, code: int) -> None:
        """The first restart is at once; a part that keeps dying is started ever more rarely."""
        del self._children[role]
        lived = time.monotonic() - self._started[role]
        pause = self._pauses[role]
        self._pauses[role] = (
            min(max(0.5, pause * 2), LONGEST_PAUSE_SECONDS) if lived < QUICK_DEATH_SECONDS else 0.0
        )
        self._not_before[role] = time.monotonic() + pause
        print(f"crossdock: {role} ended with {code}, starting it again", file=sys.stderr, flush=True)

    def _command(self, role: str) -> list[str]:
        return [sys.executable, "-m", "controlplane.admin.processes", role]

    def _note_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _stop_children(self) -> None:
        for child in self._children.values():
            child.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for child in self._children.values():
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def loops_lock(home: Path) -> IO[bytes]:
    """The file whose lock the one loops process of a home holds for as long as it lives."""
    return (home / "loops.lock").open("ab")


def is_in_use(home: Path) -> bool:
    with loops_lock(home) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def environment_of(settings: Settings) -> Mapping[str, str]:
    """The settings as the environment variables that they are read from."""
    return {PREFIX + each.name.upper(): str(getattr(settings, each.name)) for each in fields(settings)}


def _write_client_file(settings: Settings, token: str) -> None:
    """So that SDK and CLI on this machine find the server without being told."""
    path = settings.home / CLIENT_FILE
    temporary = path.with_suffix(f".{secrets.token_hex(4)}")
    opened = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(opened, "w", encoding="utf-8") as file:
        json.dump({"url": settings.url, "token": token, "written_at": datetime.now(UTC).isoformat()}, file)
    temporary.replace(path)
