"""Transfers: what it costs to bring data to the machines that a cluster's cloud sells, and which region those are in.

A setting of the cluster says the first, whatever plugin sells there; the plugin itself is not told.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from controlplane.domain.clusters import Cluster
from controlplane.domain.errors import Invalid
from controlplane.operations.residency import bought_in

EGRESS_PER_GIB: Final = "egress_per_gib"
"""What bringing one GiB there from another region costs, in the currency of the cluster's offers."""

MOST: Final = 1000
MILLION: Final = 1_000_000
_PRICE: Final = re.compile(r"\d{1,4}(\.\d{1,6})?", re.ASCII)


def check_egress(settings: Mapping[str, str]) -> None:
    """Raises `Invalid`."""
    said = settings.get(EGRESS_PER_GIB)
    if said is not None and _millionths(said) is None:
        raise Invalid(
            "is a price for one GiB, such as 0.02, with at most six decimals",
            field=f"settings.{EGRESS_PER_GIB}",
            value=said,
            limit=f"0 to {MOST}",
        )


def egress_millionths_per_gib(cluster: Cluster) -> int:
    """0 where nobody said."""
    return _millionths(dict(cluster.settings).get(EGRESS_PER_GIB, "0")) or 0


def region_of(cluster: Cluster, zone: str) -> str:
    """Of those that the cluster's plugin buys in, as clouds name a zone after its region; empty: nobody knows."""
    regions = bought_in(cluster)
    named = [each for each in regions if zone.startswith(each)]
    if named:
        return max(named, key=len)
    return regions[0] if len(regions) == 1 else ""


def _millionths(text: str) -> int | None:
    """None: it is no price."""
    if not _PRICE.fullmatch(text):
        return None
    millionths = int(Decimal(text) * MILLION)
    return millionths if millionths <= MOST * MILLION else None
