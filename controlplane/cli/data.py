"""`crossdock data`: copies between object stores, and what is in them."""

from typing import Annotated, Final

import typer

from controlplane.cli.flags import AsJson
from controlplane.cli.output import Columns, Fact, Output
from controlplane.cli.session import REFUSED, Session, session
from controlplane.cli.text import moment, size
from controlplane.wire.data import CheckedDocument, CopyDocument, ObjectDocument

app = typer.Typer(
    name="data",
    help="Copy objects between registered stores, and see what is in them.",
    no_args_is_help=True,
)

OBJECT_COLUMNS: Final[Columns[ObjectDocument]] = (
    ("SIZE", lambda each: size(each.size_bytes)),
    ("MODIFIED", lambda each: moment(each.modified_at)),
    ("KEY", lambda each: each.key),
)
CHECK_COLUMNS: Final[Columns[CheckedDocument]] = (
    ("FOUND", lambda each: each.found),
    ("SIZE", lambda each: size(each.size_bytes)),
    ("KEY", lambda each: each.key),
)
COPY_COLUMNS: Final[Columns[CopyDocument]] = (
    ("ID", lambda each: each.id),
    ("STATE", lambda each: each.state),
    ("OBJECTS", lambda each: str(each.objects)),
    ("COPIED", lambda each: f"{size(each.size_bytes)}/{size(each.known_bytes)}"),
    ("SOURCE", lambda each: each.source),
    ("TARGET", lambda each: each.target),
    ("PROBLEM", lambda each: each.problem or "-"),
)

CopyId = Annotated[str, typer.Argument(metavar="COPY", help="Id of the copy, as `data copies` shows it.")]


@app.command("copy")
def copy(
    *,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="URI of an object; with `/` at its end, of all below it.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="URI; with `/` at its end, an object keeps its last part.")
    ],
    project: Annotated[
        str, typer.Option("--project", "-p", metavar="NAME", help="Project that it belongs to.")
    ] = "default",
    bytes_per_second: Annotated[
        int | None, typer.Option("--bytes-per-second", min=1, help="Default: as fast as it goes.")
    ] = None,
    rereads: Annotated[
        bool, typer.Option("--reread", help="Read every object back and compare it part by part.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Copy objects. Accepted means stored: the copy goes on whatever happens to the server or to this command."""
    with session(as_json=as_json) as opened:
        document = opened.client.data.copy(
            source, target, project=project, bytes_per_second=bytes_per_second, rereads=rereads
        )
        if not detach:
            document = _followed(opened, document)
        opened.output.document(document, _facts(document))
    if document.state in {"failed", "cancelled"}:
        raise typer.Exit(REFUSED)


@app.command("ls")
def ls(
    *,
    uri: Annotated[str, typer.Argument(metavar="URI", help="Prefix below a registered store.")],
    as_json: AsJson = False,
) -> None:
    """List objects below a prefix."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.data.ls(uri), OBJECT_COLUMNS)


@app.command("copies")
def copies(*, as_json: AsJson = False) -> None:
    """List copies, newest first."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.data.list(), COPY_COLUMNS)


@app.command("cancel")
def cancel(*, copy_id: CopyId, as_json: AsJson = False) -> None:
    """End a copy. Objects that are whole stay at the target."""
    with session(as_json=as_json) as opened:
        document = opened.client.data.cancel(copy_id)
        opened.output.document(document, _facts(document))


@app.command("verify")
def verify(*, copy_id: CopyId, as_json: AsJson = False) -> None:
    """Ask the target whether it still holds what was copied; exit code 1 unless all is whole."""
    with session(as_json=as_json) as opened:
        found = list(opened.client.data.verify(copy_id))
        opened.output.rows(found, CHECK_COLUMNS)
    if any(each.found != "whole" for each in found):
        raise typer.Exit(REFUSED)


def _followed(opened: Session, begun: CopyDocument) -> CopyDocument:
    """JSON says how it ended, and nothing before."""
    last, said = begun, ""
    for last in opened.client.data.watch(begun.id):
        said = _say(opened.output, last, said)
    return last


def _say(output: Output, copy: CopyDocument, said: str) -> str:
    text = f"{copy.id}: {copy.state}, {size(copy.size_bytes)} of {size(copy.known_bytes)}"
    problem = f" ({copy.problem})" if copy.problem else ""
    if not output.as_json and text + problem != said:
        output.line(text + problem)
    return text + problem


def _facts(copy: CopyDocument) -> list[Fact]:
    return [
        ("id", copy.id),
        ("state", copy.state),
        ("source", copy.source),
        ("target", copy.target),
        ("objects", str(copy.objects)),
        ("copied", size(copy.size_bytes)),
        ("since", moment(copy.since)),
        ("problem", copy.problem or ""),
    ]
