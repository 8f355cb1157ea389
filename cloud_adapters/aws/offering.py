"""What could be ordered, and for how much: machines, zones, quotas and prices, as the APIs say now."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from cloud_adapters.aws.catalogue import ON_DEMAND_DOLLARS, PRICED_REGIONS, PRICES_AS_OF, Kind, quota_of
from cloud_adapters.aws.client import PRICE_REGION, Act, Calls
from cloud_adapters.aws.settings import AwsSettings
from cloud_adapters.aws.translate import Row, amounts_of, kind_of
from cloud_adapters.base import CapacityType, Offer, PluginError, Price

LINUX: Final = "Linux/UNIX"
LIST_PRICE_OF: Final = (
    ("operatingSystem", "Linux"),
    ("tenancy", "Shared"),
    ("preInstalledSw", "NA"),
    ("capacitystatus", "Used"),
    ("marketoption", "OnDemand"),
)
"""Which of a type's several prices is meant: that of a plain machine that is running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """One region, as of now."""

    region: str
    kinds: tuple[Kind, ...]
    zones: Mapping[str, frozenset[str]]
    """By type: where it is sold."""

    spot: Mapping[tuple[str, str], Price]
    """By (type, zone)."""

    on_demand: Mapping[str, Price]
    quotas: Mapping[str, int]
    """vCPUs by code; a code that is missing is not known, which is no limit."""


def market(calls: Calls, settings: AwsSettings, region: str, now: datetime) -> Market:
    """Raises when types or zones cannot be had; prices and quotas that cannot be had are left out."""
    types = list(settings.machine_types)
    by_type = [{"Name": "instance-type", "Values": types}]
    kinds = tuple(map(kind_of, calls.rows(Act.TYPES, region, "InstanceTypes", Filters=by_type)))
    zones: dict[str, set[str]] = defaultdict(set)
    offered = calls.rows(
        Act.OFFERINGS,
        region,
        "InstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=by_type,
    )
    for row in offered:
        zones[row["InstanceType"]].add(row["Location"])
    return Market(
        region=region,
        kinds=kinds,
        zones={name: frozenset(found) for name, found in zones.items()},
        spot=_spot_prices(calls, region, [kind.machine_type for kind in kinds if kind.sells_spot], now),
        on_demand=dict(_on_demand_prices(calls, region, kinds, now)),
        quotas=quotas(calls, region, settings.machine_types),
    )


def offers(settings: AwsSettings, seen: Market) -> Iterator[Offer]:
    """In the zones that have a subnet. Where a quota has no room for even one machine, nothing can be ordered."""
    for kind in seen.kinds:
        for zone in sorted(seen.zones.get(kind.machine_type, frozenset()) & settings.subnets.keys()):
            for capacity_type, price in _ways(kind, zone, settings, seen):
                if not _is_shut(kind, capacity_type, seen.quotas):
                    yield Offer(
                        machine_type=kind.machine_type,
                        zone=zone,
                        capacity_type=capacity_type,
                        amounts=amounts_of(kind, settings),
                        accelerator=kind.model,
                        price=price,
                    )


def quotas(calls: Calls, region: str, machine_types: Sequence[str]) -> dict[str, int]:
    """By quota code, in vCPUs. What may not be asked, or was not answered, is left out: it is not known to be none."""
    wanted = (
        quota_of(name, way) for name in machine_types for way in (CapacityType.ON_DEMAND, CapacityType.SPOT)
    )
    found = {}
    for code in sorted({quota.code for quota in wanted if quota is not None}):
        try:
            answer = calls.ask(Act.QUOTA, region, ServiceCode="ec2", QuotaCode=code)
        except PluginError:
            continue
        found[code] = int(answer["Quota"]["Value"])
    return found


def list_price(texts: Sequence[str], as_of: datetime) -> Price | None:
    """The hourly price in the price list's answer, JSON texts of products; None unless it is the only one."""
    dollars = {
        Decimal(dimension["pricePerUnit"]["USD"])
        for text in texts
        for term in json.loads(text).get("terms", {}).get("OnDemand", {}).values()
        for dimension in term["priceDimensions"].values()
        if dimension["unit"] == "Hrs" and "USD" in dimension["pricePerUnit"]
    }
    positive = {each for each in dollars if each > 0}
    return _verified(positive.pop(), as_of) if len(positive) == 1 else None


def table_price(machine_type: str, region: str) -> Price | None:
    if region not in PRICED_REGIONS or machine_type not in ON_DEMAND_DOLLARS:
        return None
    dollars = ON_DEMAND_DOLLARS[machine_type]
    return Price(amount=dollars, currency="USD", as_of=PRICES_AS_OF, is_verified=False)


def _ways(
    kind: Kind, zone: str, settings: AwsSettings, seen: Market
) -> Iterator[tuple[CapacityType, Price | None]]:
    on_demand = seen.on_demand.get(kind.machine_type)
    yield CapacityType.ON_DEMAND, on_demand
    if f"{zone}/{kind.machine_type}" in settings.reservations:
        # A reservation is billed at the on-demand rate, used or not.
        yield CapacityType.RESERVED, on_demand
    if kind.sells_spot:
        yield CapacityType.SPOT, seen.spot.get((kind.machine_type, zone))


def _is_shut(kind: Kind, capacity_type: CapacityType, known: Mapping[str, int]) -> bool:
    quota = quota_of(kind.machine_type, capacity_type)
    return quota is not None and known.get(quota.code, kind.vcpus) < kind.vcpus


def _spot_prices(
    calls: Calls, region: str, types: Sequence[str], now: datetime
) -> dict[tuple[str, str], Price]:
    """The history from now on begins with the price that holds now, one for each type and zone."""
    if not types:
        return {}
    found: dict[tuple[str, str], tuple[datetime, Price]] = {}
    try:
        rows: list[Row] = list(
            calls.rows(
                Act.SPOT_PRICES,
                region,
                "SpotPriceHistory",
                InstanceTypes=list(types),
                ProductDescriptions=[LINUX],
                StartTime=now,
            )
        )
    except PluginError:
        return {}
    for row in rows:
        key = (row["InstanceType"], row["AvailabilityZone"])
        if key not in found or found[key][0] < row["Timestamp"]:
            found[key] = (row["Timestamp"], _verified(Decimal(row["SpotPrice"]), now))
    return {key: price for key, (_, price) in found.items()}


def _on_demand_prices(
    calls: Calls, region: str, kinds: Sequence[Kind], now: datetime
) -> Iterator[tuple[str, Price]]:
    """Of the price list, where we may read it; else of the table, which says that nobody has verified it."""
    may_ask = True
    for kind in kinds:
        price = None
        if may_ask:
            try:
                price = _asked_price(calls, region, kind.machine_type, now)
            except PluginError:
                may_ask = False
        price = price or table_price(kind.machine_type, region)
        if price is not None:
            yield kind.machine_type, price


def _asked_price(calls: Calls, region: str, machine_type: str, now: datetime) -> Price | None:
    fields = (*LIST_PRICE_OF, ("instanceType", machine_type), ("regionCode", region))
    answer = calls.ask(
        Act.LIST_PRICES,
        PRICE_REGION,
        ServiceCode="AmazonEC2",
        FormatVersion="aws_v1",
        Filters=[{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in fields],
    )
    return list_price(answer.get("PriceList", ()), now)


def _verified(dollars: Decimal, as_of: datetime) -> Price:
    return Price(amount=dollars, currency="USD", as_of=as_of, is_verified=True)
