"""`crossdock models`: what was learned, version by version, and which version serves."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from controlplane.cli.flags import AsJson, InProject, Project
from controlplane.cli.output import Columns, Fact
from controlplane.cli.session import session
from controlplane.cli.text import moment, number, size
from controlplane.sdk.models import Which
from controlplane.wire.models import GateDocument, ModelDocument, VersionDocument

app = typer.Typer(
    name="models",
    help="Publish versions of models, promote them past their gates, and see where they come from.",
    no_args_is_help=True,
)
gates = typer.Typer(
    name="gates",
    help="What metrics must reach before a version serves. Changes need an admin token.",
    no_args_is_help=True,
)
app.add_typer(gates)

MODEL_COLUMNS: Final[Columns[ModelDocument]] = (
    ("PROJECT", lambda each: each.project),
    ("NAME", lambda each: each.name),
    ("VERSIONS", lambda each: str(each.versions)),
    ("PRODUCTION", lambda each: str(each.production or "-")),
    ("GATES", lambda each: str(len(each.gates))),
    ("CREATED", lambda each: moment(each.created_at)),
)
VERSION_COLUMNS: Final[Columns[VersionDocument]] = (
    ("NUMBER", lambda each: str(each.number)),
    ("STAGE", lambda each: each.stage),
    ("SIZE", lambda each: size(sum(artifact.size_bytes for artifact in each.artifacts))),
    ("JOB", lambda each: each.lineage.job_id or "-"),
    ("METRICS", lambda each: _told(each.metrics)),
    ("CREATED", lambda each: moment(each.created_at)),
)
GATE_COLUMNS: Final[Columns[GateDocument]] = (
    ("NAME", lambda each: each.name),
    ("METRIC", lambda each: each.metric),
    ("COMPARISON", lambda each: each.comparison.replace("_", " ")),
    ("LIMIT", lambda each: "-" if each.limit is None else number(each.limit)),
    ("SLACK", lambda each: "-" if each.slack is None else number(each.slack)),
)

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model in its project.")]
Version = Annotated[
    str, typer.Argument(metavar="VERSION", help="Number, or `production` for the one that serves.")
]
GateName = Annotated[str, typer.Argument(metavar="GATE", help="Name of the gate.")]


@app.command("create")
def create(
    *,
    model: ModelName,
    description: Annotated[str, typer.Option("--description", help="For people.")] = "",
    project: Project = "default",
    as_json: AsJson = False,
) -> None:
    """Make a model, to publish versions of."""
    with session(as_json=as_json) as opened:
        document = opened.client.models.create(model, project=project, description=description)
        opened.output.document(document, _model_facts(document))


@app.command("list")
def list_models(*, project: InProject = None, as_json: AsJson = False) -> None:
    """List models in the order in which they were made."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.models.list(project=project), MODEL_COLUMNS)


