"""The `crossdock` command."""

from importlib.metadata import version
from typing import Annotated

import typer

from controlplane.cli import (
    claims,
    clusters,
    costs,
    data,
    events,
    jobs,
    models,
    offers,
    pipelines,
    quotas,
    residency,
    server,
    services,
    stores,
    tenants,
)

app = typer.Typer(
    name="crossdock",
    help="Submit AI jobs to one queue over private clusters and public clouds, and see what becomes of them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (
    jobs.app,
    clusters.app,
    claims.app,
    offers.app,
    quotas.quota,
    quotas.flavors,
    costs.costs,
    costs.budgets,
    residency.app,
    stores.app,
    data.app,
    models.app,
    pipelines.app,
    services.app,
    tenants.projects,
    tenants.queues,
    tenants.tokens,
    server.adapters,
    server.app,
):
    app.add_typer(group)
app.command("events")(events.events)
app.command("whoami")(tenants.whoami)
app.command("demo")(server.demo)
app.command("doctor")(server.doctor)
app.command("agent")(server.agent)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"crossdock {version('crossdock')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Options of the command itself; each is acted upon where it is read."""
    del show_version


def main() -> None:
    """Runs one command and ends the process with its exit code."""
    app(prog_name="crossdock")


if __name__ == "__main__":
    main()
