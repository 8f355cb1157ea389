"""The orphan loop's step: lists what carries our tag in a cluster's cloud, and ends what nobody claims."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from cloud_adapters.base import Lends, OwnedMachine, PluginError, Sells
from controlplane.domain.claims import Orphan
from controlplane.domain.clusters import Cluster
from controlplane.domain.ids import ClaimId, ClusterId
from controlplane.operations.context import Context
from controlplane.operations.endpoints import ref_of
from controlplane.reconcilers import orphans
from controlplane.runtime.budgets import Budgets
from controlplane.runtime.claims import END_SECONDS, LIST_SECONDS
from controlplane.store import Tx, WorkItem

NOTHING: Final = orphans.OrphanDecision()

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanTurn:
    item: WorkItem
    cluster: Cluster | None
    """Whose cloud is to be listed; None: nothing is sold there, or it was."""

    begun_at: datetime
    decision: orphans.OrphanDecision = NOTHING

    @property
    def lane(self) -> str | None:
        return None if self.cluster is None else self.cluster.id


class OrphanStep:
    def __init__(self, context: Context, adapters: Mapping[str, Lends], budgets: Budgets) -> None:
        self._context = context
        self._budgets = budgets
        self._sellers = {name: each for name, each in adapters.items() if isinstance(each, Sells)}

    def begin(self, items: Sequence[WorkItem], under_way: Sequence[OrphanTurn]) -> Sequence[OrphanTurn]:
        del under_way
        with self._context.store.read() as tx:
            return [OrphanTurn(item=item, cluster=self._cluster(tx, item), begun_at=tx.now) for item in items]

    def act(self, turns: Sequence[OrphanTurn]) -> Sequence[OrphanTurn]:
        return [self._acted(turn, turn.cluster) for turn in turns if turn.cluster is not None]

    def record(self, tx: Tx, turns: Sequence[OrphanTurn]) -> None:
        for turn in turns:
            for orphan in turn.decision.forget:
                tx.orphans.forget(orphan)
            for orphan in turn.decision.add:
                tx.orphans.add(orphan)
        tx.work.settle_many([(turn.item, turn.decision.look_again_at) for turn in turns])

    def _cluster(self, tx: Tx, item: WorkItem) -> Cluster | None:
        cluster = tx.clusters.get(ClusterId(item.id))
        return cluster if cluster is not None and cluster.adapter in self._sellers else None

    def _acted(self, turn: OrphanTurn, cluster: Cluster) -> OrphanTurn:
        machines = self._listed(cluster, turn.begun_at)
        with self._context.store.read() as tx:  # after the list: a claim is written down before it buys
            view = orphans.OrphanView(
                cluster=tx.clusters.get(cluster.id) or cluster,
                machines=machines,
                live_claims={claim.id for claim in tx.claims.live(cluster.id)},
                known=tuple(tx.orphans.of_cluster(cluster.id)),
                list_lag=self._sellers[cluster.adapter].list_lag,
                now=tx.now,
            )
        decision = orphans.decide(view)
        self._end(cluster, decision.end, view.now)
        return replace(turn, cluster=None, decision=decision)

    def _listed(self, cluster: Cluster, now: datetime) -> tuple[OwnedMachine, ...] | None:
        if self._budgets.take(cluster.id, now):
            return None
        seller = self._sellers[cluster.adapter]
        ref = ref_of(self._context, cluster)
        try:
            return seller.list_owned(ref, deadline=LIST_SECONDS)
        except PluginError as problem:
            log.info("orphans.unseen", extra={"cluster": cluster.id, "problem": problem.message})
            return None

    def _end(self, cluster: Cluster, orphaned: Sequence[Orphan], now: datetime) -> None:
        """Until they are no longer listed they are told again at every look."""
        seller = self._sellers[cluster.adapter]
        ref = ref_of(self._context, cluster)
        by_claim: dict[ClaimId, list[str]] = {}
        for orphan in orphaned:
            by_claim.setdefault(orphan.claim_id, []).append(orphan.name)
        for claim_id, names in by_claim.items():
            if self._budgets.take(cluster.id, now):
                return
            try:
                seller.release(ref, claim_id, names, deadline=END_SECONDS)
            except PluginError as problem:
                log.info("orphans.left", extra={"claim": claim_id, "problem": problem.message})
