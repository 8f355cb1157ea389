"""The command line in this process, talking to a miniature control plane."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner, Result

from controlplane.cli.main import app
from tests.unit.sdk.plane import Plane, running_plane

Run = Callable[..., Result]


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Plane]:
    with running_plane() as running:
        monkeypatch.setenv("CROSSDOCK_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("CROSSDOCK_URL", running.url)
        monkeypatch.setenv("CROSSDOCK_TOKEN", "cd_test")
        yield running


_command = cache(typer.main.get_command)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("jobs", "list")`; text for standard input is given as `given`."""
    # To make all commands anew for each call takes three times as long as the call.
    monkeypatch.setattr("typer.testing._get_command", _command)

    def call(*words: str, given: str | None = None) -> Result:
        result = CliRunner().invoke(app, list(words), input=given)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call
