"""The program as a whole: help for everything, exit codes, a terminal."""

import os
import pty
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import typer.main

from controlplane.cli.main import app
from tests.unit.cli.conftest import Run
from tests.unit.sdk.plane import Plane, attempt_document

PROGRAM = (sys.executable, "-m", "controlplane.cli.main")
ROOT = typer.main.get_command(app)


def _commands(group: object = ROOT, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    for name, command in getattr(group, "commands", {}).items():
        yield from _commands(command, (*words, name))


@pytest.mark.parametrize("words", list(_commands()), ids=lambda words: " ".join(words) or "crossdock")
def test_every_command_and_every_option_explains_itself(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words, "--help")
    assert result.exit_code == 0
    command: object = ROOT
    for word in words:
        command = command.commands[word]  # type: ignore[attr-defined] # typer hides the classes of its groups
    told = str(command.help)  # type: ignore[attr-defined]
    assert told.endswith(".")
    for parameter in command.params:  # type: ignore[attr-defined]
        assert parameter.help.endswith("."), f"{words}: {parameter.name}"


def test_no_command_at_all_prints_help(run: Run) -> None:
    assert "Usage: " in run().stdout + run().stderr


@pytest.mark.sockets
def test_a_server_that_is_not_there_is_exit_code_3(
    plane: Plane, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.stop()
    monkeypatch.setattr("controlplane.cli.session.PATIENCE_SECONDS", 0.2)
    result = run("whoami")
    assert result.exit_code == 3
    assert result.stderr.startswith(f"{plane.url} does not answer: ")


def test_no_server_known_is_a_usage_error(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CROSSDOCK_URL", raising=False)
    monkeypatch.setenv("CROSSDOCK_HOME", str(tmp_path))
    result = run("whoami")
    assert (result.exit_code, result.stderr) == (
        2,
        "no server is known: set CROSSDOCK_URL, or run `crossdock server init` on this machine\n",
    )


def test_a_setting_that_makes_no_sense_stops_the_server_commands(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSDOCK_LEASE_SECONDS", "soon")
    result = run("server", "run")
    assert (result.exit_code, result.stderr) == (2, "CROSSDOCK_LEASE_SECONDS='soon' is not a valid float\n")


def test_the_commands_of_a_light_install_say_what_the_server_needs(tmp_path: Path) -> None:
    (tmp_path / "sqlalchemy.py").write_text("raise ModuleNotFoundError('no', name='sqlalchemy')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "CROSSDOCK_HOME": str(tmp_path / "home")}
    result = subprocess.run(
        [*PROGRAM, "server", "init"], env=environment, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "sqlalchemy is not installed: pip install 'crossdock[server]'\n"


def test_the_server_is_set_up_once(run: Run, tmp_path: Path) -> None:
    first = run("server", "init", "--home", str(tmp_path))
    assert first.exit_code == 0
    assert [line.split(": ")[0] for line in first.stdout.splitlines()] == [
        "control plane for http://127.0.0.1:8042 is set up",
        "admin token, shown only now",
        "start it with",
    ]
    second = run("server", "init", "--home", str(tmp_path))
    assert second.stdout == (
        "nothing to do: a control plane for http://127.0.0.1:8042 was set up here before\n"
    )


@pytest.mark.sockets
def test_a_terminal_shows_how_far_the_job_is(plane: Plane) -> None:
    plane.add_job({"name": "train"}, attempts=1)
    plane.attempts["job_1"] = [attempt_document("attempt_1", progress=0.25, progress_message="epoch 1 of 4")]
    plane.metrics.append(
        {
            "attempt_id": "attempt_1",
            "attempt_number": 1,
            "rank": 0,
            "seq": 1,
            "step": 10,
            "at": "2026-03-01T12:00:00Z",
            "values": {"loss": 0.5},
        }
    )
    plane.phases["job_1"] = deque(["active", "active", "succeeded"])
    seen, code = _on_a_terminal(*PROGRAM, "jobs", "wait", "job_1")
    assert code == 0
    for part in ("train", "active", "attempt 1 on local", "25%", "epoch 1 of 4", "step 10", "loss 0.5"):
        assert part in seen
    assert seen.rstrip().endswith("job_1 train: succeeded")


def _on_a_terminal(*words: str) -> tuple[str, int]:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160"}
    try:
        with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
            os.close(theirs)
            seen = b""
            while piece := _read(ours):
                seen += piece
    finally:
        os.close(ours)
    return seen.decode(), process.returncode


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""


def test_the_version_is_that_of_the_installed_distribution(run: Run) -> None:
    assert run("--version").output == f"crossdock {version('crossdock')}\n"
