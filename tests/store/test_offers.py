"""Offers: what is stored comes back whole; listing them anew does not warm what was refused."""

from dataclasses import replace

import pytest

from controlplane.domain.amounts import Amounts
from controlplane.domain.claims import CapacityType
from controlplane.domain.ids import ClusterId
from controlplane.domain.offers import OfferList
from controlplane.store import Store
from tests import factories
from tests.store.planting import plant

HERE = ClusterId("cluster-1")
RICH = factories.offer(
    capacity_type=CapacityType.RESERVED,
    amounts=Amounts(cpu_milli=1, memory_bytes=2, gpu_milli=3, custom_milli=(("fpga", 4),)),
    accelerator="h200",
    price_millionths=98_320_000,
    currency="CNY",
    price_as_of=factories.after(1),
    is_price_verified=True,
)


@pytest.fixture
def planted(store: Store) -> Store:
    plant(store)
    return store


def test_an_offer_comes_back_whole(planted: Store) -> None:
    bare = factories.offer()
    planted.write(lambda tx: tx.offers.put([RICH, bare]))
    with planted.read() as tx:
        assert tx.offers.get(HERE, RICH.key) == RICH
        assert tx.offers.get(HERE, bare.key) == bare
        assert tx.offers.get(HERE, ("small", "nowhere", CapacityType.SPOT)) is None


def test_how_an_offer_cools_outlasts_its_being_listed_again(planted: Store) -> None:
    cool = RICH.refused(at=factories.NOON)
    planted.write(lambda tx: tx.offers.put([RICH]))
    planted.write(lambda tx: tx.offers.cool(cool))
    planted.write(lambda tx: tx.offers.put([replace(RICH, price_millionths=1)]))
    with planted.read() as tx:
        assert tx.offers.get(HERE, RICH.key) == replace(cool, price_millionths=1)


def test_offers_are_listed_in_pages_and_forgotten(planted: Store) -> None:
    every = [
        factories.offer(machine_type=kind, zone=zone) for kind in ("large", "small") for zone in ("a", "b")
    ]
    planted.write(lambda tx: tx.offers.put(every[::-1]))
    with planted.read() as tx:
        assert tx.offers.list() == every == tx.offers.list(HERE)
        assert tx.offers.list(ClusterId("cluster-2")) == []
        assert tx.offers.list(limit=2) == every[:2]
        assert tx.offers.list(HERE, after=(HERE, "large", "b", "spot"), limit=9) == every[2:]
    planted.write(lambda tx: tx.offers.forget(every[:3]))
    with planted.read() as tx:
        assert tx.offers.list() == every[3:]


def test_how_they_were_asked_for_is_kept(planted: Store) -> None:
    with planted.read() as tx:
        assert tx.offers.asked(HERE) == OfferList(cluster_id=HERE)
    for asked in (
        OfferList(cluster_id=HERE, problem="no answer"),
        OfferList(cluster_id=HERE, listed_at=factories.NOON),
    ):
        planted.write(lambda tx, each=asked: tx.offers.put_asked(each))  # type: ignore[misc]
        with planted.read() as tx:
            assert tx.offers.asked(HERE) == asked
