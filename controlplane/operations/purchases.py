"""Purchases: machines that a plan orders for work that waits; a plan is a proposal here too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from controlplane.domain.claims import CapacityType, Claim, ClaimState
from controlplane.domain.ids import AskId, ClaimId, ClusterId
from controlplane.domain.jobs import Ask, Job, JobState
from controlplane.domain.leases import Lease
from controlplane.domain.offers import KnownOffer, OfferKey
from controlplane.operations import budgets, residency
from controlplane.operations.ids import Ids
from controlplane.store import Tx
from schedulers.base import Provision


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchasing:
    """What purchases need beside the plan."""

    ids: Ids
    idle: timedelta
    """After so long without a task the machines are given back."""

    on_unverified_prices: bool
    """Whether prices from a table count that no provider has confirmed."""

    rates: Mapping[str, int] = field(default_factory=dict)
    """What a unit of each currency is worth, in millionths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseRefusal:
    ask_id: AskId
    why: str


def offer_id(cluster_id: ClusterId, key: OfferKey) -> str:
    """What a policy calls it."""
    machine_type, zone, capacity_type = key
    return f"{cluster_id}/{machine_type}/{zone}/{capacity_type.value}"


def apply_provisions(
    tx: Tx, lease: Lease, provisions: Sequence[Provision], *, means: Purchasing
) -> tuple[PurchaseRefusal, ...]:
    """Writes a claim for each. Raises `StaleWrite` when the lease was lost."""
    tx.leases.fence(lease)
    found = [(each, _bought(tx, each, means)) for each in provisions]
    return tuple(PurchaseRefusal(ask_id=each.ask_id, why=why) for each, why in found if why is not None)


def _bought(tx: Tx, provision: Provision, means: Purchasing) -> str | None:
    """Why not; None: it is written down."""
    wanted = _queued(tx, provision.ask_id)
    if wanted is None:
        return "the ask is no longer queued"
    if (why := _hindrance(tx, provision, *wanted)) is not None:
        return why
    (ask, job), ((name, machines),) = wanted, provision.orders
    offer = tx.offers.get(provision.cluster_id, _key(name, provision.cluster_id))
    if offer is None or (offer.cool_until is not None and offer.cool_until > tx.now):
        return f"offer {name} is not to be had now"
    if not (offer.is_price_verified or means.on_unverified_prices):
        return f"nobody has verified the price of offer {name}"
    why = budgets.stopping(tx, ask.queue_id, provision.cost_millionths, offer.currency or "")
    if why is not None:
        return why
    claim = _claim(tx, provision, offer, machines=machines, means=means)
    tx.claims.add(replace(claim, trust_domain=job.project_id, queue_id=ask.queue_id))
    for noun, subject in (("claim", claim.id), ("orphan", claim.cluster_id), ("leftover", claim.cluster_id)):
        tx.work.poke(noun, subject)
    return None


def _hindrance(tx: Tx, provision: Provision, ask: Ask, job: Job) -> str | None:
    """What stands in the way of any purchase for it, there and now."""
    cluster = tx.clusters.get(provision.cluster_id)
    if cluster is None or not cluster.takes_tasks:
        return "the cluster takes no tasks now"
    rules, stores = tx.residencies.rules(), ask.traits.stores
    if (why := residency.outside(rules, job.project_id, cluster, stores=stores)) is not None:
        return why
    if any(each.wanted_by == provision.ask_id and each.is_coming for each in tx.claims.live()):
        return "machines are on their way for it"
    if len(provision.orders) != 1:
        return f"{len(provision.orders)} kinds of machines do not form one Ray cluster"
    return None


def _claim(tx: Tx, provision: Provision, offer: KnownOffer, *, machines: int, means: Purchasing) -> Claim:
    """In one zone: if that is sold out, the next plan chooses again among all that is offered."""
    return Claim(
        id=ClaimId(means.ids.new("claim")),
        cluster_id=offer.cluster_id,
        machine_type=offer.machine_type,
        capacity_type=offer.capacity_type,
        zones=(offer.zone,),
        machines_min=machines,
        machines_want=machines,
        tries_again=False,
        idle_seconds=means.idle.total_seconds(),
        wanted_by=provision.ask_id,
        price_millionths=offer.price_millionths,
        currency=offer.currency,
        expected_millionths=provision.cost_millionths,
        state=ClaimState.REQUESTED,
        since=tx.now,
        created_at=tx.now,
    )


def _queued(tx: Tx, ask_id: AskId) -> tuple[Ask, Job] | None:
    ask = tx.asks.get(ask_id)
    job = tx.jobs.get(ask.job_id) if ask is not None else None
    if ask is None or job is None or job.state is not JobState.QUEUED or job.cancel_requested_at is not None:
        return None
    return ask, job


def _key(name: str, cluster_id: ClusterId) -> OfferKey:
    machine_type, zone, capacity_type = name.removeprefix(f"{cluster_id}/").split("/")
    return machine_type, zone, CapacityType(capacity_type)
