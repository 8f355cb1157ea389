"""Keeps what a cloud says that it sells. A call that failed takes nothing away: the last good list stays."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from cloud_adapters.base import Offer
from controlplane.domain.clusters import Cluster, ClusterState
from controlplane.domain.copies import replace
from controlplane.domain.offers import KnownOffer, OfferList

LOOK_EVERY: Final = timedelta(minutes=10)
LOOK_AGAIN: Final = timedelta(minutes=1)
"""After a call that failed."""

PRICE_EVERY: Final = timedelta(hours=1)
"""A price that stays the same is written down again so often."""

MILLION: Final = Decimal(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferView:
    cluster: Cluster
    listed: tuple[Offer, ...] | str
    """Or why not."""

    known: tuple[KnownOffer, ...]
    before: OfferList
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferDecision:
    put: tuple[KnownOffer, ...] = ()
    """New or changed; how they cool is not part of it."""

    forget: tuple[KnownOffer, ...] = ()
    save: OfferList | None = None
    look_again_at: datetime | None = None
    """None: nothing is bought there any more."""


def decide(view: OfferView) -> OfferDecision:
    if view.cluster.state is ClusterState.DETACHED:
        return OfferDecision(forget=view.known)
    if isinstance(view.listed, str):
        return OfferDecision(
            save=replace(view.before, problem=view.listed), look_again_at=view.now + LOOK_AGAIN
        )
    known = {each.key: each for each in view.known}
    seen = {each.key: each for each in (_known(view.cluster, offer) for offer in view.listed)}
    return OfferDecision(
        put=tuple(each for each in seen.values() if _is_news(each, known.get(each.key))),
        forget=tuple(each for key, each in known.items() if key not in seen),
        save=replace(view.before, listed_at=view.now, problem=None),
        look_again_at=view.now + LOOK_EVERY,
    )


def _known(cluster: Cluster, offer: Offer) -> KnownOffer:
    price = offer.price
    return KnownOffer(
        cluster_id=cluster.id,
        machine_type=offer.machine_type,
        zone=offer.zone,
        capacity_type=offer.capacity_type,
        amounts=offer.amounts,
        accelerator=offer.accelerator,
        price_millionths=None if price is None else round(price.amount * MILLION),
        currency=None if price is None else price.currency,
        price_as_of=None if price is None else price.as_of,
        is_price_verified=price is not None and price.is_verified,
        boot_seconds=offer.boot_seconds,
        interruptions_per_hour=offer.interruptions_per_hour,
    )


def _is_news(seen: KnownOffer, old: KnownOffer | None) -> bool:
    """What did not change is not written: most of a catalogue is the same from one day to the next."""
    if old is None:
        return True
    # How it cools is told by launches, and how old a price is matters by the hour.
    same = replace(seen, refusals=old.refusals, cool_until=old.cool_until, price_as_of=old.price_as_of)
    if same != old or seen.price_as_of is None or old.price_as_of is None:
        return same != old or seen.price_as_of != old.price_as_of
    return seen.price_as_of - old.price_as_of >= PRICE_EVERY
