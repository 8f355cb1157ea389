"""`crossdock residency`: where work and data may be, and where clusters and stores are."""

from typing import Annotated, Final

import typer

from controlplane.cli.flags import AsJson
from controlplane.cli.output import Columns
from controlplane.cli.session import session
from controlplane.wire.residency import ResidencyDocument, ResidencySubject

app = typer.Typer(
    name="residency",
    help="Where work and data may be, and where clusters and stores are.",
    no_args_is_help=True,
)

COLUMNS: Final[Columns[ResidencyDocument]] = (
    ("SUBJECT", lambda each: each.subject),
    ("NAME", lambda each: each.name),
    ("PROVIDERS", lambda each: ", ".join(each.providers) or "-"),
    ("REGIONS", lambda each: ", ".join(each.regions) or "-"),
    ("CLUSTERS", lambda each: ", ".join(each.clusters) or "-"),
)


@app.command("set")
def set_residency(
    *,
    subject: Annotated[
        ResidencySubject,
        typer.Argument(
            metavar="SUBJECT", help="Where a project or the data in a store may be; a cluster or store is."
        ),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the project, the store or the cluster.")],
    regions: Annotated[
        list[str] | None,
        typer.Option("--region", metavar="NAME", help="Of a cloud, or a jurisdiction; repeat for others."),
    ] = None,
    providers: Annotated[
        list[str] | None,
        typer.Option("--provider", metavar="NAME", help="The adapter of a cluster; repeat for others."),
    ] = None,
    clusters: Annotated[
        list[str] | None, typer.Option("--cluster", metavar="NAME", help="Repeat for others.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say all of it anew; with nothing named it may be anywhere."""
    with session(as_json=as_json) as opened:
        document = opened.client.residency.set(
            subject, name, providers=providers or (), regions=regions or (), clusters=clusters or ()
        )
        opened.output.document(document, [(title.lower(), cell(document)) for title, cell in COLUMNS])


@app.command("list")
def list_residency(*, as_json: AsJson = False) -> None:
    """List rules and places; what is not listed may be anywhere."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.residency.list(), COLUMNS)
