"""Policy: the one table of who may do what, and the one function that reads it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from controlplane.domain.errors import Forbidden, NotFound
from controlplane.domain.ids import ProjectId
from controlplane.identity.principals import Principal, Role


class Action(StrEnum):
    """Reads as `the role <role> may not <action>`."""

    READ = "read"
    """Jobs, queues, events and logs of the projects that the token sees; clusters and nodes."""

    SUBMIT = "submit jobs"
    CANCEL = "cancel jobs"
    RETRY = "retry jobs"
    UPLOAD = "upload archives"
    COPY = "copy data"
    PUBLISH = "publish and promote models"
    DEPLOY = "deploy services"
    INVOKE = "call services"
    """Send requests to a service of the project that is not open to all."""

    EDIT_GATES = "edit models' gates"
    EDIT_QUEUES = "edit queues"
    EDIT_TOKENS = "read and edit tokens"
    EDIT_PROJECTS = "edit projects"
    EDIT_CLUSTERS = "edit clusters"
    EDIT_QUOTAS = "edit quotas"
    EDIT_STORES = "edit object stores"
    EDIT_MONEY = "edit rates and budgets"
    EDIT_RESIDENCY = "edit residency"


VIEWER_ACTIONS: Final = frozenset({Action.READ})
SUBMITTER_ACTIONS: Final = VIEWER_ACTIONS | {
    Action.SUBMIT,
    Action.CANCEL,
    Action.RETRY,
    Action.UPLOAD,
    Action.COPY,
    Action.PUBLISH,
    Action.DEPLOY,
    Action.INVOKE,
}

ALLOWED: Final[Mapping[Role, frozenset[Action]]] = {
    Role.VIEWER: VIEWER_ACTIONS,
    Role.SUBMITTER: SUBMITTER_ACTIONS,
    Role.ADMIN: frozenset(Action),
}

FLEET_WIDE: Final = frozenset(
    {
        Action.EDIT_PROJECTS,
        Action.EDIT_CLUSTERS,
        Action.EDIT_QUOTAS,
        Action.EDIT_STORES,
        Action.EDIT_MONEY,
        Action.EDIT_RESIDENCY,
    }
)
"""What touches every project needs a token that is not bound to one."""


def authorize(principal: Principal, action: Action, project_id: ProjectId | None = None) -> None:
    """Returns if allowed. `project_id` is the owner of the object, None for what no project owns.

    Raises `NotFound` for another project's object: its existence is none of the caller's business. Else `Forbidden`.
    """
    if project_id is not None and not principal.sees(project_id):
        raise NotFound
    if action not in ALLOWED[principal.role]:
        raise Forbidden(
            f"the role {principal.role} may not {action}", field="role", value=str(principal.role)
        )
    if action in FLEET_WIDE and principal.project_id is not None:
        raise Forbidden(f"this token is bound to one project and may not {action}: use one of all projects")
