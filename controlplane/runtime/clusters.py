"""The cluster loop's step: boot and look through the adapter, fold what was seen into the nodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from cloud_adapters.base import ClusterRef, Hosts, Lends, PluginError
from controlplane.domain.clusters import Cluster, ClusterState, Endpoint
from controlplane.domain.copies import replace
from controlplane.domain.ids import ClusterId
from controlplane.operations.context import Context
from controlplane.operations.endpoints import keep_endpoint, ref_of
from controlplane.operations.inventories import fold, retire
from controlplane.reconcilers import clusters
from controlplane.store import Tx, WorkItem

BOOT_SECONDS = 5.0
"""A start that takes longer goes on and is found by a later step; meanwhile the cluster counts as unreachable."""

END_SECONDS = 60.0
LOOK_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterTurn:
    item: WorkItem
    view: clusters.ClusterView | None
    """None: there is no such cluster."""

    decision: clusters.ClusterDecision
    endpoint: Endpoint | None = None
    """As some answer gave it; to be kept."""

    @property
    def lane(self) -> str | None:
        return None if self.decision.call is None else self.item.id


class ClusterStep:
    def __init__(self, context: Context, adapters: Mapping[str, Lends]) -> None:
        self._context = context
        self._adapters = adapters
        self._hosts = {name: each for name, each in adapters.items() if isinstance(each, Hosts)}

    def begin(self, items: Sequence[WorkItem], under_way: Sequence[ClusterTurn]) -> Sequence[ClusterTurn]:
        del under_way
        with self._context.store.read() as tx:
            return [_begun(item, self._load(tx, ClusterId(item.id))) for item in items]

    def act(self, turns: Sequence[ClusterTurn]) -> Sequence[ClusterTurn]:
        return [self._act_alone(turn) for turn in turns]

    def record(self, tx: Tx, turns: Sequence[ClusterTurn]) -> None:
        for turn in turns:
            if turn.view is not None:
                self._save(tx, turn.view, turn.decision, turn.endpoint)
        tx.work.settle_many([(turn.item, turn.decision.look_again_at) for turn in turns])

    def _act_alone(self, turn: ClusterTurn) -> ClusterTurn:
        view, decision, endpoint = turn.view, turn.decision, turn.endpoint
        while view is not None and decision.call is not None:
            heard = self._act(view.cluster, decision.call)
            decision = clusters.decide(replace(view, heard=heard))
            endpoint = decision.endpoint or endpoint
        return replace(turn, decision=decision, endpoint=endpoint)

    def _load(self, tx: Tx, cluster_id: ClusterId) -> clusters.ClusterView | None:
        settings = self._context.settings
        cluster = tx.clusters.get(cluster_id)
        if cluster is None:
            return None
        return clusters.ClusterView(
            cluster=cluster,
            live_attempts=tx.attempts.count_live(cluster_id),
            is_hosted=cluster.adapter in self._hosts,
            unreachable_after=timedelta(seconds=settings.unreachable_after_seconds),
            poll=timedelta(seconds=settings.poll_seconds),
            now=tx.now,
        )

    def _act(self, cluster: Cluster, call: clusters.Call) -> clusters.Heard:
        if cluster.adapter not in self._adapters:
            return clusters.Unseen(
                message=f"the plugin {cluster.adapter!r} is not installed or does not load"
            )
        try:
            match call:
                case clusters.Boot():
                    ref = self._ref(cluster, None)
                    return clusters.Booted(
                        endpoint=self._hosts[cluster.adapter].boot(ref, deadline=BOOT_SECONDS)
                    )
                case clusters.TakeInventory(endpoint=endpoint):
                    ref = self._ref(cluster, endpoint)
                    return clusters.Seen(
                        inventory=self._adapters[cluster.adapter].inventory(ref, deadline=LOOK_SECONDS)
                    )
                case clusters.EndAll():
                    self._hosts[cluster.adapter].shut_down(self._ref(cluster, None), deadline=END_SECONDS)
                    return clusters.ShutDown()
        except PluginError as problem:
            return clusters.Unseen(message=problem.message)

    def _ref(self, cluster: Cluster, endpoint: Endpoint | None) -> ClusterRef:
        return ref_of(self._context, cluster, endpoint)

    def _save(
        self,
        tx: Tx,
        view: clusters.ClusterView,
        decision: clusters.ClusterDecision,
        endpoint: Endpoint | None,
    ) -> None:
        saved = decision.save
        if endpoint is not None:
            saved = keep_endpoint(self._context, tx, saved or view.cluster, endpoint)
        if saved is not None and saved != view.cluster:
            tx.clusters.save(
                saved if saved.version > view.cluster.version else replace(saved, version=saved.version + 1)
            )
        if decision.inventory is not None:
            fold(tx, view.cluster, decision.inventory, ids=self._context.ids, ours_alone=view.is_hosted)
        if saved is not None and saved.state is not view.cluster.state:
            _wake(tx, saved)


def _begun(item: WorkItem, view: clusters.ClusterView | None) -> ClusterTurn:
    decision = clusters.ClusterDecision() if view is None else clusters.decide(view)
    return ClusterTurn(item=item, view=view, decision=decision, endpoint=decision.endpoint)


def _wake(tx: Tx, cluster: Cluster) -> None:
    if cluster.state in (ClusterState.DRAINING, ClusterState.DETACHED):
        tx.work.poke_many("attempt", tx.attempts.live_ids(cluster.id))
    if cluster.state is ClusterState.DETACHED:
        retire(tx, tx.nodes.present(cluster.id))
