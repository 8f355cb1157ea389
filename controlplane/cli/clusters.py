"""`crossdock clusters`: where jobs may run."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from controlplane.cli.flags import AsJson, ClusterName
from controlplane.cli.output import Columns, Fact
from controlplane.cli.session import REFUSED, Session, session
from controlplane.cli.text import amounts, moment, printable, usage
from controlplane.sdk.clusters import SEEN_SECONDS
from controlplane.sdk.errors import Timeout as TimeoutFault
from controlplane.wire.admin import ClusterDocument, NodeDocument

app = typer.Typer(
    name="clusters",
    help="Register clusters and take them out of use. Changes need an admin token of all projects.",
    no_args_is_help=True,
)
SecretFile = Annotated[
    Path | None,
    typer.Option(
        "--secret-file",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="A kubeconfig, or a JSON object of keys; it is stored encrypted.",
    ),
]
SecretStdin = Annotated[bool, typer.Option("--secret-stdin", help="Read the same from standard input.")]
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait until it was seen.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0, metavar="SECONDS", help="Wait for so long.")]

COLUMNS: Final[Columns[ClusterDocument]] = (
    ("NAME", lambda each: each.name),
    ("ADAPTER", lambda each: each.adapter),
    ("STATE", lambda each: each.state),
    ("CORDONED", lambda each: "yes" if each.cordoned_at else "no"),
    ("NODES", lambda each: str(each.nodes)),
    ("BOOKED", lambda each: usage(each.booked, each.capacity)),
    ("SEEN", lambda each: moment(each.last_seen_at)),
    ("PROBLEM", lambda each: each.problem or "; ".join(each.warnings) or "-"),
)
NODE_COLUMNS: Final[Columns[NodeDocument]] = (
    ("NODE", lambda each: each.name),
    ("CLUSTER", lambda each: each.cluster),
    ("HOST", lambda each: each.host),
    ("ACCELERATOR", lambda each: each.accelerator or "-"),
    ("BOOKED", lambda each: usage(each.booked, each.allocatable)),
    ("FOREIGN", lambda each: amounts(each.foreign)),
    ("STATE", lambda each: "gone" if each.gone_at else "present"),
)


@app.command("add")
def add(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the cluster, unique.")],
    adapter: Annotated[
        str,
        typer.Option(
            "--adapter", metavar="PLUGIN", help="ray, kubernetes, aws, alibaba, local, or another plugin."
        ),
    ],
    url: Annotated[
        str | None,
        typer.Option(
            "--url", metavar="URL", help="Of `ray`: its dashboard, for example http://127.0.0.1:8265."
        ),
    ] = None,
    token_stdin: Annotated[
        bool,
        typer.Option("--token-stdin", help="Read Ray's token from standard input; it is stored encrypted."),
    ] = False,
    secret_file: SecretFile = None,
    secret_stdin: SecretStdin = False,
    gpu_resource: Annotated[
        str, typer.Option("--gpu-resource", metavar="NAME", help="Ray resource that counts GPUs there.")
    ] = "GPU",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Option of the plugin; repeat for several."),
    ] = None,
    detach: Detach = False,
    timeout: Timeout = SEEN_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Register a cluster, wait until it was seen once, and tell what is there.

    Ends with 1 where it does not let itself be seen, and with 0 where nobody could look in time.
    """
    secret = _secret(secret_file, from_stdin=secret_stdin)
    token = sys.stdin.read().strip() if token_stdin else None
    with session(as_json=as_json) as opened:
        document = opened.client.clusters.add(
            name,
            adapter=adapter,
            url=url,
            token=token,
            secret=secret,
            gpu_resource=gpu_resource,
            settings=_options(settings or []),
        )
        if not detach:
            try:
                document = opened.client.clusters.wait(document.id, timeout_seconds=timeout)
            except TimeoutFault as fault:
                _tell_later(opened, document, fault)
                return
        _tell(opened, document, is_seen=detach or document.last_seen_at is not None)


