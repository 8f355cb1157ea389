"""Commands that run on the server's own machine.

The parts behind them need the `server` extra, which an SDK install lacks: they are imported when a
command is called, not before.
"""

import importlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from controlplane.cli.flags import AsJson, Home

adapters = typer.Typer(name="adapters", help="Capacity plugins of this installation.", no_args_is_help=True)
app = typer.Typer(name="server", help="Set up and run a control plane on this machine.", no_args_is_help=True)


@app.command("init")
def init(*, home: Home = None, as_json: AsJson = False) -> None:
    """Create database, keys and the first admin token; its secret is shown once. Safe to repeat."""
    with _server_parts():
        answer = _part("controlplane.admin.server").init(_settings(home=home))
    if as_json:
        typer.echo(
            json.dumps({"url": answer.url, "created": answer.created, "admin_token": answer.admin_token})
        )
        return
    if not answer.created:
        typer.echo(f"nothing to do: a control plane for {answer.url} was set up here before")
        return
    typer.echo(f"control plane for {answer.url} is set up")
    typer.echo(f"admin token, shown only now: {answer.admin_token}")
    typer.echo("start it with: crossdock server run")


@app.command("run")
def run(
    *,
    home: Home = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Address to listen on; default: CROSSDOCK_HOST, else 127.0.0.1."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", min=1, max=65_535, help="Port to listen on; default: CROSSDOCK_PORT, else 8042."
        ),
    ] = None,
) -> None:
    """Serve the API and move jobs until stopped with Ctrl-C or SIGTERM."""
    with _server_parts():
        code = _part("controlplane.admin.server").run(_settings(home=home, host=host, port=port))
    raise typer.Exit(code)


@app.command("agent-token")
def agent_token(
    *,
    cluster: Annotated[str, typer.Argument(metavar="CLUSTER", help="A cluster with the setting via=agent.")],
    home: Home = None,
) -> None:
    """Print the first token for the agent of a cluster; it is good for 30 days, and the agent renews it by itself."""
    with _server_parts():
        token = _part("controlplane.admin.agent").first_token(_settings(home=home), cluster)
    typer.echo(token)


def agent(
    *,
    url: Annotated[
        str, typer.Option("--url", metavar="URL", help="The control plane, as it is seen from here.")
    ],
    token_file: Annotated[
        Path,
        typer.Option("--token-file", metavar="FILE", help="Holds the agent's token, and is kept up to date."),
    ],
    targets: Annotated[
        list[str],
        typer.Option(
            "--target",
            metavar="HOST:PORT",
            help="What the control plane may reach, also HOST:FIRST-LAST or 10.0.0.0/16:FIRST-LAST; repeatable.",
        ),
    ],
    ca_file: Annotated[
        Path | None,
        typer.Option(
            "--ca-file", metavar="FILE", help="Certificates that alone vouch for the control plane."
        ),
    ] = None,
) -> None:
    """Let the control plane reach a cluster that it cannot dial, by dialling out from here. Runs until stopped."""
    with _server_parts():
        code = _part("controlplane.admin.agent").agent(url, token_file, tuple(targets), ca_file)
    raise typer.Exit(code)


def demo(
    *,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Leave the server running at the end, for a look around."),
    ] = False,
) -> None:
    """Show it all on this machine: server, embedded Ray cluster, a training job, a kill in the middle."""
    with _server_parts():
        code = _part("controlplane.admin.demo").demo(keep=keep)
    raise typer.Exit(code)


def doctor(
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Put right what is safe to; each repair is told as an event.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Compare database and clusters with all that must hold, and tell what is wrong. Reads only, unless told."""
    with _server_parts():
        code = _part("controlplane.admin.doctor").doctor(_settings(home=home), repair=repair, as_json=as_json)
    raise typer.Exit(code)


@adapters.command("list")
def list_adapters(*, as_json: AsJson = False) -> None:
    """List the capacity plugins that are installed here, and what each can do."""
    with _server_parts():
        code = _part("controlplane.admin.adapters").adapters(as_json=as_json)
    raise typer.Exit(code)


def _settings(*, home: Path | None = None, host: str | None = None, port: int | None = None) -> object:
    given = {"CROSSDOCK_HOME": home, "CROSSDOCK_HOST": host, "CROSSDOCK_PORT": port}
    overrides = {name: str(value) for name, value in given.items() if value is not None}
    return _part("controlplane.settings").Settings.read({**os.environ, **overrides})


def _part(module: str) -> ModuleType:
    return importlib.import_module(module)


@contextmanager
def _server_parts() -> Iterator[None]:
    """Says in one sentence what is missing or wrong, instead of a traceback."""
    errors = _part("controlplane.domain.errors")
    try:
        yield
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in {"controlplane", "schedulers", "cloud_adapters"}:
            raise
        typer.echo(f"{missing.name} is not installed: pip install 'crossdock[server]'", err=True)
        raise typer.Exit(2) from missing
    except errors.ControlPlaneError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(2 if isinstance(error, errors.Invalid) else 1) from error