@app.command("versions")
def versions(*, model: ModelName, project: Project = "default", as_json: AsJson = False) -> None:
    """List the versions of a model, newest first."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.models.versions(model, project=project), VERSION_COLUMNS)


@app.command("show")
def show(
    *,
    model: ModelName,
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="Number or `production`; absent: the model.")
    ] = None,
    project: Project = "default",
    as_json: AsJson = False,
) -> None:
    """Show a model, or one of its versions with artifacts, metrics and lineage."""
    with session(as_json=as_json) as opened:
        if version is None:
            document = opened.client.models.get(model, project=project)
            opened.output.document(document, _model_facts(document))
            return
        found = opened.client.models.version(model, _which(version), project=project)
        opened.output.document(found, _version_facts(found))


@app.command("publish")
def publish(
    *,
    model: ModelName,
    job: Annotated[
        str | None, typer.Option("--job", metavar="JOB", help="A job that succeeded and made this version.")
    ] = None,
    artifacts: Annotated[
        list[str] | None,
        typer.Option(
            "--artifact", metavar="NAME=URI", help="May be repeated; default: the job's newest checkpoint."
        ),
    ] = None,
    evaluated_by: Annotated[
        str | None,
        typer.Option(
            "--evaluated-by", metavar="JOB", help="A job whose metrics count before those of --job."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="URI", help="The object that names the data; the server hashes it."),
    ] = None,
    parent: Annotated[
        int | None, typer.Option("--parent", metavar="NUMBER", help="The version that it was made from.")
    ] = None,
    project: Project = "default",
    as_json: AsJson = False,
) -> None:
    """Publish the next version. The server reads the artifacts first, so this takes as long as reading them."""
    given = [_artifact(text) for text in artifacts or []]
    with session(as_json=as_json) as opened:
        document = opened.client.models.publish(
            model,
            job=job,
            artifacts=given,
            evaluated_by=evaluated_by,
            data=data,
            parent=parent,
            project=project,
        )
        opened.output.document(document, _version_facts(document))


@app.command("promote")
def promote(
    *,
    model: ModelName,
    version: Version,
    stage: Annotated[
        Literal["staging", "production"], typer.Option("--stage", help="Where to.")
    ] = "production",
    project: Project = "default",
    as_json: AsJson = False,
) -> None:
    """Let a version serve, if it passes every gate. The one that served goes back to staging."""
    with session(as_json=as_json) as opened:
        document = opened.client.models.promote(model, _which(version), stage=stage, project=project)
        opened.output.document(document, _version_facts(document))


@app.command("archive")
def archive(
    *, model: ModelName, version: Version, project: Project = "default", as_json: AsJson = False
) -> None:
    """Take a version out of use for good. Its facts and its objects stay."""
    with session(as_json=as_json) as opened:
        document = opened.client.models.archive(model, _which(version), project=project)
        opened.output.document(document, _version_facts(document))


@app.command("manifest")
def manifest(
    *,
    model: ModelName,
    version: Version,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FOLDER", help="Write manifest.json, manifest.sig and signer.pem there."
        ),
    ] = None,
    project: Project = "default",
    as_json: AsJson = False,
) -> None:
    """Print the signed manifest of a version, or write it with signature and public key."""
    with session(as_json=as_json) as opened:
        document = opened.client.models.manifest(model, _which(version), project=project)
        if folder is None:
            opened.output.json(document) if as_json else opened.output.line(document.manifest)
            return
        key = opened.client.models.public_key()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_bytes(document.manifest.encode())
        (folder / "manifest.sig").write_bytes(base64.b64decode(document.signature))
        (folder / "signer.pem").write_text(key.public_key, encoding="ascii")


@app.command("key")
def key(*, as_json: AsJson = False) -> None:
    """Print the public key that manifests are signed with."""
    with session(as_json=as_json) as opened:
        document = opened.client.models.public_key()
        opened.output.json(document) if as_json else opened.output.line(document.public_key.rstrip())


@gates.command("set")
def set_gate(
    *,
    model: ModelName,
    gate: GateName,
    metric: Annotated[str, typer.Option("--metric", metavar="NAME", help="As jobs report it.")],
    at_least: Annotated[float | None, typer.Option("--at-least", help="More is better; the least.")] = None,
    at_most: Annotated[float | None, typer.Option("--at-most", help="Less is better; the most.")] = None,
    slack: Annotated[
        float | None, typer.Option("--slack", min=0, help="By how much it may be worse than production.")
    ] = None,
    less_is_better: Annotated[
        bool, typer.Option("--less-is-better", help="For a gate with a slack alone.")
    ] = False,
    project: Project = "default",
    as_json: AsJson = False,
) -> None:
    """Let no version serve that does not reach this. A gate of the same name is replaced."""
    if at_least is not None and (at_most is not None or less_is_better):
        raise typer.BadParameter("--at-least goes with neither --at-most nor --less-is-better")
    with session(as_json=as_json) as opened:
        document = opened.client.models.set_gate(
            model,
            gate,
            metric=metric,
            comparison="at_most" if at_most is not None or less_is_better else "at_least",
            limit=at_least if at_most is None else at_most,
            slack=slack,
            project=project,
        )
        opened.output.document(document, _model_facts(document))


@gates.command("remove")
def remove_gate(
    *, model: ModelName, gate: GateName, project: Project = "default", as_json: AsJson = False
) -> None:
    """Take a gate away."""
    with session(as_json=as_json) as opened:
        document = opened.client.models.remove_gate(model, gate, project=project)
        opened.output.document(document, _model_facts(document))


@gates.command("list")
def list_gates(*, model: ModelName, project: Project = "default", as_json: AsJson = False) -> None:
    """List the gates of a model."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.models.get(model, project=project).gates, GATE_COLUMNS)


def _which(text: str) -> Which:
    if text == "production":
        return "production"
    if not (text.isascii() and text.isdecimal()):
        raise typer.BadParameter(f"{text!r} is neither a number nor `production`", param_hint="VERSION")
    return int(text)


def _artifact(text: str) -> dict[str, object]:
    name, separator, uri = text.partition("=")
    if not separator:
        raise typer.BadParameter(f"{text!r} is not NAME=URI", param_hint="--artifact")
    return {"name": name, "uri": uri}


def _model_facts(model: ModelDocument) -> list[Fact]:
    return [
        ("project", model.project),
        ("name", model.name),
        ("description", model.description),
        ("versions", str(model.versions)),
        ("production", str(model.production or "")),
        *(("gate", _gate(each)) for each in model.gates),
    ]


def _gate(gate: GateDocument) -> str:
    words = [f"{gate.name}: {gate.metric}"]
    if gate.limit is not None:
        words.append(f"{gate.comparison.replace('_', ' ')} {number(gate.limit)}")
    if gate.slack is not None:
        words.append(f"at most {number(gate.slack)} worse than production")
    return ", ".join(words) if len(words) > 2 else " ".join(words)  # noqa: PLR2004 - one comma between two rules


def _version_facts(version: VersionDocument) -> list[Fact]:
    lineage = version.lineage
    return [
        ("model", f"{version.project}/{version.model}"),
        ("version", str(version.number)),
        ("stage", version.stage),
        *(
            ("artifact", f"{each.name} {size(each.size_bytes)} sha256:{each.sha256} {each.uri}")
            for each in version.artifacts
        ),
        ("metrics", _told(version.metrics)),
        ("job", lineage.job_id or ""),
        ("step", "" if lineage.checkpoint_step is None else str(lineage.checkpoint_step)),
        ("evaluated by", lineage.evaluation_job_id or ""),
        ("code", lineage.code or ""),
        ("data", f"{lineage.data_uri} sha256:{lineage.data_sha256}" if lineage.data_uri else ""),
        ("parent", str(lineage.parent or "")),
        ("published", f"{moment(version.created_at)} by {version.created_by}"),
    ]


def _told(metrics: Mapping[str, float | None]) -> str:
    return (
        ", ".join(f"{name} {'-' if value is None else number(value)}" for name, value in metrics.items())
        or "-"
    )
