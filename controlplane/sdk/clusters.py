"""Clusters: where jobs may run. Changing them needs an admin token of all projects."""

import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from controlplane.sdk.errors import Timeout, invalid_here
from controlplane.sdk.transport import Transport, parse
from controlplane.wire.admin import ClusterCreate, ClusterDocument, ClusterSecret, NodeDocument
from controlplane.wire.base import Page

T = TypeVar("T", bound=BaseModel)

EMBEDDED: Final = "local"
LOOK_SECONDS: Final = 0.5
SEEN_SECONDS: Final = 60.0
SECOND_LOOK_SECONDS: Final = 20.0
"""After a look in vain another one has begun and ended, even if a slow cloud lets it wait."""


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
        secret: str | None = None,
        gpu_resource: str = "GPU",
        settings: Mapping[str, str] | None = None,
    ) -> ClusterDocument:
        """Registers a cluster; it takes jobs as soon as it was seen once.

        `adapter` is the capacity plugin. `ray` is for an existing Ray cluster and needs its dashboard's `url`,
        with its `token`. Others take a `secret`: a kubeconfig, or a JSON object of keys. Both are stored
        encrypted and never shown again.
        """
        given = {
            "name": name,
            "adapter": adapter,
            "url": url,
            "token": token,
            "secret": secret,
            "gpu_resource": gpu_resource,
            "settings": dict(settings or {}),
        }
        return parse(ClusterDocument, self._transport.post("/v1/clusters", _open(ClusterCreate, given)))

    def change_secret(self, cluster: str, secret: str) -> ClusterDocument:
        """What opens it from now on: Ray's token where it has a url, else a kubeconfig or a JSON object of keys."""
        body = _open(ClusterSecret, {"secret": secret})
        return parse(ClusterDocument, self._transport.post(f"/v1/clusters/{cluster}/secret", body))

    def wait(
        self, cluster: str, *, after: datetime | None = None, timeout_seconds: float = SEEN_SECONDS
    ) -> ClusterDocument:
        """Returns when it has been seen (later than `after`), or still has a `problem` after a second look.

        Raises `Timeout` when nobody has looked yet. The embedded cluster has problems while it starts: only its being
        seen ends the wait.
        """
        ends_at = time.monotonic() + timeout_seconds
        gives_up_at: float | None = None
        while True:
            document, now = self.get(cluster), time.monotonic()
            seen_at = document.last_seen_at
            if seen_at is not None and (after is None or seen_at > after):
                return document
            if document.problem is not None and document.adapter != EMBEDDED:
                gives_up_at = min(now + SECOND_LOOK_SECONDS, ends_at) if gives_up_at is None else gives_up_at
                if now >= gives_up_at:
                    return document
            if now >= ends_at:
                why = f": {document.problem}" if document.problem else ""
                raise Timeout(f"cluster {document.name} was not seen within {timeout_seconds:g} s{why}")
            time.sleep(LOOK_SECONDS)

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


def _open(kind: type[T], given: Mapping[str, object]) -> str:
    """The request as JSON, checked; not the model's own, which hides the secrets."""
    try:
        kind.model_validate(given)
    except ValidationError as error:
        raise invalid_here(error) from error
    return json.dumps(given)
