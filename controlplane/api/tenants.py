"""Routes of projects, queues and tokens."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from controlplane.api import documents
from controlplane.api.calls import Deed, DeedRoute, Read, Whole, respond
from controlplane.api.openapi import PROBLEMS, takes
from controlplane.api.pages import DEFAULT_PAGE, After, Limit, page, text_of
from controlplane.identity.principals import Role
from controlplane.operations import projects, tokens
from controlplane.operations.tokens import NewToken
from controlplane.wire.admin import (
    MeDocument,
    ProjectCreate,
    ProjectDocument,
    QueueCreate,
    QueueDocument,
    TokenCreate,
    TokenCreated,
    TokenDocument,
)
from controlplane.wire.base import Page

router = APIRouter(prefix="/v1", tags=["tenants"], responses=dict(PROBLEMS))
deeds = APIRouter(prefix="/v1", tags=["tenants"], responses=dict(PROBLEMS), route_class=DeedRoute)

ProjectName = Annotated[str | None, Query(max_length=63)]


@router.get("/me", response_model=MeDocument)
def get_me(call: Read) -> Response:
    """The token that asks."""
    who = call.principal()
    return respond(documents.me(who, tokens.project_of(call.context, who)))


@deeds.post("/projects", status_code=201, response_model=ProjectDocument, openapi_extra=takes(ProjectCreate))
def create_project(call: Whole) -> Response:
    who, wanted = call.principal(), call.parse(ProjectCreate)
    deed = call.deed(who, 201, documents.project)
    return deed.answer(projects.create_project(call.context, who, wanted.name, once=deed.once))


@router.get("/projects", response_model=Page[ProjectDocument])
def list_projects(call: Read, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    """By name."""
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("projects", after))
    found = projects.projects(call.context, who, after=last, limit=limit + 1)
    return respond(
        page(found, limit, documents.project, lambda project: cursors.write("projects", (project.name,)))
    )


@deeds.post("/queues", status_code=201, response_model=QueueDocument, openapi_extra=takes(QueueCreate))
def create_queue(call: Whole) -> Response:
    who, wanted = call.principal(), call.parse(QueueCreate)
    deed = call.deed(who, 201, documents.queue)
    return deed.answer(
        projects.create_queue(call.context, who, project=wanted.project, name=wanted.name, once=deed.once)
    )


@router.get("/queues", response_model=Page[QueueDocument])
def list_queues(
    call: Read, project: ProjectName = None, after: After = None, limit: Limit = DEFAULT_PAGE
) -> Response:
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("queues", after))
    found = projects.queues(call.context, who, project=project, after=last, limit=limit + 1)
    return respond(
        page(found, limit, documents.queue, lambda view: cursors.write("queues", (view.queue.id,)))
    )


@deeds.post("/tokens", status_code=201, response_model=TokenCreated, openapi_extra=takes(TokenCreate))
def create_token(call: Whole) -> Response:
    """The answer holds the secret, once: the same key again is a conflict that names the token."""
    who, wanted = call.principal(), call.parse(TokenCreate)
    # What is remembered has no secret.
    deed: Deed[NewToken] = call.deed(who, 201, lambda made: documents.token(made.view))
    made = tokens.create(
        call.context,
        who,
        name=wanted.name,
        role=Role(wanted.role),
        project=wanted.project,
        expires_at=wanted.expires_at,
        once=deed.once,
    )
    return respond(documents.new_token(made), code=201)


@router.get("/tokens", response_model=Page[TokenDocument])
def list_tokens(call: Read, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("tokens", after))
    found = tokens.listed(call.context, who, after=last, limit=limit + 1)
    return respond(page(found, limit, documents.token, lambda view: cursors.write("tokens", (view.row.id,))))


@deeds.post("/tokens/{token}/revoke", response_model=TokenDocument, openapi_extra=takes())
def revoke_token(call: Whole, token: str) -> Response:
    """Refused everywhere within 5 seconds."""
    who = call.principal()
    call.parse_nothing()
    deed = call.deed(who, 200, documents.token)
    return deed.answer(tokens.revoke(call.context, who, token, once=deed.once))
