"""The cluster loop's step: boot and look through the adapter, fold what was seen into the nodes."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from cloud_adapters.base import ClusterRef, Hosts, Lends, PluginError
from controlplane.domain.clusters import Cluster, ClusterState, Endpoint
from controlplane.domain.ids import ClusterId
from controlplane.operations.endpoints import endpoint_of, keep_endpoint
from controlplane.operations.inventories import fold
from controlplane.operations.services import Services
from controlplane.reconcilers import clusters
from controlplane.store import Tx, WorkItem

BOOT_SECONDS = 5.0
"""A start that takes longer goes on and is found by a later step; meanwhile the cluster counts as unreachable."""

END_SECONDS = 60.0
LOOK_SECONDS = 10.0


class ClusterStep:
    def __init__(self, services: Services, adapters: Mapping[str, Lends]) -> None:
        self._services = services
        self._adapters = adapters
        self._hosts = {name: each for name, each in adapters.items() if isinstance(each, Hosts)}

    def __call__(self, item: WorkItem) -> None:
        view = self._load(ClusterId(item.id))
        if view is None:
            self._services.store.write(lambda tx: tx.work.settle(item, None))
            return
        decision = clusters.decide(view)
        endpoint = None
        while decision.call is not None:
            heard = self._act(view.cluster, decision.call)
            decision = clusters.decide(replace(view, heard=heard))
            endpoint = decision.endpoint or endpoint
        self._services.store.write(
            lambda tx: self._record(tx, item, view, replace(decision, endpoint=endpoint))
        )

    def _load(self, cluster_id: ClusterId) -> clusters.ClusterView | None:
        settings = self._services.settings
        with self._services.store.read() as tx:
            cluster = tx.clusters.get(cluster_id)
            if cluster is None:
                return None
            return clusters.ClusterView(
                cluster=cluster,
                live_attempts=len(tx.attempts.live(cluster_id)),
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
        return cluster_ref(cluster, endpoint or endpoint_of(self._services, cluster))

    def _record(
        self, tx: Tx, item: WorkItem, view: clusters.ClusterView, decision: clusters.ClusterDecision
    ) -> None:
        tx.work.check(item)
        saved = decision.save
        if decision.endpoint is not None:
            saved = keep_endpoint(self._services, tx, saved or view.cluster, decision.endpoint)
        if saved is not None and saved != view.cluster:
            tx.clusters.save(
                saved if saved.version > view.cluster.version else replace(saved, version=saved.version + 1)
            )
        if decision.inventory is not None:
            fold(tx, view.cluster, decision.inventory, ids=self._services.ids, ours_alone=view.is_hosted)
        if saved is not None and saved.state is not view.cluster.state:
            self._wake(tx, saved)
        tx.work.settle(item, decision.look_again_at)

    def _wake(self, tx: Tx, cluster: Cluster) -> None:
        if cluster.state in (ClusterState.DRAINING, ClusterState.DETACHED):
            for attempt in tx.attempts.live(cluster.id):
                tx.work.poke("attempt", attempt.id)
        if cluster.state is ClusterState.DETACHED:
            for node in tx.nodes.present(cluster.id):
                tx.nodes.put(replace(node, gone_at=tx.now))


def cluster_ref(cluster: Cluster, endpoint: Endpoint | None) -> ClusterRef:
    return ClusterRef(id=cluster.id, name=cluster.name, endpoint=endpoint, settings=cluster.settings)
