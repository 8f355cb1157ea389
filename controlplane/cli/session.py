"""One command's talk with the server: a client, an output, and an exit code for everything that can go wrong."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import typer

from controlplane.cli.output import Output
from controlplane.cli.text import printable
from controlplane.sdk import ApiProblem, BadFolder, Client, ClientFault, Misconfigured, Unreachable
from controlplane.wire.base import FieldProblem

REFUSED: Final = 1
"""The request was refused, or the job did not succeed."""

USAGE: Final = 2
UNREACHABLE: Final = 3
PATIENCE_SECONDS = 15.0
"""How long a server that does not answer is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    client: Client
    output: Output


@contextmanager
def session(*, as_json: bool) -> Iterator[Session]:
    """Standard output carries the answer alone; what went wrong goes to standard error."""
    try:
        with Client(patience_seconds=PATIENCE_SECONDS) as client:
            yield Session(client=client, output=Output(as_json=as_json))
    except ClientFault as fault:
        say(fault, as_json=as_json)
        raise typer.Exit(_code(fault)) from fault


def say(fault: ClientFault, *, as_json: bool) -> None:
    if not as_json:
        for line in _sentences(fault):
            typer.echo(printable(line), err=True)
    elif isinstance(fault, ApiProblem):
        typer.echo(fault.problem.model_dump_json(), err=True)
    else:
        typer.echo(json.dumps({"code": type(fault).__name__.lower(), "detail": str(fault)}), err=True)


def _code(fault: ClientFault) -> int:
    if isinstance(fault, Unreachable):
        return UNREACHABLE
    return USAGE if isinstance(fault, Misconfigured | BadFolder) else REFUSED


def _sentences(fault: ClientFault) -> Iterator[str]:
    if not isinstance(fault, ApiProblem):
        yield str(fault)
        return
    problem = fault.problem
    match problem.fields:
        case []:
            yield f"refused ({problem.code}): {problem.detail}"
        case [field]:
            yield f"refused ({problem.code}): {_told(field)}"
        case fields:
            yield f"refused ({problem.code}): {len(fields)} fields"
            yield from (f"  {_told(each)}" for each in fields)


def _told(field: FieldProblem) -> str:
    value = "" if field.value is None else f" (sent: {field.value})"
    limit = "" if field.limit is None else f" (limit: {field.limit})"
    return f"{field.field}: {field.message}{value}{limit}"
