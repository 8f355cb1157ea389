"""What the account could order: kinds of machines by zone, with sizes and prices."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from cloud_adapters.alibaba import translate
from cloud_adapters.alibaba.catalogue import CATALOGUE, dated_price
from cloud_adapters.alibaba.client import Account
from cloud_adapters.alibaba.settings import Settings
from cloud_adapters.alibaba.translate import Row
from cloud_adapters.base import CapacityType, Offer, PluginError, Price, Rejected

TYPES_AT_ONCE: Final = 10
SPOT_HISTORY: Final = timedelta(hours=3)
BOOT_SECONDS: Final = 240.0
DEFAULT_TYPE: Final = min(CATALOGUE)

Prices = Mapping[tuple[str, str, CapacityType], Price]
"""By (machine type, zone, capacity type): what the cloud itself said."""


def offers(
    account: Account, settings: Settings, *, now: Callable[[], datetime], until: float
) -> tuple[Offer, ...]:
    """Sorted. Raises when the cloud does not say what it sells; sizes and prices have a dated table to fall back on."""
    allowed = settings.machine_types or tuple(sorted(CATALOGUE))
    kinds = _kinds(account, allowed, until)
    found: list[Offer] = []
    for capacity_type in _capacity_types(settings):
        sold = [
            (machine_type, zone)
            for zone, machine_type in _sold(account, settings, capacity_type, until)
            if machine_type in kinds and zone in settings.zones
        ]
        prices = _prices(account, sorted({each for each, _ in sold}), capacity_type, now(), until)
        found += [
            _offer(kinds[machine_type], (machine_type, zone, capacity_type), prices)
            for machine_type, zone in sorted(set(sold))
        ]
    if not found:
        raise Rejected(f"none of {', '.join(allowed)} is sold in {', '.join(settings.zones)}")
    return tuple(sorted(found, key=lambda each: (each.machine_type, each.zone, each.capacity_type)))


def _capacity_types(settings: Settings) -> tuple[CapacityType, ...]:
    reserved = () if settings.private_pool_id is None else (CapacityType.RESERVED,)
    return (CapacityType.ON_DEMAND, *reserved, CapacityType.SPOT)


def _kinds(account: Account, allowed: Sequence[str], until: float) -> dict[str, Row]:
    """A type's size never changes: what the API does not tell for now, the catalogue does."""
    found: dict[str, Row] = {
        name: kind.as_row() for name in allowed if (kind := CATALOGUE.get(name)) is not None
    }
    for start in range(0, len(allowed), TYPES_AT_ONCE):
        asked = list(allowed[start : start + TYPES_AT_ONCE])
        try:
            answer = account.call("DescribeInstanceTypes", {"InstanceTypes": asked}, until=until)
        except PluginError:
            if any(name not in found for name in asked):
                raise
            continue
        found |= {
            str(row["InstanceTypeId"]): row for row in translate.rows(answer, "InstanceTypes", "InstanceType")
        }
    return found


def _sold(
    account: Account, settings: Settings, capacity_type: CapacityType, until: float
) -> set[tuple[str, str]]:
    wanted = {
        "DestinationResource": "InstanceType",
        "ResourceType": "instance",
        "InstanceChargeType": "PostPaid",
        "NetworkCategory": "vpc",
        "IoOptimized": "optimized",
        **translate.spot_parameters(capacity_type, settings),
    }
    if len(settings.zones) == 1:
        wanted["ZoneId"] = settings.zones[0]
    return set(translate.sellable(account.call("DescribeAvailableResource", wanted, until=until)))


def _prices(
    account: Account, machine_types: Sequence[str], capacity_type: CapacityType, now: datetime, until: float
) -> Prices:
    ask = _spot_prices if capacity_type is CapacityType.SPOT else _list_prices
    found: dict[tuple[str, str, CapacityType], Price] = {}
    for machine_type in machine_types:
        try:
            asked = ask(account, machine_type, now, until)
        except PluginError:
            continue  # no right to ask, or no time left: the dated price stands, and says that it is not verified
        found |= {(machine_type, zone, capacity_type): price for zone, price in asked.items()}
    return found


EVERYWHERE: Final = ""
"""In place of a zone: the price on demand is that of the region."""


def _list_prices(account: Account, machine_type: str, now: datetime, until: float) -> dict[str, Price]:
    wanted = {"ResourceType": "instance", "InstanceType": machine_type, "PriceUnit": "Hour", "Amount": 1}
    told = translate.on_demand_price(account.call("DescribePrice", wanted, until=until))
    if told is None:
        return {}
    return {EVERYWHERE: Price(amount=told[0], currency=told[1], as_of=now, is_verified=True)}


def _spot_prices(account: Account, machine_type: str, now: datetime, until: float) -> dict[str, Price]:
    since = (now - SPOT_HISTORY).strftime(translate.TIME)
    wanted = {"InstanceType": machine_type, "NetworkType": "vpc", "OSType": "linux", "StartTime": since}
    told = translate.spot_prices(account.call("DescribeSpotPriceHistory", wanted, until=until))
    return {
        zone: Price(amount=amount, currency=currency, as_of=at, is_verified=True)
        for zone, (amount, currency, at) in told.items()
    }


def _offer(kind: Row, key: tuple[str, str, CapacityType], prices: Prices) -> Offer:
    machine_type, zone, capacity_type = key
    verified = prices.get(key) or prices.get((machine_type, EVERYWHERE, capacity_type))
    return Offer(
        machine_type=machine_type,
        zone=zone,
        capacity_type=capacity_type,
        amounts=translate.amounts_of(kind),
        accelerator=translate.accelerator_of(kind),
        price=verified or dated_price(machine_type, capacity_type),
        boot_seconds=BOOT_SECONDS,
    )
