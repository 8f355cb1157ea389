"""Offers' tables: what clouds sell, and how each was last asked."""

from collections.abc import Sequence
from functools import cache
from typing import Final

from sqlalchemy import bindparam, delete, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from controlplane.domain.claims import CapacityType
from controlplane.domain.ids import ClusterId
from controlplane.domain.offers import KnownOffer, OfferKey, OfferList
from controlplane.store.links import Link
from controlplane.store.rows import (
    Row,
    amounts_of,
    amounts_params,
    micros_or_none,
    moment_or_none,
)
from controlplane.store.schema_claims import OFFER_LISTS, OFFERS
from controlplane.store.statements import Statement, bound

_O: Final = OFFERS.c
_L: Final = OFFER_LISTS.c
_KEY: Final = ("cluster_id", "machine_type", "zone", "capacity_type")
_TOLD_BY_LAUNCHES: Final = ("refusals", "cool_until")
_OFFER: Final = select(
    _O.cluster_id,
    _O.machine_type,
    _O.zone,
    _O.capacity_type,
    _O.cpu_milli,
    _O.memory_bytes,
    _O.gpu_milli,
    _O.custom_milli,
    _O.accelerator,
    _O.price_millionths,
    _O.currency,
    _O.price_as_of,
    _O.is_price_verified,
    _O.boot_seconds,
    _O.interruptions_per_hour,
    _O.refusals,
    _O.cool_until,
)
_IS_IT: Final = tuple(_O[name] == bindparam(name) for name in _KEY)
_NEW: Final = insert_or_update(OFFERS).values({column: bindparam(column.name) for column in _O})
_PUT: Final = Statement(
    _NEW.on_conflict_do_update(
        index_elements=[_O[name] for name in _KEY],
        set_={
            column.name: column for column in _NEW.excluded if column.name not in {*_KEY, *_TOLD_BY_LAUNCHES}
        },
    ).inline(),
    table=OFFERS,
)
_COOL: Final = Statement(
    update(OFFERS).where(*_IS_IT).values({_O[name]: bindparam(name) for name in _TOLD_BY_LAUNCHES}),
    table=OFFERS,
)
_GET: Final = Statement(_OFFER.where(*_IS_IT))
_FORGET: Final = Statement(delete(OFFERS).where(*_IS_IT), table=OFFERS)
_NEW_LIST: Final = insert_or_update(OFFER_LISTS).values({column: bindparam(column.name) for column in _L})
_PUT_LIST: Final = Statement(
    _NEW_LIST.on_conflict_do_update(
        index_elements=[_L.cluster_id],
        set_={column.name: column for column in _NEW_LIST.excluded if column.name != "cluster_id"},
    ).inline(),
    table=OFFER_LISTS,
)
_AFTER: Final = tuple(f"after_{name}" for name in _KEY)
_LIST: Final = Statement(
    select(_L.cluster_id, _L.listed_at, _L.problem).where(_L.cluster_id == bindparam("cluster_id"))
)


class Offers:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def put(self, offers: Sequence[KnownOffer]) -> None:
        """Inserts each, or replaces it but for how it cools: that is the launches' to say."""
        for offer in offers:
            self._link.change(_PUT, _params(offer))

    def cool(self, offer: KnownOffer) -> None:
        """Keeps its refusals, and until when it cools."""
        params = _params(offer)
        self._link.change(_COOL, {name: params[name] for name in (*_KEY, *_TOLD_BY_LAUNCHES)})

    def get(self, cluster_id: ClusterId, key: OfferKey) -> KnownOffer | None:
        row = self._link.row(_GET, dict(zip(_KEY, (cluster_id, *map(str, key)), strict=True)))
        return None if row is None else _offer(row)

    def list(
        self,
        cluster_id: ClusterId | None = None,
        *,
        after: tuple[str, str, str, str] | None = None,
        limit: int | None = None,
    ) -> list[KnownOffer]:
        """By cluster, machine type, zone and capacity type; `after` are those of the one last seen."""
        place = dict(zip(_AFTER, after or ("", "", "", ""), strict=True))
        page = _page(of_a_cluster=cluster_id is not None, is_limited=limit is not None)
        rows = self._link.rows(page, {**place, "cluster_id": cluster_id, "limit": limit})
        return [_offer(row) for row in rows]

    def forget(self, offers: Sequence[KnownOffer]) -> None:
        for offer in offers:
            self._link.change(_FORGET, {name: str(getattr(offer, name)) for name in _KEY})

    def asked(self, cluster_id: ClusterId) -> OfferList:
        """How they were last asked for."""
        row = self._link.row(_LIST, {"cluster_id": cluster_id})
        if row is None:
            return OfferList(cluster_id=cluster_id)
        return OfferList(cluster_id=cluster_id, listed_at=moment_or_none(row[1]), problem=row[2])

    def put_asked(self, asked: OfferList) -> None:
        params = {
            "cluster_id": asked.cluster_id,
            "listed_at": micros_or_none(asked.listed_at),
            "problem": asked.problem,
        }
        self._link.change(_PUT_LIST, params)


@cache
def _page(*, of_a_cluster: bool, is_limited: bool) -> Statement:
    order = tuple(_O[name] for name in _KEY)
    page = _OFFER.where(tuple_(*order) > tuple_(*(bindparam(name) for name in _AFTER))).order_by(*order)
    if of_a_cluster:
        page = page.where(_O.cluster_id == bindparam("cluster_id"))
    return Statement(page.limit(bound("limit")) if is_limited else page)


def _params(offer: KnownOffer) -> dict[str, object]:
    return {
        "cluster_id": offer.cluster_id,
        "machine_type": offer.machine_type,
        "zone": offer.zone,
        "capacity_type": offer.capacity_type.value,
        **amounts_params(offer.amounts),
        "accelerator": offer.accelerator,
        "price_millionths": offer.price_millionths,
        "currency": offer.currency,
        "price_as_of": micros_or_none(offer.price_as_of),
        "is_price_verified": int(offer.is_price_verified),
        "boot_seconds": offer.boot_seconds,
        "interruptions_per_hour": offer.interruptions_per_hour,
        "refusals": offer.refusals,
        "cool_until": micros_or_none(offer.cool_until),
    }


def _offer(row: Row) -> KnownOffer:
    (cluster_id, machine_type, zone, capacity_type, cpu_milli, memory_bytes, gpu_milli, custom, *rest) = row
    (accelerator, price_millionths, currency, price_as_of, is_price_verified, *rest) = rest
    (boot_seconds, interruptions_per_hour, refusals, cool_until) = rest
    return KnownOffer(
        cluster_id=ClusterId(cluster_id),
        machine_type=machine_type,
        zone=zone,
        capacity_type=CapacityType(capacity_type),
        amounts=amounts_of(cpu_milli, memory_bytes, gpu_milli, custom),
        accelerator=accelerator,
        price_millionths=price_millionths,
        currency=currency,
        price_as_of=moment_or_none(price_as_of),
        is_price_verified=is_price_verified != 0,
        boot_seconds=boot_seconds,
        interruptions_per_hour=interruptions_per_hour,
        refusals=refusals,
        cool_until=moment_or_none(cool_until),
    )
