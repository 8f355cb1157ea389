"""`crossdock offers`: what could be bought."""

from typing import Final

import typer

from controlplane.cli.flags import AsJson, ClusterName, InCluster
from controlplane.cli.output import Columns
from controlplane.cli.session import session
from controlplane.cli.text import amounts, moment, price
from controlplane.wire.capacity import OfferDocument

app = typer.Typer(name="offers", help="What the clouds of clusters sell.", no_args_is_help=True)

COLUMNS: Final[Columns[OfferDocument]] = (
    ("CLUSTER", lambda each: each.cluster),
    ("TYPE", lambda each: each.machine_type),
    ("ZONE", lambda each: each.zone),
    ("CAPACITY", lambda each: each.capacity_type),
    ("HOLDS", lambda each: amounts(each.resources)),
    ("ACCELERATOR", lambda each: each.accelerator or "-"),
    ("PER HOUR", lambda each: price(each.price_per_hour, each.currency, is_sure=each.is_price_verified)),
    ("REFUSED UNTIL", lambda each: moment(each.cool_until)),
)


@app.command("list")
def list_offers(*, cluster: InCluster = None, as_json: AsJson = False) -> None:
    """List machine types by zone; a price with a question mark is from a table, not from the provider."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.offers.list(cluster=cluster), COLUMNS)


@app.command("refresh")
def refresh(*, cluster: ClusterName, as_json: AsJson = False) -> None:
    """Have a cluster's cloud asked now, instead of within ten minutes."""
    with session(as_json=as_json) as opened:
        document = opened.client.offers.refresh(cluster)
        facts = [("cluster", document.name), ("offers", moment(document.offers_listed_at))]
        opened.output.document(document, [*facts, ("problem", document.offers_problem or "")])
