"""Routes of services, their revisions and replicas."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from controlplane.api import service_documents as documents
from controlplane.api.calls import DeedRoute, Read, Whole, respond
from controlplane.api.openapi import PROBLEMS, takes
from controlplane.api.pages import DEFAULT_PAGE, After, Limit, page, text_of
from controlplane.operations import deployments, services
from controlplane.operations.idempotency import answer_if_known
from controlplane.wire.base import Page
from controlplane.wire.services import ReplicaDocument, RevisionDocument, Rollback, Scale, ServiceDocument
from controlplane.wire.servicespec import ServiceSpec

router = APIRouter(prefix="/v1/services", tags=["services"], responses=dict(PROBLEMS))
deeds = APIRouter(prefix="/v1/services", tags=["services"], responses=dict(PROBLEMS), route_class=DeedRoute)

Word = Annotated[str | None, Query(max_length=63)]


@deeds.post("", status_code=201, response_model=ServiceDocument, openapi_extra=takes(ServiceSpec))
def deploy_service(call: Whole) -> Response:
    """Its first revision is on its way when this returns."""
    who, wanted = call.principal(), call.parse(ServiceSpec)
    deed = call.deed(who, 201, documents.service)
    return deed.answer(deployments.deploy(call.context, who, wanted, call.body.decode(), once=deed.once))


@router.get("", response_model=Page[ServiceDocument])
def list_services(
    call: Read,
    *,
    project: Word = None,
    name: Word = None,
    after: After = None,
    limit: Limit = DEFAULT_PAGE,
) -> Response:
    """In the order in which they were made. `name` needs `project`, unless the token has one."""
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("services", after)) or ""
    views = services.listed(call.context, who, project=project, name=name, after=last, limit=limit + 1)
    return respond(
        page(views, limit, documents.service, lambda view: cursors.write("services", (view.service.id,)))
    )


@router.get("/{service}", response_model=ServiceDocument)
def get_service(call: Read, service: str) -> Response:
    return respond(documents.service(services.get(call.context, call.principal(), service)))


@deeds.post(
    "/{service}/revisions", status_code=201, response_model=ServiceDocument, openapi_extra=takes(ServiceSpec)
)
def revise_service(call: Whole, service: str) -> Response:
    """The next revision, whole: what the spec leaves out is at its default. It keeps name, project and queue."""
    who, wanted = call.principal(), call.parse(ServiceSpec)
    deed = call.deed(who, 201, documents.service)
    return deed.answer(
        deployments.revise(call.context, who, service, wanted, call.body.decode(), once=deed.once)
    )


@deeds.post("/{service}/scale", response_model=ServiceDocument, openapi_extra=takes(Scale))
def scale_service(call: Whole, service: str) -> Response:
    who, wanted = call.principal(), call.parse(Scale)
    deed = call.deed(who, 200, documents.service)
    return deed.answer(services.scale(call.context, who, service, wanted.min, wanted.max, once=deed.once))


@deeds.post("/{service}/promote", response_model=ServiceDocument, openapi_extra=takes())
def promote_service(call: Whole, service: str) -> Response:
    """Gives the newest revision, which has to be ready, all traffic at once."""
    who = call.principal()
    call.parse_nothing()
    deed = call.deed(who, 200, documents.service)
    return deed.answer(services.promote(call.context, who, service, once=deed.once))


@deeds.post("/{service}/rollback", response_model=ServiceDocument, openapi_extra=takes(Rollback))
def roll_service_back(call: Whole, service: str) -> Response:
    """Without a number it ends a release that is under way, or else deploys the one before again."""
    who, wanted = call.principal(), call.parse(Rollback)
    deed = call.deed(who, 200, documents.service)
    # Done before, there may be no release left to end, and what is older may be another one.
    answer_if_known(call.context.store, deed.once)
    if wanted.number is None and services.has_release(call.context, who, service):
        return deed.answer(services.call_off(call.context, who, service, once=deed.once))
    return deed.answer(deployments.roll_back(call.context, who, service, wanted.number, once=deed.once))


@deeds.post("/{service}/delete", status_code=202, response_model=ServiceDocument, openapi_extra=takes())
def delete_service(call: Whole, service: str) -> Response:
    """No more requests from now on; the replicas end what they have."""
    who = call.principal()
    call.parse_nothing()
    deed = call.deed(who, 202, documents.service)
    return deed.answer(services.delete(call.context, who, service, once=deed.once))


@router.get("/{service}/revisions", response_model=Page[RevisionDocument])
def list_revisions(call: Read, service: str, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    """Newest first."""
    who, cursors = call.principal(), call.site.cursors
    noun = f"revisions of {service}"
    place = cursors.read(noun, after)
    before = None if place is None else int(place[0])
    found = services.revisions(call.context, who, service, before=before, limit=limit + 1)
    return respond(page(found, limit, documents.revision, lambda each: cursors.write(noun, (each.number,))))


@router.get("/{service}/replicas", response_model=Page[ReplicaDocument])
def list_replicas(call: Read, service: str) -> Response:
    """Those that are there or on their way, in one page."""
    found = services.replicas(call.context, call.principal(), service)
    return respond(Page(items=[documents.replica(each) for each in found]))
