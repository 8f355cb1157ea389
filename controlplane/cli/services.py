"""`crossdock services`: models that answer requests."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from controlplane.cli import jobfile
from controlplane.cli.flags import AsJson, InProject, Project
from controlplane.cli.output import Columns, Fact
from controlplane.cli.session import session
from controlplane.cli.text import moment
from controlplane.sdk import Client
from controlplane.wire.services import ReplicaDocument, RevisionDocument, ServiceDocument

app = typer.Typer(
    name="services",
    help="Deploy models that answer requests, release new revisions, and take them back.",
    no_args_is_help=True,
)

SERVICE_COLUMNS: Final[Columns[ServiceDocument]] = (
    ("PROJECT", lambda each: each.project),
    ("NAME", lambda each: each.name),
    ("PHASE", lambda each: each.phase),
    ("READY", lambda each: f"{each.ready}/{each.replicas}"),
    ("REVISIONS", lambda each: _shares(each)),  # noqa: PLW0108 - stands below
    ("CREATED", lambda each: moment(each.created_at)),
)
REVISION_COLUMNS: Final[Columns[RevisionDocument]] = (
    ("NUMBER", lambda each: str(each.number)),
    ("STATE", lambda each: each.state),
    ("TRAFFIC", lambda each: f"{each.weight_percent:g} %"),
    ("SINCE", lambda each: moment(each.since)),
    ("BY", lambda each: each.created_by),
    ("REASON", lambda each: each.reason or "-"),
)
REPLICA_COLUMNS: Final[Columns[ReplicaDocument]] = (
    ("JOB", lambda each: each.job_id),
    ("REVISION", lambda each: str(each.revision)),
    ("PLACE", lambda each: str(each.ordinal)),
    ("KIND", lambda each: "surplus" if each.is_surplus else "lasting"),
    ("STATE", lambda each: _state(each)),  # noqa: PLW0108 - stands below
    ("REASON", lambda each: each.reason or "-"),
)

ServiceName = Annotated[str, typer.Argument(metavar="SERVICE", help="Name of the service in its project.")]


@app.command("deploy")
def deploy(
    *,
    path: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Spec as YAML or JSON; `-` is standard input.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME@VERSION", help="A published model's version.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the service; default: the file's, or the model's.")
    ] = None,
    fewest: Annotated[int | None, typer.Option("--min", help="Replicas that are always there.")] = None,
    most: Annotated[int | None, typer.Option("--max", help="The most replicas.")] = None,
    project: InProject = None,
    as_json: AsJson = False,
) -> None:
    """Deploy a service, or the next revision of the one of that name."""
    if path is None and model is None:
        raise typer.BadParameter("name a FILE, --model or both")
    spec, folder = ({}, None) if path is None else jobfile.read(path)
    given = {"model": model, "name": name, "project": project}
    spec |= {key: value for key, value in given.items() if value is not None}
    if model is not None:
        spec.setdefault("name", model.partition("@")[0])
    _bound(spec, fewest, most)
    with session(as_json=as_json) as opened:
        document = opened.client.services.deploy(spec, working_dir=folder)
        opened.output.document(document, _facts(document))


@app.command("list")
def list_services(*, project: InProject = None, as_json: AsJson = False) -> None:
    """List services in the order in which they were made."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.services.list(project=project), SERVICE_COLUMNS)


@app.command("show")
def show(*, service: ServiceName, project: Project = "default", as_json: AsJson = False) -> None:
    """Show a service and its revisions that are not over."""
    with session(as_json=as_json) as opened:
        found = _found(opened.client, service, project)
        opened.output.document(found, _facts(found))


@app.command("revisions")
def revisions(*, service: ServiceName, project: Project = "default", as_json: AsJson = False) -> None:
    """List all revisions of a service, newest first."""
    with session(as_json=as_json) as opened:
        found = _found(opened.client, service, project)
        opened.output.rows(opened.client.services.revisions(found.id), REVISION_COLUMNS)


