"""Routes of quotas and flavors."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from controlplane.api import quota_documents as documents
from controlplane.api.calls import DeedRoute, Read, Whole, respond
from controlplane.api.openapi import PROBLEMS, takes
from controlplane.operations import flavors, quotas
from controlplane.wire.base import Page
from controlplane.wire.quotas import (
    FlavorDocument,
    FlavorRemove,
    FlavorSet,
    QuotaDocument,
    QuotaExplanation,
    QuotaRemove,
    QuotaSet,
    SurpriseDocument,
)

router = APIRouter(prefix="/v1", tags=["quotas"], responses=dict(PROBLEMS))
deeds = APIRouter(prefix="/v1", tags=["quotas"], responses=dict(PROBLEMS), route_class=DeedRoute)

Project = Annotated[str, Query(max_length=63)]
Queue = Annotated[str, Query(max_length=63)]


@deeds.post("/quotas", response_model=QuotaDocument, openapi_extra=takes(QuotaSet))
def set_quota(call: Whole) -> Response:
    """All of a queue's or a cohort's place in the tree. The whole tree is checked before anything is kept."""
    who, wanted = call.principal(), call.parse(QuotaSet)
    deed = call.deed(who, 200, documents.quota)
    name, queue = documents.name_of(wanted), documents.queue_of(wanted)
    return deed.answer(quotas.put(call.services, who, name, queue, parent=wanted.parent, once=deed.once))


@deeds.post("/quotas/remove", response_model=QuotaDocument, openapi_extra=takes(QuotaRemove))
def remove_quota(call: Whole) -> Response:
    who, wanted = call.principal(), call.parse(QuotaRemove)
    deed = call.deed(who, 200, documents.quota)
    return deed.answer(quotas.remove(call.services, who, documents.name_of(wanted), once=deed.once))


@router.get("/quotas", response_model=Page[QuotaDocument])
def list_quotas(call: Read) -> Response:
    """Every node of the tree, with what is used now, in one page."""
    found = quotas.listed(call.services, call.principal())
    return respond(Page[QuotaDocument](items=[documents.quota(view) for view in found]))


@router.get("/quotas/lint", response_model=Page[SurpriseDocument])
def lint_quotas(call: Read) -> Response:
    """What is allowed, and yet is hardly meant."""
    found = quotas.lint(call.services, call.principal())
    return respond(Page[SurpriseDocument](items=[documents.surprise(each) for each in found]))


@router.get("/quotas/explain", response_model=QuotaExplanation)
def explain_quota(call: Read, queue: Queue, project: Project = "default") -> Response:
    told = quotas.explain(call.services, call.principal(), project=project, queue=queue)
    return respond(documents.explanation(told))


@deeds.post("/flavors", response_model=FlavorDocument, openapi_extra=takes(FlavorSet))
def set_flavor(call: Whole) -> Response:
    who, wanted = call.principal(), call.parse(FlavorSet)
    deed = call.deed(who, 200, documents.flavor)
    return deed.answer(flavors.put(call.services, who, documents.flavor_of(wanted), once=deed.once))


@deeds.post("/flavors/remove", response_model=FlavorDocument, openapi_extra=takes(FlavorRemove))
def remove_flavor(call: Whole) -> Response:
    who, wanted = call.principal(), call.parse(FlavorRemove)
    deed = call.deed(who, 200, documents.flavor)
    return deed.answer(flavors.remove(call.services, who, wanted.name, once=deed.once))


@router.get("/flavors", response_model=Page[FlavorDocument])
def list_flavors(call: Read) -> Response:
    found = flavors.listed(call.services, call.principal())
    return respond(Page[FlavorDocument](items=[documents.flavor(view) for view in found]))
