"""`crossdock events`: what happened."""

import json
from typing import Annotated

import typer

from controlplane.cli.flags import AsJson
from controlplane.cli.session import session
from controlplane.cli.text import moment, printable
from controlplane.wire.jobs import EventDocument


def events(
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C, across restarts of the server.")
    ] = False,
    after: Annotated[
        str | None,
        typer.Option(
            "--after", metavar="CURSOR", help="Only what came after this event's `cursor` (see --json)."
        ),
    ] = None,
    job: Annotated[str | None, typer.Option("--job", metavar="JOB", help="Only of this job.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print what happened, oldest first: every birth and every change of state."""
    with session(as_json=as_json) as opened:
        for event in opened.client.events(after=after, follow=follow, job=job):
            if as_json:
                opened.output.json(event)
            else:
                opened.output.line(_line(event))


def _line(event: EventDocument) -> str:
    said = {name: value for name, value in event.data.items() if value is not None}
    data = f"  {json.dumps(said, sort_keys=True)}" if said else ""
    return printable(f"{moment(event.at)}  {event.kind}  {event.subject}{data}")
