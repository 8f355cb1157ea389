"""Models: what was learned, version by version, and which version may serve."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from controlplane.domain.ids import ModelId, ModelVersionId, ProjectId
from controlplane.domain.lifecycles import Lifecycle, to
from controlplane.domain.manifests import Manifest


class Stage(StrEnum):
    CANDIDATE = "candidate"
    """Published, and nothing more is known of it."""

    STAGING = "staging"
    """Tried out, or taken back from production: it can be promoted again."""

    PRODUCTION = "production"
    """The one that serves. A model has at most one."""

    ARCHIVED = "archived"
    """Out of use for good. Its facts stay."""


MODEL_VERSION: Final = Lifecycle(
    noun="model_version",
    initial=Stage.CANDIDATE,
    edges={
        Stage.CANDIDATE: to(Stage.STAGING, Stage.PRODUCTION, Stage.ARCHIVED),
        Stage.STAGING: to(Stage.PRODUCTION, Stage.ARCHIVED),
        Stage.PRODUCTION: to(
            Stage.STAGING,  # another version took its place
            Stage.ARCHIVED,
        ),
        Stage.ARCHIVED: to(),
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """`name` is unique inside the project."""

    id: ModelId
    project_id: ProjectId
    name: str
    description: str
    created_at: datetime
    last_number: int = 0
    """Of the newest version; 0 before the first."""

    version: int = 1
    """Rises with each change of the model, its gates or its versions' stages: they are judged against each other."""

    def changed(self) -> Self:
        return replace(self, version=self.version + 1)

    def with_another(self) -> Self:
        return replace(self.changed(), last_number=self.last_number + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """What was published once. All but its stage is in the manifest, and never changes."""

    id: ModelVersionId
    model_id: ModelId
    number: int
    """From 1, in the order of publication."""

    state: Stage
    since: datetime
    created_at: datetime
    manifest: Manifest
    signature: str
    """Ed25519 over the manifest's text, in base64."""

    key_id: str
    promoted_at: datetime | None = None
    """When it was first in production."""

    version: int = 1
    came_from: str = "-"

    def move(self, new: Stage, *, at: datetime) -> Self:
        MODEL_VERSION.check(self.state, new)
        first = at if new is Stage.PRODUCTION else None
        return replace(
            self,
            state=new,
            came_from=str(self.state),
            since=at,
            promoted_at=self.promoted_at or first,
            version=self.version + 1,
        )
