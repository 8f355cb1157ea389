"""The leftover loop's step: lists what purchases left behind in a cluster's cloud, and removes what nobody claims."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from cloud_adapters.base import Leftover, Lends, PluginError, Rejected, Sells, Sweeps
from controlplane.domain.clusters import Cluster
from controlplane.domain.ids import ClusterId
from controlplane.domain.leftovers import Stray
from controlplane.operations.context import Context
from controlplane.operations.endpoints import ref_of
from controlplane.reconcilers import leftovers
from controlplane.runtime.budgets import Budgets
from controlplane.runtime.claims import END_SECONDS, LIST_SECONDS
from controlplane.store import Tx, WorkItem

NOTHING: Final = leftovers.LeftoverDecision()

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftoverTurn:
    item: WorkItem
    cluster: Cluster | None
    """Whose cloud is to be swept; None: there is nothing to sweep, or it was."""

    begun_at: datetime
    decision: leftovers.LeftoverDecision = NOTHING
    refused: tuple[Stray, ...] = ()

    @property
    def lane(self) -> str | None:
        return None if self.cluster is None else self.cluster.id


class LeftoverStep:
    def __init__(self, context: Context, adapters: Mapping[str, Lends], budgets: Budgets) -> None:
        self._context = context
        self._budgets = budgets
        self._sweepers = {name: each for name, each in adapters.items() if isinstance(each, Sweeps)}
        self._lags = {name: each.list_lag for name, each in adapters.items() if isinstance(each, Sells)}

    def begin(self, items: Sequence[WorkItem], under_way: Sequence[LeftoverTurn]) -> Sequence[LeftoverTurn]:
        del under_way
        with self._context.store.read() as tx:
            return [
                LeftoverTurn(item=item, cluster=self._cluster(tx, item), begun_at=tx.now) for item in items
            ]

    def act(self, turns: Sequence[LeftoverTurn]) -> Sequence[LeftoverTurn]:
        return [self._acted(turn, turn.cluster) for turn in turns if turn.cluster is not None]

    def record(self, tx: Tx, turns: Sequence[LeftoverTurn]) -> None:
        for turn in turns:
            for stray in turn.decision.forget:
                tx.strays.forget(stray)
            for stray in (*turn.decision.add, *turn.refused):
                tx.strays.put(stray)
        tx.work.settle_many([(turn.item, turn.decision.look_again_at) for turn in turns])

    def _cluster(self, tx: Tx, item: WorkItem) -> Cluster | None:
        cluster = tx.clusters.get(ClusterId(item.id))
        sweeps = cluster is not None and cluster.adapter in self._sweepers and cluster.adapter in self._lags
        return cluster if sweeps else None

    def _acted(self, turn: LeftoverTurn, cluster: Cluster) -> LeftoverTurn:
        things = self._listed(cluster, turn.begun_at)
        with self._context.store.read() as tx:  # after the list: a claim is written down before it buys
            view = leftovers.LeftoverView(
                cluster=tx.clusters.get(cluster.id) or cluster,
                things=things,
                live_claims={claim.id for claim in tx.claims.live(cluster.id)},
                known=tuple(tx.strays.of_cluster(cluster.id)),
                list_lag=self._lags[cluster.adapter],
                now=tx.now,
            )
        decision = leftovers.decide(view)
        refused = [self._removed(cluster, stray, thing, view) for stray, thing in decision.remove]
        kept = tuple(each for each in refused if each is not None)
        return replace(turn, cluster=None, decision=decision, refused=kept)

    def _listed(self, cluster: Cluster, now: datetime) -> tuple[Leftover, ...] | None:
        if self._budgets.take(cluster.id, now):
            return None
        try:
            ref = ref_of(self._context, cluster)
            return self._sweepers[cluster.adapter].leftovers(ref, deadline=LIST_SECONDS)
        except PluginError as problem:
            log.info("leftovers.unseen", extra={"cluster": cluster.id, "problem": problem.message})
            return None

    def _removed(
        self, cluster: Cluster, stray: Stray, thing: Leftover, view: leftovers.LeftoverView
    ) -> Stray | None:
        """None: it was told to go, or will be. Whether it went, the next list shows."""
        if self._budgets.take(cluster.id, view.now):
            return None
        try:
            ref = ref_of(self._context, cluster)
            self._sweepers[cluster.adapter].remove(ref, thing, deadline=END_SECONDS)
        except Rejected as refused:
            return stray.refused(refused.message, at=view.now)
        except PluginError as problem:
            log.info("leftovers.left", extra={"leftover": stray.name, "problem": problem.message})
        return None
