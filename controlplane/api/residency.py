"""Routes of residency: where work and data may be, and where clusters and stores are."""

from fastapi import APIRouter, Response

from controlplane.api.calls import DeedRoute, Read, Whole, respond
from controlplane.api.openapi import PROBLEMS, takes
from controlplane.api.pages import DEFAULT_PAGE, After, Limit, page, text_of
from controlplane.domain.residency import Residency, Subject
from controlplane.operations import residency
from controlplane.operations.residency import ResidencyView
from controlplane.wire.base import Page
from controlplane.wire.residency import ResidencyDocument, ResidencySet

router = APIRouter(prefix="/v1", tags=["residency"], responses=dict(PROBLEMS))
deeds = APIRouter(prefix="/v1", tags=["residency"], responses=dict(PROBLEMS), route_class=DeedRoute)


@deeds.post("/residency", response_model=ResidencyDocument, openapi_extra=takes(ResidencySet))
def set_residency(call: Whole) -> Response:
    """Replaces what was said of it before. What runs elsewhere already runs on; nothing new goes there."""
    who, wanted = call.principal(), call.parse(ResidencySet)
    deed = call.deed(who, 200, _document)
    given = Residency(
        providers=tuple(wanted.providers), regions=tuple(wanted.regions), clusters=tuple(wanted.clusters)
    )
    subject = Subject(wanted.subject)
    return deed.answer(residency.put(call.context, who, subject, wanted.name, given, once=deed.once))


@router.get("/residency", response_model=Page[ResidencyDocument])
def list_residency(call: Read, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    """By subject and name; what is not listed may be anywhere."""
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("residency", after)) or ""
    found = [view for view in residency.listed(call.context, who) if _key(view) > last]
    return respond(
        page(
            found[: limit + 1],
            limit,
            _document,
            lambda view: cursors.write("residency", (_key(view),)),
        )
    )


def _key(view: ResidencyView) -> str:
    return f"{view.subject}\n{view.name}"


def _document(view: ResidencyView) -> ResidencyDocument:
    found = view.residency
    return ResidencyDocument(
        subject=view.subject.value,
        name=view.name,
        providers=list(found.providers),
        regions=list(found.regions),
        clusters=list(found.clusters),
    )
