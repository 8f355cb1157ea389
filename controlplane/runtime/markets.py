"""Markets: what a policy may know of machines that can be bought, and of those that were."""

from collections.abc import Mapping
from datetime import timedelta

from controlplane.domain.budgets import Standing
from controlplane.domain.claims import Claim, ClaimState
from controlplane.domain.flavors import Capacity, flavor_of
from controlplane.domain.jobs import Ask
from controlplane.domain.offers import KnownOffer
from controlplane.operations import budgets
from controlplane.operations.flavors import Naming
from controlplane.operations.purchases import offer_id
from controlplane.operations.transfers import egress_millionths_per_gib, region_of
from controlplane.store import Tx
from schedulers.base import DEFAULT_FLAVOR, Budget, ClaimView, MarketChanged, Offer, microseconds

PPM = 1_000_000


def market(tx: Tx, *, on_unverified_prices: bool, rates: Mapping[str, int]) -> MarketChanged:
    """Offers without a price that counts are left out: nobody can say whether they pay.

    So are those in a currency that has no rate, unless all are in it.
    """
    naming = Naming.load(tx)
    offers = [
        each
        for each in tx.offers.list()
        if each.price_millionths and (each.is_price_verified or on_unverified_prices)
    ]
    is_mixed = len({each.currency for each in offers}) > 1
    if is_mixed:
        offers = [each for each in offers if each.currency in rates]
    claims = [claim for claim in naming.claims.values() if not claim.shares and claim.is_coming]
    asks = tx.asks.many([claim.wanted_by for claim in claims if claim.wanted_by is not None])
    boots = {offer_id(offer.cluster_id, offer.key): offer.boot_seconds for offer in offers}
    return MarketChanged(
        offers=tuple(
            _offer(offer, naming, rates if is_mixed else {})
            for offer in offers
            if offer.cluster_id in naming.clusters
        ),
        claims=tuple(
            _claim(claim, asks.get(claim.wanted_by) if claim.wanted_by else None, boots) for claim in claims
        ),
        budgets=tuple(_budget(each) for each in budgets.standings(tx)),
        is_uniform=True,  # a claim is for machines of one kind, and a Ray cluster is one claim's
    )


def _budget(standing: Standing) -> Budget:
    return Budget(
        queue_id=standing.budget.queue_id,
        left_millionths=standing.left_millionths,
        currency=standing.budget.currency,
        ends_at=microseconds(standing.span.end),
    )


def _offer(offer: KnownOffer, naming: Naming, rates: Mapping[str, int]) -> Offer:
    cluster = naming.clusters[offer.cluster_id]
    capacity = Capacity(
        cluster=cluster.name,
        accelerator=offer.accelerator,
        capacity_type=offer.capacity_type,
        labels={},
    )
    return Offer(
        id=offer_id(offer.cluster_id, offer.key),
        cluster_id=offer.cluster_id,
        flavor=flavor_of(capacity, naming.flavors, default=DEFAULT_FLAVOR),
        capacity_type=offer.capacity_type,
        allocatable=offer.amounts,
        price_millionths_per_hour=offer.price_millionths or 0,
        currency=offer.currency or "",
        worth_ppm=rates.get(offer.currency or "", PPM),
        accelerator=offer.accelerator,
        interruptions_per_hour_ppm=round(offer.interruptions_per_hour * PPM),
        boot_seconds=round(offer.boot_seconds),
        region=region_of(cluster, offer.zone),
        egress_millionths_per_gib=egress_millionths_per_gib(cluster),
        cool_until=0 if offer.cool_until is None else microseconds(offer.cool_until),
    )


def _claim(claim: Claim, ask: Ask | None, boots: dict[str, float]) -> ClaimView:
    bought = offer_id(claim.cluster_id, (claim.machine_type, claim.zones[0], claim.capacity_type))
    return ClaimView(
        id=claim.id,
        cluster_id=claim.cluster_id,
        offer_id=bought,
        machines=claim.machines_min,
        ask_id=claim.wanted_by,
        queue_id="" if ask is None else ask.queue_id,
        price_millionths_per_hour=(claim.price_millionths or 0) * claim.machines_min,
        ready_at=microseconds(claim.created_at + timedelta(seconds=boots.get(bought, 0.0))),
        is_ready=claim.state is ClaimState.READY,
    )