@app.command("replicas")
def replicas(*, service: ServiceName, project: Project = "default", as_json: AsJson = False) -> None:
    """List the replicas of a service; logs and reasons are those of their jobs."""
    with session(as_json=as_json) as opened:
        found = _found(opened.client, service, project)
        opened.output.rows(opened.client.services.replicas(found.id), REPLICA_COLUMNS)


@app.command("scale")
def scale(
    *,
    service: ServiceName,
    fewest: Annotated[int, typer.Option("--min", help="Replicas that are always there.")],
    most: Annotated[int, typer.Option("--max", help="The most replicas.")],
    project: Project = "default",
    as_json: AsJson = False,
) -> None:
    """Set how many replicas there may be, until the next revision."""
    with session(as_json=as_json) as opened:
        found = _found(opened.client, service, project)
        document = opened.client.services.scale(found.id, fewest=fewest, most=most)
        opened.output.document(document, _facts(document))


@app.command("promote")
def promote(*, service: ServiceName, project: Project = "default", as_json: AsJson = False) -> None:
    """Give the newest revision all traffic at once."""
    with session(as_json=as_json) as opened:
        document = opened.client.services.promote(_found(opened.client, service, project).id)
        opened.output.document(document, _facts(document))


@app.command("rollback")
def rollback(
    *,
    service: ServiceName,
    number: Annotated[
        int | None, typer.Option("--to", metavar="NUMBER", help="The revision to deploy again.")
    ] = None,
    project: Project = "default",
    as_json: AsJson = False,
) -> None:
    """Take a release back that is under way, or else deploy an earlier revision again."""
    with session(as_json=as_json) as opened:
        document = opened.client.services.rollback(_found(opened.client, service, project).id, number)
        opened.output.document(document, _facts(document))


@app.command("delete")
def delete(*, service: ServiceName, project: Project = "default", as_json: AsJson = False) -> None:
    """Delete a service: no more requests, and its replicas end what they have."""
    with session(as_json=as_json) as opened:
        document = opened.client.services.delete(_found(opened.client, service, project).id)
        opened.output.document(document, _facts(document))


def _found(client: Client, name: str, project: str) -> ServiceDocument:
    found = client.services.by_name(name, project=project)
    if found is None:
        raise typer.BadParameter(f"project {project!r} has no service {name!r}", param_hint="SERVICE")
    return found


def _bound(spec: dict[str, Any], fewest: int | None, most: int | None) -> None:  # JSON
    if fewest is None and most is None:
        return
    given = spec.get("replicas")
    bounds = dict(given) if isinstance(given, dict) else {}
    if fewest is not None:
        bounds["min"] = fewest
    bounds["max"] = most if most is not None else max(bounds.get("max", 1), bounds.get("min", 1), 1)
    spec["replicas"] = bounds


def _facts(service: ServiceDocument) -> list[Fact]:
    return [
        ("name", f"{service.project}/{service.name}"),
        ("id", service.id),
        ("phase", service.phase),
        ("queue", service.queue),
        ("replicas", f"{service.ready} ready of {service.replicas}; {_bounds(service)}"),
        *((f"revision {each.number}", _revision(each)) for each in service.revisions),
        ("created", moment(service.created_at)),
    ]


def _bounds(service: ServiceDocument) -> str:
    return f"{service.min_replicas} to {service.max_replicas}, {service.desired} asked for"


def _revision(each: RevisionDocument) -> str:
    share = f"{each.state}, {each.weight_percent:g} % of the traffic"
    return f"{share}: {each.reason}" if each.reason else share


def _shares(service: ServiceDocument) -> str:
    return ", ".join(f"{each.number} {each.state}" for each in service.revisions) or "-"


def _state(replica: ReplicaDocument) -> str:
    if replica.is_leaving:
        return "leaving"
    return "ready" if replica.is_ready else replica.state
