"""Clusters: where jobs may run. Changing them needs an admin token of all projects."""

import json
from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from controlplane.sdk.errors import invalid_here
from controlplane.sdk.transport import Transport, parse
from controlplane.wire.admin import ClusterCreate, ClusterDocument, NodeDocument
from controlplane.wire.base import Page


class Clusters:
    """`cluster` is a name or an id."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def add(
        self,
        name: str,
        *,
        adapter: str,
        url: str | None = None,
        token: str | None = None,
        gpu_resource: str = "GPU",
        settings: Mapping[str, str] | None = None,
    ) -> ClusterDocument:
        """Registers a cluster; it takes jobs as soon as it was seen once.

        `adapter` is the capacity plugin, `ray` for an existing Ray cluster, which needs its dashboard's
        `url`. The token is stored encrypted and never shown again.
        """
        given = {
            "name": name,
            "adapter": adapter,
            "url": url,
            "token": token,
            "gpu_resource": gpu_resource,
            "settings": dict(settings or {}),
        }
        try:
            ClusterCreate.model_validate(given)
        except ValidationError as error:
            raise invalid_here(error) from error
        # Not the model's own JSON: that hides the token.
        return parse(ClusterDocument, self._transport.post("/v1/clusters", json.dumps(given)))

    def list(self) -> Iterator[ClusterDocument]:
        return self._transport.items("/v1/clusters", Page[ClusterDocument])

    def get(self, cluster: str) -> ClusterDocument:
        return parse(ClusterDocument, self._transport.get(f"/v1/clusters/{cluster}"))

    def nodes(self, cluster: str | None = None) -> Iterator[NodeDocument]:
        """Of one cluster, or of all."""
        path = "/v1/nodes" if cluster is None else f"/v1/clusters/{cluster}/nodes"
        return self._transport.items(path, Page[NodeDocument])

    def cordon(self, cluster: str) -> ClusterDocument:
        """No new tasks go there; those that run go on."""
        return self._do("cordon", cluster)

    def uncordon(self, cluster: str) -> ClusterDocument:
        return self._do("uncordon", cluster)

    def drain(self, cluster: str) -> ClusterDocument:
        """No new tasks go there, and those that run are moved off: stopped within their grace, then queued again."""
        return self._do("drain", cluster)

    def undrain(self, cluster: str) -> ClusterDocument:
        return self._do("undrain", cluster)

    def detach(self, cluster: str) -> ClusterDocument:
        """Forgets the cluster for good. Where it is unreachable, its attempts end as lost."""
        return self._do("detach", cluster)

    def _do(self, verb: str, cluster: str) -> ClusterDocument:
        return parse(ClusterDocument, self._transport.post(f"/v1/clusters/{cluster}/{verb}"))
