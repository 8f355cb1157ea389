"""A real server in processes of its own, which tests may kill: `crossdock server run` without its supervisor."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from controlplane.admin.server import environment_of, init
from controlplane.sdk import Client
from controlplane.sdk.errors import Unreachable
from controlplane.settings import Settings
from tests.forked import forked, ran

READY_SECONDS: Final = 180.0
STOP_SECONDS: Final = 30.0
COMMAND_SECONDS: Final = 300.0
PROGRAM: Final = "controlplane.admin.processes"
COMMAND: Final = "controlplane.cli.main"


@dataclass(slots=True)
class RunningServer:
    """Each role is a child of the test, so `kill -9` hits exactly one of them."""

    settings: Settings
    admin_token: str
    program: str = PROGRAM
    """The module that runs a role."""

    is_fresh: bool = False
    """Its processes import everything themselves."""

    processes: dict[str, BaseProcess] = field(default_factory=dict)

    @property
    def pids(self) -> tuple[int, ...]:
        """Of its processes, which have been started."""
        return tuple(process.pid for process in self.processes.values() if process.pid is not None)

    def start(self, *roles: str) -> None:
        for role in roles or ("api", "loops"):
            self.processes[role] = forked(
                self.program,
                (role,),
                environment=os.environ | environment_of(self.settings),
                log=self.settings.home / f"{role}.log",
                is_fresh=self.is_fresh,
            )

    def kill(self, *roles: str) -> None:
        """SIGKILL: no time to tidy up."""
        for role in roles or tuple(self.processes):
            process = self.processes.pop(role)
            process.kill()
            process.join()

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.join(STOP_SECONDS)
            process.kill()
            process.join()
        self.processes.clear()

    def client(self) -> Client:
        return Client(self.settings.url, self.admin_token)

    def crossdock(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """The command, as an administrator types it."""
        where = {"CROSSDOCK_URL": self.settings.url, "CROSSDOCK_TOKEN": self.admin_token}
        return ran(
            COMMAND,
            words,
            environment=os.environ | where,
            within_seconds=COMMAND_SECONDS,
            stdin=stdin,
        )

    def log(self, role: str) -> str:
        return (self.settings.home / f"{role}.log").read_text()

    def wait_until_ready(self) -> None:
        with Client(self.settings.url, self.admin_token, patience_seconds=READY_SECONDS) as client:
            try:
                client.me()
            except Unreachable as silence:
                raise TimeoutError(f"the api did not answer:\n{self.log('api')}") from silence


@contextmanager
def running_server(
    home: Path, *, program: str = PROGRAM, is_fresh: bool = False, **changes: object
) -> Iterator[RunningServer]:
    """A fresh control plane, with settings scaled to tests; whatever happens, its processes are ended."""
    fresh = Settings.read({"CROSSDOCK_HOME": str(home), "CROSSDOCK_PORT": str(free_port())})
    scaled = replace(
        fresh,
        local_cluster=False,
        lease_seconds=8.0,
        clock_skew_seconds=1.0,
        unreachable_after_seconds=2.0,
        poll_seconds=1.0,
        leader_seconds=3.0,
    )
    settings = replace(scaled, **changes)  # type: ignore[arg-type] # the names are checked by `replace`
    token = init(settings).admin_token
    if token is None:
        raise LookupError(f"{home} was set up before")
    server = RunningServer(settings=settings, admin_token=token, program=program, is_fresh=is_fresh)
    server.start()
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def run_role(role: str, environment: Mapping[str, str]) -> int:
    """Runs one of the server's processes to its end; its exit code."""
    command = [sys.executable, "-m", "controlplane.admin.processes", role]
    return subprocess.run(command, env=os.environ | environment, check=False, timeout=120).returncode


def eventually(condition: Callable[[], bool], within_seconds: float, otherwise: str) -> None:
    """Polls until it is true; a test that waits for something says for what."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.1)  # poll


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
