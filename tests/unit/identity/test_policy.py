"""Who may do what: the whole table, and what a token that is bound to a project cannot see."""

import pytest

from controlplane.domain.errors import Forbidden, NotFound
from controlplane.domain.ids import ProjectId, TokenId
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal, Role

OURS = ProjectId("prj_ours")
THEIRS = ProjectId("prj_theirs")

EXPECTED = {
    Role.VIEWER: {Action.READ},
    Role.SUBMITTER: {
        Action.READ,
        Action.SUBMIT,
        Action.CANCEL,
        Action.RETRY,
        Action.UPLOAD,
        Action.COPY,
        Action.PUBLISH,
        Action.DEPLOY,
        Action.INVOKE,
    },
    Role.ADMIN: set(Action),
}


def principal(role: Role, project_id: ProjectId | None = None) -> Principal:
    return Principal(token_id=TokenId("tok_1"), name="someone", role=role, project_id=project_id)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("action", Action)
def test_each_role_may_do_what_the_table_says_and_nothing_else(role: Role, action: Action) -> None:
    if action in EXPECTED[role]:
        authorize(principal(role), action, OURS)
    else:
        with pytest.raises(Forbidden, match=f"the role {role} may not {action}"):
            authorize(principal(role), action, OURS)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("action", Action)
def test_another_projects_object_is_not_found_whatever_the_role(role: Role, action: Action) -> None:
    with pytest.raises(NotFound):
        authorize(principal(role, OURS), action, THEIRS)


@pytest.mark.parametrize("action", [Action.EDIT_CLUSTERS, Action.EDIT_PROJECTS])
def test_an_admin_of_one_project_may_not_edit_what_touches_all(action: Action) -> None:
    with pytest.raises(Forbidden, match="bound to one project"):
        authorize(principal(Role.ADMIN, OURS), action)


@pytest.mark.parametrize("action", [Action.EDIT_QUEUES, Action.EDIT_TOKENS, Action.EDIT_GATES])
def test_an_admin_of_one_project_edits_its_own_queues_and_tokens(action: Action) -> None:
    authorize(principal(Role.ADMIN, OURS), action, OURS)


def test_a_viewer_of_one_project_may_look_at_capacity() -> None:
    authorize(principal(Role.VIEWER, OURS), Action.READ)
