"""Routes of bought capacity: claims, machines that nobody claims, and what is for sale."""

from collections.abc import Callable
from typing import Annotated, cast

from fastapi import APIRouter, Query, Response

from controlplane.api import capacity_documents as documents
from controlplane.api.calls import Call, DeedRoute, Read, Whole, respond
from controlplane.api.openapi import PROBLEMS, takes
from controlplane.api.pages import DEFAULT_PAGE, After, Limit, page, text_of
from controlplane.domain.claims import CapacityType
from controlplane.operations import claims, leftovers, offers
from controlplane.operations.claims import ClaimRequest, ClaimStory, OrphanView
from controlplane.operations.leftovers import StrayView
from controlplane.operations.offers import OfferView, Place
from controlplane.wire.base import Page
from controlplane.wire.capacity import (
    ClaimCreate,
    ClaimDetails,
    ClaimDocument,
    LeftoverDocument,
    OfferDocument,
    OrphanDocument,
)

router = APIRouter(prefix="/v1", tags=["capacity"], responses=dict(PROBLEMS))
deeds = APIRouter(prefix="/v1", tags=["capacity"], responses=dict(PROBLEMS), route_class=DeedRoute)

OfCluster = Annotated[str | None, Query(max_length=63, description="Name or id; default: of all.")]
IsLive = Annotated[
    bool | None, Query(description="`true`: all but the gone; `false`: those alone; default: all.")
]


@deeds.post("/claims", status_code=201, response_model=ClaimDetails, openapi_extra=takes(ClaimCreate))
def request_claim(call: Whole) -> Response:
    """Written down; the machines are bought by and by."""
    who, wanted = call.principal(), call.parse(ClaimCreate)
    deed = call.deed(who, 201, documents.claim_details)
    return deed.answer(claims.request(call.context, who, _request(wanted), once=deed.once))


@router.get("/claims", response_model=Page[ClaimDocument])
def list_claims(
    call: Read,
    cluster: OfCluster = None,
    live: IsLive = None,
    after: After = None,
    limit: Limit = DEFAULT_PAGE,
) -> Response:
    """Oldest first."""
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("claims", after))
    views = claims.listed(call.context, who, cluster=cluster, is_live=live, after=last, limit=limit + 1)
    return respond(
        page(views, limit, documents.claim, lambda view: cursors.write("claims", (view.claim.id,)))
    )


@router.get("/claims/{claim}", response_model=ClaimDetails)
def get_claim(call: Read, claim: str) -> Response:
    return respond(documents.claim_details(claims.get(call.context, call.principal(), claim)))


@deeds.post("/claims/{claim}/release", response_model=ClaimDetails, openapi_extra=takes())
def release_claim(call: Whole, claim: str) -> Response:
    """Lets what runs there finish, then gives the machines back."""
    return _edited(call, claim, claims.release)


@deeds.post("/claims/{claim}/keep", response_model=ClaimDetails, openapi_extra=takes())
def keep_claim(call: Whole, claim: str) -> Response:
    """Takes a release back, while its machines are not being ended yet."""
    return _edited(call, claim, claims.keep)


@router.get("/orphans", response_model=Page[OrphanDocument])
def list_orphans(call: Read, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    """Machines with our tag that no live claim wants, by cluster and name."""
    who, cursors = call.principal(), call.site.cursors
    place = cursors.read("orphans", after)
    last = None if place is None else (str(place[0]), str(place[1]))
    views = claims.orphans(call.context, who, after=last, limit=limit + 1)

    def cursor(view: OrphanView) -> str:
        return cursors.write("orphans", (view.orphan.cluster_id, view.orphan.name))

    return respond(page(views, limit, documents.orphan, cursor))


@router.get("/leftovers", response_model=Page[LeftoverDocument])
def list_leftovers(call: Read, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    """What purchases left behind beside machines, by cluster, kind, zone and name."""
    who, cursors = call.principal(), call.site.cursors
    place = cursors.read("leftovers", after)
    last = None if place is None else cast("Place", tuple(map(str, place)))
    views = leftovers.listed(call.context, who, after=last, limit=limit + 1)

    def cursor(view: StrayView) -> str:
        found = view.stray
        return cursors.write("leftovers", (found.cluster_id, found.kind, found.zone, found.name))

    return respond(page(views, limit, documents.leftover, cursor))


@router.get("/offers", response_model=Page[OfferDocument])
def list_offers(
    call: Read, cluster: OfCluster = None, after: After = None, limit: Limit = DEFAULT_PAGE
) -> Response:
    """By cluster, machine type, zone and capacity type."""
    who, cursors = call.principal(), call.site.cursors
    place = cursors.read("offers", after)
    last = None if place is None else cast("Place", tuple(map(str, place)))
    views = offers.listed(call.context, who, cluster=cluster, after=last, limit=limit + 1)

    def cursor(view: OfferView) -> str:
        found = view.offer
        return cursors.write("offers", (found.cluster_id, *found.key))

    return respond(page(views, limit, documents.offer, cursor))


def _request(wanted: ClaimCreate) -> ClaimRequest:
    return ClaimRequest(
        cluster=wanted.cluster,
        machine_type=wanted.machine_type,
        capacity_type=CapacityType(wanted.capacity_type),
        zones=tuple(wanted.zones),
        machines_min=wanted.machines_min,
        machines_want=wanted.machines_want or wanted.machines_min,
        project=wanted.project,
        reservation=wanted.reservation,
        idle_seconds=wanted.idle_seconds,
        tries_again=wanted.tries_again,
    )


def _edited(call: Call, claim: str, edit: Callable[..., ClaimStory]) -> Response:
    who = call.principal()
    call.parse_nothing()
    deed = call.deed(who, 200, documents.claim_details)
    return deed.answer(edit(call.context, who, claim, once=deed.once))
