"""The offer loop's step: asks a cluster's cloud what it sells, and keeps the answer; and what launches tell of it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cloud_adapters.base import Lends, Offer, PluginError, Sells
from controlplane.domain.claims import Claim, ClaimState, Launch, LaunchOutcome
from controlplane.domain.clusters import Cluster
from controlplane.domain.events import Event
from controlplane.domain.ids import ClusterId
from controlplane.operations.context import Context
from controlplane.operations.endpoints import ref_of
from controlplane.reconcilers import offers
from controlplane.runtime.budgets import Budgets
from controlplane.store import Tx, WorkItem

OFFER_SECONDS: Final = 60.0
"""Deadline of a call: a catalogue may be many pages."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferTurn:
    item: WorkItem
    cluster: Cluster | None
    """Whose cloud is to be asked; None: nothing is sold there."""

    listed: tuple[Offer, ...] | str | None = None
    """What it answered, or why it did not; None: it was not asked yet."""

    @property
    def lane(self) -> str | None:
        return None if self.cluster is None or self.listed is not None else self.cluster.id


class OfferStep:
    def __init__(self, context: Context, adapters: Mapping[str, Lends], budgets: Budgets) -> None:
        self._context = context
        self._budgets = budgets
        self._sellers = {name: each for name, each in adapters.items() if isinstance(each, Sells)}

    def begin(self, items: Sequence[WorkItem], under_way: Sequence[OfferTurn]) -> Sequence[OfferTurn]:
        del under_way
        with self._context.store.read() as tx:
            return [OfferTurn(item=item, cluster=self._cluster(tx, item)) for item in items]

    def act(self, turns: Sequence[OfferTurn]) -> Sequence[OfferTurn]:
        return [
            replace(turn, listed=self._listed(turn.cluster)) for turn in turns if turn.cluster is not None
        ]

    def record(self, tx: Tx, turns: Sequence[OfferTurn]) -> None:
        decisions = [(turn.item, self._decided(tx, turn)) for turn in turns]
        tx.work.settle_many([(item, decision.look_again_at) for item, decision in decisions])

    def _cluster(self, tx: Tx, item: WorkItem) -> Cluster | None:
        cluster = tx.clusters.get(ClusterId(item.id))
        return cluster if cluster is not None and cluster.adapter in self._sellers else None

    def _listed(self, cluster: Cluster) -> tuple[Offer, ...] | str:
        with self._context.store.read() as tx:
            now = tx.now
        if self._budgets.take(cluster.id, now):
            return "waits for its turn at the cloud"
        try:
            ref = ref_of(self._context, cluster)
            return self._sellers[cluster.adapter].offers(ref, deadline=OFFER_SECONDS)
        except PluginError as problem:
            log.info("offers.unseen", extra={"cluster": cluster.id, "problem": problem.message})
            return problem.message

    def _decided(self, tx: Tx, turn: OfferTurn) -> offers.OfferDecision:
        if turn.cluster is None or turn.listed is None:
            return offers.OfferDecision()
        before = tx.offers.asked(turn.cluster.id)
        view = offers.OfferView(
            cluster=tx.clusters.get(turn.cluster.id) or turn.cluster,
            listed=turn.listed,
            known=tuple(tx.offers.list(turn.cluster.id)),
            before=before,
            now=tx.now,
        )
        decision = offers.decide(view)
        tx.offers.put(decision.put)
        tx.offers.forget(decision.forget)
        if decision.save is not None and decision.save != before:
            tx.offers.put_asked(decision.save)
        if decision.put or decision.forget:
            data = {"listed": len(decision.put), "gone": len(decision.forget)}
            tx.events.add(Event(kind="offers.changed", subject=turn.cluster.id, at=tx.now, data=data))
        return decision


def follow_launch(tx: Tx, claim: Claim, launch: Launch) -> None:
    """A refusal cools the offer, a grant ends that. What was given up because its claim went says nothing of stock."""
    if claim.state is ClaimState.GONE:
        return
    offer = tx.offers.get(claim.cluster_id, (claim.machine_type, launch.zone, claim.capacity_type))
    if offer is None:
        return
    is_granted = launch.outcome is LaunchOutcome.GRANTED
    new = offer.granted() if is_granted else offer.refused(at=tx.now)
    if new == offer:
        return
    tx.offers.cool(new)
    data = {
        "machine_type": offer.machine_type,
        "zone": offer.zone,
        "capacity_type": offer.capacity_type.value,
        "cool_until": None if new.cool_until is None else new.cool_until.isoformat(),
    }
    kind = "offer.granted" if is_granted else "offer.refused"
    tx.events.add(Event(kind=kind, subject=claim.cluster_id, at=tx.now, data=data))
