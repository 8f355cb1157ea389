"""ToyCloud as capacity: it lends the nodes of the Ray cluster that it runs for us, and sells machines that join it.

Registered with an address and a token: `crossdock clusters add toys --adapter toycloud --url .. --token-stdin`.
"""

import threading
import weakref
from collections.abc import Sequence
from datetime import timedelta

from cloud_adapters.base import (
    CapacityType,
    ClusterRef,
    Endpoint,
    Inventory,
    LaunchOrder,
    MachineState,
    Offer,
    OwnedMachine,
    Rejected,
    Termination,
)
from crossdock_toycloud import translate
from crossdock_toycloud.client import ToyClient


class ToyCloudAdapter:
    """Lends and Sells. Holds connections and nothing else, so any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[Endpoint, ToyClient] = {}
        # The ports have no close: connections end with the adapter that holds them.
        weakref.finalize(self, _close, self._clients)

    @property
    def list_lag(self) -> timedelta:
        return timedelta(seconds=10)

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        client = self._client(cluster)
        rows = client.nodes(deadline=deadline)
        machines = sorted((translate.node(row) for row in rows), key=lambda machine: machine.name)
        return Inventory(machines=tuple(machines), complete=True, session=client.session(deadline=deadline))

    def offers(self, cluster: ClusterRef, *, deadline: float) -> tuple[Offer, ...]:
        offers = (translate.offer(row) for row in self._client(cluster).types(deadline=deadline))
        return tuple(sorted(offers, key=lambda offer: (offer.machine_type, offer.zone)))

    def ensure(self, launch: LaunchOrder, *, deadline: float) -> tuple[OwnedMachine, ...]:
        """ToyCloud makes an order of one id once, all machines or none: the law asks no more of it."""
        if launch.capacity_type is not CapacityType.ON_DEMAND:
            raise Rejected(f"toycloud sells on demand alone, not {launch.capacity_type}")
        body = {
            "type": launch.machine_type,
            "zone": launch.zone,
            "count": launch.machines,
            "tags": {
                "cluster": launch.cluster.id,
                "claim": launch.claim_id,
                "launch": launch.launch_id,
            },
        }
        rows = self._client(launch.cluster).order(launch.launch_id, body, deadline=deadline)
        return tuple(translate.owned(row) for row in rows)

    def release(self, cluster: ClusterRef, claim_id: str, members: Sequence[str], *, deadline: float) -> None:
        client = self._client(cluster)
        for machine in self._of_claim(cluster, claim_id, deadline):
            if machine.name in members:
                client.end(machine.name, deadline=deadline)

    def terminate(self, cluster: ClusterRef, claim_id: str, *, deadline: float) -> Termination:
        """ToyCloud forgets what has ended, so it never says `GONE`; the control plane waits the list lag out."""
        client = self._client(cluster)
        seen = self._of_claim(cluster, claim_id, deadline)
        for machine in seen:
            if machine.state is not MachineState.STOPPING:
                client.end(machine.name, deadline=deadline)
        return Termination.GOING if seen else Termination.UNSEEN

    def list_owned(self, cluster: ClusterRef, *, deadline: float) -> tuple[OwnedMachine, ...]:
        rows = self._client(cluster).machines(cluster.id, deadline=deadline)
        return tuple(sorted((translate.owned(row) for row in rows), key=lambda machine: machine.name))

    def _of_claim(self, cluster: ClusterRef, claim_id: str, deadline: float) -> list[OwnedMachine]:
        return [each for each in self.list_owned(cluster, deadline=deadline) if each.claim_id == claim_id]

    def _client(self, cluster: ClusterRef) -> ToyClient:
        if cluster.endpoint is None:
            raise Rejected(f"cluster {cluster.name} has no URL; give it ToyCloud's address")
        with self._lock:
            if cluster.endpoint not in self._clients:
                self._clients[cluster.endpoint] = ToyClient(cluster.endpoint)
            return self._clients[cluster.endpoint]


def _close(clients: dict[Endpoint, ToyClient]) -> None:
    for client in clients.values():
        client.close()
