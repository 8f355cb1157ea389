"""Projects, queues, tokens, and how long a token that is no more still opens."""

from datetime import timedelta

import pytest

from controlplane.domain.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from controlplane.identity.principals import Role
from controlplane.identity.tokens import new_secret
from controlplane.operations import projects, tokens
from controlplane.operations.authentication import Authenticator
from tests.unit.operations.world import World, other_project


def test_a_project_comes_with_a_queue(plane: World) -> None:
    projects.create_project(plane.context, plane.root, "vision")
    found = projects.queues(plane.context, plane.root, project="vision", after=None, limit=10)
    assert [(view.project_name, view.queue.name) for view in found] == [("vision", "default")]


def test_names_are_taken_once(plane: World) -> None:
    before = plane.counts()
    with pytest.raises(Conflict) as project:
        projects.create_project(plane.context, plane.root, "default")
    with pytest.raises(Conflict) as queue:
        projects.create_queue(plane.context, plane.root, project="default", name="default")
    assert (project.value.value, queue.value.value, plane.counts()) == ("default", "default", before)


def test_a_token_of_one_project_sees_that_project_alone(plane: World) -> None:
    other_project(plane)
    ours = plane.principal(Role.ADMIN, "default")
    seen = projects.projects(plane.context, ours, after=None, limit=10)
    assert [project.name for project in seen] == ["default"]
    queues = projects.queues(plane.context, ours, project=None, after=None, limit=10)
    assert [view.project_name for view in queues] == ["default"]
    with pytest.raises(NotFound):
        projects.create_queue(plane.context, ours, project="other", name="mine")


def test_a_token_opens_for_what_it_was_made_for(plane: World) -> None:
    made = tokens.create(plane.context, plane.root, name="ci", role=Role.SUBMITTER, project="default")
    principal = Authenticator(plane.store).principal(made.secret)
    row = made.view.row
    assert (principal.token_id, principal.role, principal.project_id) == (
        row.id,
        Role.SUBMITTER,
        row.project_id,
    )
    assert made.secret not in repr(made)


@pytest.mark.parametrize(
    "secret", [None, "", "cd_short", new_secret()], ids=["none", "empty", "short", "other"]
)
def test_an_unknown_secret_is_refused(plane: World, secret: str | None) -> None:
    with pytest.raises(Unauthenticated):
        Authenticator(plane.store).principal(secret)


def test_a_revoked_token_is_refused_within_five_seconds(plane: World) -> None:
    made = tokens.create(plane.context, plane.root, name="ci", role=Role.VIEWER)
    seconds = [0.0]
    door = Authenticator(plane.store, clock=lambda: seconds[0])
    door.principal(made.secret)
    tokens.revoke(plane.context, plane.root, made.view.row.id)
    seconds[0] = 4.99
    with pytest.raises(Unauthenticated):
        door.principal(made.secret)


def test_an_expired_token_is_refused(plane: World) -> None:
    expires_at = plane.clock.at + timedelta(seconds=60)
    made = tokens.create(plane.context, plane.root, name="ci", role=Role.VIEWER, expires_at=expires_at)
    assert Authenticator(plane.store).principal(made.secret).name == "ci"
    plane.clock.pass_seconds(60)
    with pytest.raises(Unauthenticated):
        Authenticator(plane.store).principal(made.secret)


def test_a_token_cannot_be_born_expired(plane: World) -> None:
    with pytest.raises(Invalid) as caught:
        tokens.create(plane.context, plane.root, name="ci", role=Role.VIEWER, expires_at=plane.clock.at)
    assert caught.value.field == "expires_at"


def test_an_admin_of_one_project_makes_and_sees_tokens_of_it_alone(plane: World) -> None:
    other_project(plane)
    ours = plane.principal(Role.ADMIN, "default")
    theirs = tokens.create(
        plane.context, plane.root, name="theirs", role=Role.ADMIN, project="other"
    ).view.row
    mine = tokens.create(plane.context, ours, name="mine", role=Role.ADMIN, project="default").view.row
    with pytest.raises(Invalid, match="bound to one project"):
        tokens.create(plane.context, ours, name="all", role=Role.VIEWER)
    with pytest.raises(NotFound):
        tokens.create(plane.context, ours, name="x", role=Role.VIEWER, project="other")
    with pytest.raises(NotFound):
        tokens.revoke(plane.context, ours, theirs.id)
    assert [view.row.id for view in tokens.listed(plane.context, ours, after=None, limit=10)] == [mine.id]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.SUBMITTER])
def test_only_admins_touch_tokens(plane: World, role: Role) -> None:
    with pytest.raises(Forbidden):
        tokens.listed(plane.context, plane.principal(role), after=None, limit=10)


def test_tokens_are_listed_page_by_page_whatever_is_skipped(plane: World) -> None:
    other_project(plane)
    for number in range(6):
        tokens.create(
            plane.context,
            plane.root,
            name=f"t{number}",
            role=Role.VIEWER,
            project=("default", "other")[number % 2],
        )
    ours = plane.principal(Role.ADMIN, "default")
    first = tokens.listed(plane.context, ours, after=None, limit=2)
    second = tokens.listed(plane.context, ours, after=first[-1].row.id, limit=2)
    assert [view.row.name for view in (*first, *second)] == ["t0", "t2", "t4"]
