"""Attached Ray: a cluster that somebody else runs, reached by URL and token. It only lends."""

import httpx

from cloud_adapters.base import ClusterRef, Inventory, Rejected
from cloud_adapters.ray_state import RayState


class RayAdapter:
    def __init__(self, *, transport: httpx.BaseTransport | None = None) -> None:
        self._state = RayState(transport=transport)

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        if cluster.endpoint is None:
            raise Rejected(f"cluster {cluster.name} has no URL; give it one")
        return self._state.inventory(cluster.endpoint, deadline=deadline)
