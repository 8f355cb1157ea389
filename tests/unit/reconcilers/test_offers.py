"""What a cloud says that it sells is kept; what it does not say for a while is not forgotten."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from cloud_adapters.base import CapacityType, Offer, Price
from controlplane.domain.amounts import Amounts
from controlplane.domain.clusters import ClusterState
from controlplane.domain.offers import KnownOffer, OfferList
from controlplane.reconcilers.offers import OfferDecision, OfferView, decide
from tests import factories

NOW = factories.NOON
HERE = factories.cluster()
BEFORE = OfferList(cluster_id=HERE.id)
PRICE = Price(amount=Decimal("98.3200015"), currency="USD", as_of=NOW, is_verified=True)
OFFER = Offer(
    machine_type="small",
    zone="a",
    capacity_type=CapacityType.SPOT,
    amounts=Amounts(cpu_milli=4000),
    price=PRICE,
    boot_seconds=60.0,
)
KNOWN = KnownOffer(
    cluster_id=HERE.id,
    machine_type="small",
    zone="a",
    capacity_type=CapacityType.SPOT,
    amounts=Amounts(cpu_milli=4000),
    price_millionths=98_320_002,
    currency="USD",
    price_as_of=NOW,
    is_price_verified=True,
    boot_seconds=60.0,
    interruptions_per_hour=0.0,
)


def look(listed: tuple[Offer, ...] | str, *known: KnownOffer, before: OfferList = BEFORE) -> OfferDecision:
    return decide(OfferView(cluster=HERE, listed=listed, known=known, before=before, now=NOW))


def test_an_offer_is_kept_with_its_price_in_millionths() -> None:
    listed_now = OfferList(cluster_id=HERE.id, listed_at=NOW)
    assert look((OFFER,)) == OfferDecision(
        put=(KNOWN,), save=listed_now, look_again_at=NOW + timedelta(minutes=10)
    )


def test_without_a_price_there_is_none() -> None:
    (kept,) = look((replace(OFFER, price=None),)).put
    assert (kept.price_millionths, kept.currency, kept.price_as_of, kept.is_price_verified) == (
        None,
        None,
        None,
        False,
    )


def test_what_did_not_change_is_not_written_however_it_cools() -> None:
    cool = KNOWN.refused(at=NOW)
    sooner = replace(OFFER, price=replace(PRICE, as_of=NOW + timedelta(minutes=59)))
    later = replace(OFFER, price=replace(PRICE, as_of=NOW + timedelta(minutes=60)))
    assert look((OFFER,), cool).put == ()
    assert look((sooner,), cool).put == ()
    assert len(look((later,), cool).put) == 1


def test_every_change_is_written() -> None:
    for changed in (
        replace(OFFER, amounts=Amounts(cpu_milli=1)),
        replace(OFFER, accelerator="h200"),
        replace(OFFER, boot_seconds=61.0),
        replace(OFFER, interruptions_per_hour=0.1),
        replace(OFFER, price=None),
        replace(OFFER, price=replace(PRICE, amount=Decimal(1))),
        replace(OFFER, price=replace(PRICE, currency="CNY")),
        replace(OFFER, price=replace(PRICE, is_verified=False)),
    ):
        assert len(look((changed,), KNOWN).put) == 1


def test_what_is_no_longer_sold_is_forgotten() -> None:
    gone = replace(KNOWN, zone="b")
    decision = look((OFFER,), KNOWN, gone)
    assert (decision.put, decision.forget) == ((), (gone,))


def test_a_call_that_failed_takes_nothing_away() -> None:
    good = OfferList(cluster_id=HERE.id, listed_at=factories.after(-600))
    decision = look("the cloud does not answer", KNOWN, before=good)
    assert decision == OfferDecision(
        save=replace(good, problem="the cloud does not answer"), look_again_at=NOW + timedelta(minutes=1)
    )


def test_a_cluster_that_was_left_sells_nothing() -> None:
    left = factories.cluster(state=ClusterState.DETACHED)
    view = OfferView(cluster=left, listed=(OFFER,), known=(KNOWN,), before=BEFORE, now=NOW)
    assert decide(view) == OfferDecision(forget=(KNOWN,))
