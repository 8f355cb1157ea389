"""`crossdock stores`: the buckets that the server may use."""

import sys
from typing import Annotated, Final

import typer

from controlplane.cli.flags import AsJson
from controlplane.cli.output import Columns, Fact
from controlplane.cli.session import session
from controlplane.cli.text import moment
from controlplane.wire.data import StoreDocument

app = typer.Typer(
    name="stores",
    help="Register the buckets that the server may read and write. Changes need an admin token of all projects.",
    no_args_is_help=True,
)

COLUMNS: Final[Columns[StoreDocument]] = (
    ("NAME", lambda each: each.name),
    ("URI", lambda each: each.uri),
    ("REGION", lambda each: each.region or "-"),
    ("ENDPOINT", lambda each: each.endpoint or "-"),
    ("KEY", lambda each: each.access_key_id or "-"),
    ("NEAR", lambda each: ", ".join(each.near) or "-"),
)

StoreName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the store, unique.")]


@app.command("add")
def add(
    *,
    name: StoreName,
    uri: Annotated[
        str,
        typer.Argument(
            metavar="URI", help="s3://bucket, oss://bucket or file:///folder; a prefix narrows it."
        ),
    ],
    region: Annotated[
        str, typer.Option("--region", help="Default: us-east-1 for S3, cn-hangzhou for OSS.")
    ] = "",
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", metavar="URL", help="Default: the cloud's own for the region.")
    ] = None,
    access_key_id: Annotated[
        str | None,
        typer.Option("--access-key-id", metavar="ID", help="Default: what the server's machine offers."),
    ] = None,
    secret_stdin: Annotated[
        bool,
        typer.Option(
            "--secret-stdin", help="Read the key's secret from standard input; it is stored encrypted."
        ),
    ] = False,
    near: Annotated[
        list[str] | None,
        typer.Option(
            "--near", metavar="CLUSTER", help="Keep the checkpoints of its jobs here; repeat for several."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let the server read and write what is below a URI."""
    secret = sys.stdin.read().strip() if secret_stdin else None
    with session(as_json=as_json) as opened:
        document = opened.client.stores.add(
            name,
            uri,
            region=region,
            endpoint=endpoint,
            access_key_id=access_key_id,
            secret=secret,
            near=near or (),
        )
        opened.output.document(document, _facts(document))


@app.command("list")
def list_stores(*, as_json: AsJson = False) -> None:
    """List them, without their secrets."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.stores.list(), COLUMNS)


@app.command("remove")
def remove(*, name: StoreName, as_json: AsJson = False) -> None:
    """Forget a store and its secret. What is in the bucket stays there."""
    with session(as_json=as_json) as opened:
        document = opened.client.stores.remove(name)
        opened.output.document(document, _facts(document))


def _facts(store: StoreDocument) -> list[Fact]:
    return [
        ("name", store.name),
        ("uri", store.uri),
        ("region", store.region),
        ("endpoint", store.endpoint or ""),
        ("key", store.access_key_id or ""),
        ("near", ", ".join(store.near)),
        ("added", moment(store.created_at)),
    ]
