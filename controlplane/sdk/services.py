"""Services: models that answer requests, revision after revision."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence

from pydantic import ValidationError

from controlplane.sdk.bodies import body
from controlplane.sdk.errors import invalid_here
from controlplane.sdk.transport import Transport, parse
from controlplane.sdk.uploads import Uploads
from controlplane.wire.base import Page
from controlplane.wire.services import ReplicaDocument, RevisionDocument, Rollback, Scale, ServiceDocument
from controlplane.wire.servicespec import ServiceSpec

Folder = str | os.PathLike[str]
Spec = ServiceSpec | Mapping[str, object]


class Services:
    """A service's name is unique inside its project; `get`, `revise` and the rest take its id."""

    def __init__(self, transport: Transport, uploads: Uploads) -> None:
        self._transport = transport
        self._uploads = uploads

    def deploy(self, spec: Spec, *, working_dir: Folder | None = None) -> ServiceDocument:
        """Makes the service, or its next revision where the project has a service of this name.

        `working_dir` is a local folder with the code of `import_path`. Raises `Invalid`, `NotFound`, `BadFolder`.
        """
        wanted = self._ready(spec, working_dir)
        known = self.by_name(wanted.name, project=wanted.project)
        text = wanted.model_dump_json(exclude_unset=True)
        if known is None:
            return parse(ServiceDocument, self._transport.post("/v1/services", text))
        return parse(ServiceDocument, self._transport.post(f"/v1/services/{known.id}/revisions", text))

    def list(self, *, project: str | None = None) -> Iterator[ServiceDocument]:
        return self._transport.items("/v1/services", Page[ServiceDocument], params={"project": project})

    def by_name(self, name: str, *, project: str = "default") -> ServiceDocument | None:
        params = {"project": project, "name": name}
        return next(self._transport.items("/v1/services", Page[ServiceDocument], params=params), None)

    def get(self, service_id: str) -> ServiceDocument:
        return parse(ServiceDocument, self._transport.get(f"/v1/services/{service_id}"))

    def revisions(self, service_id: str) -> Iterator[RevisionDocument]:
        """Newest first."""
        return self._transport.items(f"/v1/services/{service_id}/revisions", Page[RevisionDocument])

    def replicas(self, service_id: str) -> Sequence[ReplicaDocument]:
        """Those that are there or on their way."""
        answer = self._transport.get(f"/v1/services/{service_id}/replicas")
        return parse(Page[ReplicaDocument], answer).items

    def scale(self, service_id: str, *, fewest: int, most: int) -> ServiceDocument:
        """Until the next revision, which brings bounds of its own."""
        wanted = body(Scale, min=fewest, max=most)
        return parse(ServiceDocument, self._transport.post(f"/v1/services/{service_id}/scale", wanted))

    def promote(self, service_id: str) -> ServiceDocument:
        """Gives the newest revision all traffic at once. Raises `Conflict` unless a release is under way."""
        return parse(ServiceDocument, self._transport.post(f"/v1/services/{service_id}/promote"))

    def rollback(self, service_id: str, number: int | None = None) -> ServiceDocument:
        """Ends a release that is under way; else deploys an earlier revision again."""
        wanted = body(Rollback, number=number)
        return parse(ServiceDocument, self._transport.post(f"/v1/services/{service_id}/rollback", wanted))

    def delete(self, service_id: str) -> ServiceDocument:
        """It takes no more requests; its replicas end what they have."""
        return parse(ServiceDocument, self._transport.post(f"/v1/services/{service_id}/delete"))

    def _ready(self, spec: Spec, working_dir: Folder | None) -> ServiceSpec:
        given = spec.model_dump(exclude_unset=True) if isinstance(spec, ServiceSpec) else dict(spec)
        if working_dir is not None:
            given["working_dir"] = self._uploads.put(working_dir)
        try:
            return ServiceSpec.model_validate_json(json.dumps(given))
        except ValidationError as error:
            raise invalid_here(error) from error
