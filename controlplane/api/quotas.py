"""Routes of quotas and flavors."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from controlplane.api import quota_documents as documents
from controlplane.api.calls import DeedRoute, Read, Whole, respond
from controlplane.api.openapi import PROBLEMS, takes
from controlplane.api.pages import DEFAULT_PAGE, After, Limit, page, text_of
from controlplane.domain.quota_lint import Surprise
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
    return deed.answer(quotas.put(call.context, who, name, queue, parent=wanted.parent, once=deed.once))


@deeds.post("/quotas/remove", response_model=QuotaDocument, openapi_extra=takes(QuotaRemove))
def remove_quota(call: Whole) -> Response:
    who, wanted = call.principal(), call.parse(QuotaRemove)
    deed = call.deed(who, 200, documents.quota)
    return deed.answer(quotas.remove(call.context, who, documents.name_of(wanted), once=deed.once))


@router.get("/quotas", response_model=Page[QuotaDocument])
def list_quotas(call: Read, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    """Every node of the tree by id, with what is used now."""
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("quotas", after)) or ""
    found = [view for view in quotas.listed(call.context, who) if view.node.queue.id > last]
    return respond(
        page(
            found[: limit + 1],
            limit,
            documents.quota,
            lambda view: cursors.write("quotas", (view.node.queue.id,)),
        )
    )


@router.get("/quotas/lint", response_model=Page[SurpriseDocument])
def lint_quotas(call: Read, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    """What is allowed, and yet is hardly meant. By node, code and sentence."""
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("surprises", after)) or ""
    keyed = sorted(quotas.lint(call.context, who), key=_surprise_key)
    found = [pair for pair in keyed if _surprise_key(pair) > last]
    return respond(
        page(
            found[: limit + 1],
            limit,
            documents.surprise,
            lambda pair: cursors.write("surprises", (_surprise_key(pair),)),
        )
    )


@router.get("/quotas/explain", response_model=QuotaExplanation)
def explain_quota(call: Read, queue: Queue, project: Project = "default") -> Response:
    told = quotas.explain(call.context, call.principal(), project=project, queue=queue)
    return respond(documents.explanation(told))


@deeds.post("/flavors", response_model=FlavorDocument, openapi_extra=takes(FlavorSet))
def set_flavor(call: Whole) -> Response:
    who, wanted = call.principal(), call.parse(FlavorSet)
    deed = call.deed(who, 200, documents.flavor)
    return deed.answer(flavors.put(call.context, who, documents.flavor_of(wanted), once=deed.once))


@deeds.post("/flavors/remove", response_model=FlavorDocument, openapi_extra=takes(FlavorRemove))
def remove_flavor(call: Whole) -> Response:
    who, wanted = call.principal(), call.parse(FlavorRemove)
    deed = call.deed(who, 200, documents.flavor)
    return deed.answer(flavors.remove(call.context, who, wanted.name, once=deed.once))


@router.get("/flavors", response_model=Page[FlavorDocument])
def list_flavors(call: Read, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    """By name."""
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("flavors", after)) or ""
    found = [view for view in flavors.listed(call.context, who) if view.flavor.name > last]
    return respond(
        page(
            found[: limit + 1],
            limit,
            documents.flavor,
            lambda view: cursors.write("flavors", (view.flavor.name,)),
        )
    )


def _surprise_key(named: tuple[str, Surprise]) -> str:
    """One node may have several of one code, one for each cell."""
    each = named[1]
    return f"{each.queue_id} {each.code} {each.sentence}"