@app.command("update")
def update(
    *,
    cluster: ClusterName,
    secret_file: SecretFile = None,
    secret_stdin: SecretStdin = False,
    detach: Detach = False,
    timeout: Timeout = SEEN_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Give the control plane another secret, or token, for a cluster, and see whether it opens it."""
    secret = _secret(secret_file, from_stdin=secret_stdin)
    if secret is None:
        raise typer.BadParameter("is needed, or --secret-stdin", param_hint="--secret-file")
    with session(as_json=as_json) as opened:
        document = opened.client.clusters.change_secret(cluster, secret)
        before = document.last_seen_at
        if not detach:
            document = opened.client.clusters.wait(document.id, after=before, timeout_seconds=timeout)
        _tell(opened, document, is_seen=detach or document.last_seen_at != before)


@app.command("list")
def list_clusters(*, as_json: AsJson = False) -> None:
    """List clusters: state, nodes, and how much is booked."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.clusters.list(), COLUMNS)


@app.command("get")
def get(*, cluster: ClusterName, as_json: AsJson = False) -> None:
    """Show one cluster."""
    with session(as_json=as_json) as opened:
        document = opened.client.clusters.get(cluster)
        opened.output.document(document, _facts(document))


@app.command("nodes")
def nodes(
    *,
    cluster: Annotated[
        str | None,
        typer.Argument(metavar="[CLUSTER]", help="Name or id of the cluster; default: all clusters."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List nodes: what they hold, what is booked, and what others use."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.clusters.nodes(cluster), NODE_COLUMNS)


@app.command("cordon")
def cordon(*, cluster: ClusterName, as_json: AsJson = False) -> None:
    """Place no new tasks there; those that run go on."""
    with session(as_json=as_json) as opened:
        document = opened.client.clusters.cordon(cluster)
        opened.output.document(document, _facts(document))


@app.command("uncordon")
def uncordon(*, cluster: ClusterName, as_json: AsJson = False) -> None:
    """Place new tasks there again."""
    with session(as_json=as_json) as opened:
        document = opened.client.clusters.uncordon(cluster)
        opened.output.document(document, _facts(document))


@app.command("drain")
def drain(*, cluster: ClusterName, as_json: AsJson = False) -> None:
    """Move tasks off: they are stopped within their grace time, and their jobs queue again."""
    with session(as_json=as_json) as opened:
        document = opened.client.clusters.drain(cluster)
        opened.output.document(document, _facts(document))


@app.command("undrain")
def undrain(*, cluster: ClusterName, as_json: AsJson = False) -> None:
    """Take a draining cluster back into use."""
    with session(as_json=as_json) as opened:
        document = opened.client.clusters.undrain(cluster)
        opened.output.document(document, _facts(document))


@app.command("detach")
def detach(*, cluster: ClusterName, as_json: AsJson = False) -> None:
    """Forget a cluster for good; where it is unreachable, its attempts end as lost."""
    with session(as_json=as_json) as opened:
        document = opened.client.clusters.detach(cluster)
        opened.output.document(document, _facts(document))


def _secret(path: Path | None, *, from_stdin: bool) -> str | None:
    if path is not None and from_stdin:
        raise typer.BadParameter(
            "comes from a file or from standard input, not both", param_hint="--secret-file"
        )
    if path is None:
        return sys.stdin.read() if from_stdin else None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}", param_hint="--secret-file") from error


def _tell(opened: Session, document: ClusterDocument, *, is_seen: bool) -> None:
    """Ends with 1 where the cluster does not let itself be seen."""
    opened.output.document(document, _facts(document))
    if not is_seen:
        typer.echo("it is registered but was not seen; it is looked at again and again", err=True)
        raise typer.Exit(REFUSED)


def _tell_later(opened: Session, document: ClusterDocument, fault: TimeoutFault) -> None:
    """It is registered, and that is what was asked for."""
    opened.output.document(document, _facts(document))
    for line in (
        str(fault),
        f"it is registered; to see what was found: crossdock clusters get {document.name}",
    ):
        typer.echo(printable(line), err=True)


def _options(given: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{each!r}: write KEY=VALUE", param_hint="--set")
        options[key] = value
    return options


def _facts(cluster: ClusterDocument) -> list[Fact]:
    return [
        ("id", cluster.id),
        ("name", cluster.name),
        ("adapter", cluster.adapter),
        ("state", cluster.state),
        ("since", moment(cluster.since)),
        ("url", cluster.url or ""),
        ("nodes", str(cluster.nodes)),
        ("booked", usage(cluster.booked, cluster.capacity)),
        ("foreign", amounts(cluster.foreign)),
        ("cordoned", moment(cluster.cordoned_at)),
        ("seen", moment(cluster.last_seen_at)),
        ("offers", moment(cluster.offers_listed_at)),
        ("problem", cluster.problem or cluster.offers_problem or ""),
        *(("warning", each) for each in cluster.warnings),
    ]
