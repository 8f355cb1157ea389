"""Models: versions with their lineage, the gates before production, and signed manifests."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from controlplane.sdk.bodies import body
from controlplane.sdk.transport import Transport, parse
from controlplane.wire.base import Page
from controlplane.wire.models import (
    ArtifactGiven,
    GateRemove,
    GateSet,
    ManifestDocument,
    ModelCreate,
    ModelDocument,
    Promotion,
    PublicKeyDocument,
    VersionDocument,
    VersionPublish,
)

PUBLISH_SECONDS: Final = 3600.0
"""The server reads the artifacts before it answers."""

Which = int | Literal["production"]


class Models:
    """A model's name is unique inside its project. Versions are numbers, or `production` for the one that serves."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, *, project: str = "default", description: str = "") -> ModelDocument:
        wanted = body(ModelCreate, name=name, project=project, description=description)
        return parse(ModelDocument, self._transport.post("/v1/models", wanted))

    def list(self, *, project: str | None = None) -> Iterator[ModelDocument]:
        return self._transport.items("/v1/models", Page[ModelDocument], params={"project": project})

    def get(self, name: str, *, project: str = "default") -> ModelDocument:
        return parse(ModelDocument, self._transport.get(_path(project, name)))

    def set_gate(
        self,
        model: str,
        name: str,
        *,
        metric: str,
        comparison: Literal["at_least", "at_most"] = "at_least",
        limit: float | None = None,
        slack: float | None = None,
        project: str = "default",
    ) -> ModelDocument:
        """What `metric` must reach before a version may serve: a limit, or at most `slack` worse than production."""
        wanted = body(GateSet, name=name, metric=metric, comparison=comparison, limit=limit, slack=slack)
        return parse(ModelDocument, self._transport.post(f"{_path(project, model)}/gates", wanted))

    def remove_gate(self, model: str, name: str, *, project: str = "default") -> ModelDocument:
        wanted = body(GateRemove, name=name)
        return parse(ModelDocument, self._transport.post(f"{_path(project, model)}/gates/remove", wanted))

    def publish(
        self,
        model: str,
        *,
        job: str | None = None,
        artifacts: Sequence[ArtifactGiven | Mapping[str, object]] = (),
        evaluated_by: str | None = None,
        data: str | None = None,
        parent: int | None = None,
        project: str = "default",
    ) -> VersionDocument:
        """Makes the next version: with `job` alone of its newest checkpoint, its metrics, code and spec.

        Returns when the server has read every artifact and found size and SHA-256 as they were said to be.
        """
        given = [each if isinstance(each, Mapping) else each.model_dump() for each in artifacts]
        wanted = body(
            VersionPublish, job=job, artifacts=given, evaluated_by=evaluated_by, data=data, parent=parent
        )
        path = f"{_path(project, model)}/versions"
        return parse(VersionDocument, self._transport.post(path, wanted, timeout_seconds=PUBLISH_SECONDS))

    def versions(self, model: str, *, project: str = "default") -> Iterator[VersionDocument]:
        """Newest first."""
        return self._transport.items(f"{_path(project, model)}/versions", Page[VersionDocument])

    def version(
        self, model: str, which: Which = "production", *, project: str = "default"
    ) -> VersionDocument:
        return parse(VersionDocument, self._transport.get(f"{_path(project, model)}/versions/{which}"))

    def manifest(
        self, model: str, which: Which = "production", *, project: str = "default"
    ) -> ManifestDocument:
        """All facts of a version as one text, and the server's signature over it."""
        path = f"{_path(project, model)}/versions/{which}/manifest"
        return parse(ManifestDocument, self._transport.get(path))

    def public_key(self) -> PublicKeyDocument:
        """What manifests' signatures are checked with."""
        return parse(PublicKeyDocument, self._transport.get("/v1/models/key"))

    def promote(
        self,
        model: str,
        which: Which,
        *,
        stage: Literal["staging", "production"] = "production",
        project: str = "default",
    ) -> VersionDocument:
        """Raises `Conflict` that names gate, value and limit. The version that served goes back to staging."""
        path = f"{_path(project, model)}/versions/{which}/promote"
        return parse(VersionDocument, self._transport.post(path, body(Promotion, stage=stage)))

    def archive(self, model: str, which: Which, *, project: str = "default") -> VersionDocument:
        """For good. Its facts and its objects stay."""
        path = f"{_path(project, model)}/versions/{which}/archive"
        return parse(VersionDocument, self._transport.post(path))


def _path(project: str, model: str) -> str:
    return f"/v1/models/{project}/{model}"
