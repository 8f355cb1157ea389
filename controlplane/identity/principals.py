"""Principals: who a request speaks for."""

from dataclasses import dataclass
from enum import StrEnum

from controlplane.domain.ids import ProjectId, TokenId


class Role(StrEnum):
    """Each role may do all that the one before it may."""

    VIEWER = "viewer"
    SUBMITTER = "submitter"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    token_id: TokenId
    name: str
    """Of the token, for sentences and audit."""

    role: Role
    project_id: ProjectId | None
    """The one project that it may see; None = all of them."""

    def sees(self, project_id: ProjectId) -> bool:
        return self.project_id is None or self.project_id == project_id

    @property
    def visible_projects(self) -> tuple[ProjectId, ...] | None:
        """As the store's filters take it: None = all."""
        return None if self.project_id is None else (self.project_id,)
