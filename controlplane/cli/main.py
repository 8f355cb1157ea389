"""The `crossdock` command."""

import typer

from controlplane.cli import clusters, events, jobs, server, tenants

app = typer.Typer(
    name="crossdock",
    help="Submit AI jobs to one queue over private clusters and public clouds, and see what becomes of them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (jobs.app, clusters.app, tenants.projects, tenants.queues, tenants.tokens, server.app):
    app.add_typer(group)
app.command("events")(events.events)
app.command("whoami")(tenants.whoami)
app.command("demo")(server.demo)


def main() -> None:
    """Runs one command and ends the process with its exit code."""
    app(prog_name="crossdock")


if __name__ == "__main__":
    main()
