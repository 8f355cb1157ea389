"""The offer loop on both databases: lists are kept, failures take nothing away, refusals cool and grants warm."""

from datetime import timedelta

from controlplane.domain.claims import CapacityType, ClaimState
from controlplane.domain.offers import KnownOffer, OfferList
from controlplane.operations import clusters
from tests.unit.runtime.test_claims import ADMIN, BURST, World, world

__all__ = ["world"]

SPOT = ("small", "a", CapacityType.SPOT)


def offers(world: World) -> list[KnownOffer]:
    with world.context.store.read() as tx:
        return tx.offers.list(BURST)


def offer(world: World) -> KnownOffer:
    return next(each for each in offers(world) if each.key == SPOT)


def asked(world: World) -> OfferList:
    with world.context.store.read() as tx:
        return tx.offers.asked(BURST)


def refresh(world: World) -> None:
    clusters.refresh_offers(world.context, ADMIN, "burst")
    world.settle()


def times_asked(world: World) -> int:
    return [verb for verb, _ in world.cloud.calls].count("offers")


def test_offers_are_listed_on_demand_and_then_every_ten_minutes(world: World) -> None:
    refresh(world)
    assert len(offers(world)) == 8
    assert (offer(world).price_millionths, offer(world).currency) == (1_000_000, "USD")
    assert (times_asked(world), asked(world).listed_at) == (1, world.now)
    world.pass_time(599)
    assert times_asked(world) == 1
    world.pass_time(1)
    assert times_asked(world) == 2
    assert world.events().count("offers.changed") == 1


def test_a_cloud_that_does_not_answer_takes_nothing_away_and_is_asked_again(world: World) -> None:
    refresh(world)
    good, listed_at = offers(world), world.now
    world.cloud.is_unreachable = True
    world.pass_time(600)
    assert offers(world) == good
    assert asked(world) == OfferList(
        cluster_id=BURST, listed_at=listed_at, problem="offers: the cloud does not answer"
    )
    world.cloud.is_unreachable = False
    world.pass_time(60)
    assert asked(world) == OfferList(cluster_id=BURST, listed_at=world.now)


def test_what_is_no_longer_sold_goes(world: World) -> None:
    refresh(world)
    world.cloud.zones = ("a",)
    refresh(world)
    assert {each.zone for each in offers(world)} == {"a"}


def test_a_refused_launch_cools_its_offer_alone_and_a_grant_warms_it(world: World) -> None:
    refresh(world)
    world.cloud.sold_out.add(("small", "a"))
    claim = world.request()
    assert offer(world).cool_until == world.now + timedelta(seconds=45)
    assert [each.key for each in offers(world) if each.refusals] == [SPOT]
    assert "offer.refused" in world.events()
    refresh(world)
    assert offer(world).refusals == 1
    world.release(claim)
    world.until(world.is_in(claim, ClaimState.GONE))
    world.cloud.sold_out.clear()
    world.request(zones=("a",))
    assert (offer(world).refusals, offer(world).cool_until) == (0, None)
    assert world.events().count("offer.granted") == 1


def test_every_round_that_finds_it_sold_out_cools_it_longer(world: World) -> None:
    refresh(world)
    world.cloud.sold_out.add(("small", "a"))
    world.request(zones=("a",))
    world.until(lambda: offer(world).refusals == 3)
    cool_until = offer(world).cool_until
    assert cool_until is not None
    assert cool_until - world.now > timedelta(seconds=90)


def test_a_launch_that_its_claim_gave_up_says_nothing_of_stock(world: World) -> None:
    refresh(world)
    world.cloud.lost_requests = 10**6
    claim = world.request()
    world.release(claim)
    world.cloud.lost_requests = 0
    world.until(world.is_in(claim, ClaimState.GONE))
    assert offer(world).refusals == 0


def test_a_cluster_that_is_left_sells_nothing(world: World) -> None:
    refresh(world)
    clusters.detach(world.context, ADMIN, "burst")
    world.pass_time(700)
    assert offers(world) == []
    assert world.events()[-1] == "offers.changed"
