"""Documents of bought capacity: claims, what became of them, and machines that nobody claims; and what is for sale."""

from decimal import Decimal

from controlplane.api.documents import resources
from controlplane.domain.claims import Launch, Share
from controlplane.domain.sites import CheckIn, Site
from controlplane.operations.claims import ClaimStory, ClaimView, OrphanView
from controlplane.operations.leftovers import StrayView
from controlplane.operations.offers import OfferView
from controlplane.wire.capacity import (
    BoughtMachineDocument,
    ClaimDetails,
    ClaimDocument,
    LaunchDocument,
    LeftoverDocument,
    OfferDocument,
    OrphanDocument,
    ShareDocument,
    SiteDocument,
)


def claim(view: ClaimView | ClaimStory) -> ClaimDocument:
    found = view.claim
    return ClaimDocument(
        id=found.id,
        cluster_id=found.cluster_id,
        cluster=view.cluster_name,
        machine_type=found.machine_type,
        capacity_type=found.capacity_type.value,
        zones=list(found.zones),
        machines_min=found.machines_min,
        machines_want=found.machines_want,
        project=view.project_name,
        reservation=found.reservation,
        idle_seconds=found.idle_seconds,
        tries_again=found.tries_again,
        state=found.state.value,
        since=found.since,
        created_at=found.created_at,
        generation=found.generation,
        release_requested_at=found.release_requested_at,
        idle_since=found.idle_since,
        problem=found.problem,
        version=found.version,
    )


def claim_details(story: ClaimStory) -> ClaimDetails:
    return ClaimDetails(
        **dict(claim(story)),
        nodes=story.nodes,
        launches=[_launch(each) for each in story.launches],
        shares=[_share(each) for each in story.claim.shares],
        site=None if story.site is None else _site(story.site),
        machines=[_machine(each) for each in story.check_ins],
    )


def leftover(view: StrayView) -> LeftoverDocument:
    found = view.stray
    return LeftoverDocument(
        cluster_id=found.cluster_id,
        cluster=view.cluster_name,
        kind=found.kind,
        name=found.name,
        zone=found.zone,
        claim_id=found.claim_id,
        project=view.project_name,
        seen_at=found.seen_at,
        tried_at=found.tried_at,
        problem=found.problem,
        currency=found.currency,
        cost_per_hour=_units(found.hourly_millionths),
        cost=_units(view.cost_millionths),
    )


def _units(millionths: int | None) -> Decimal | None:
    return None if millionths is None else Decimal(millionths).scaleb(-6)


def orphan(view: OrphanView) -> OrphanDocument:
    found = view.orphan
    return OrphanDocument(
        cluster_id=found.cluster_id,
        cluster=view.cluster_name,
        name=found.name,
        zone=found.zone,
        claim_id=found.claim_id,
        launch_id=found.launch_id,
        seen_at=found.seen_at,
    )


def offer(view: OfferView) -> OfferDocument:
    found = view.offer
    return OfferDocument(
        cluster_id=found.cluster_id,
        cluster=view.cluster_name,
        machine_type=found.machine_type,
        zone=found.zone,
        capacity_type=found.capacity_type.value,
        resources=resources(found.amounts),
        accelerator=found.accelerator,
        price_per_hour=_units(found.price_millionths),
        currency=found.currency,
        price_as_of=found.price_as_of,
        is_price_verified=found.is_price_verified,
        boot_seconds=found.boot_seconds,
        interruptions_per_hour=found.interruptions_per_hour,
        refusals=found.refusals,
        cool_until=found.cool_until,
    )


def _launch(found: Launch) -> LaunchDocument:
    return LaunchDocument(
        id=found.id,
        generation=found.generation,
        ordinal=found.ordinal,
        zone=found.zone,
        machines=found.machines,
        created_at=found.created_at,
        resolved_at=found.resolved_at,
        outcome=None if found.outcome is None else found.outcome.value,
        problem=found.problem,
    )


def _share(found: Share) -> ShareDocument:
    return ShareDocument(node=found.node_name, resources=resources(found.amounts))


def _site(found: Site) -> SiteDocument:
    return SiteDocument(
        url=found.url,
        head=found.head,
        members=dict(found.members),
        seen_at=found.seen_at,
        problem=found.problem,
    )


def _machine(said: CheckIn) -> BoughtMachineDocument:
    return BoughtMachineDocument(
        name=said.machine,
        launch_id=said.launch_id,
        host=said.host,
        phase=said.phase.value,
        at=said.at,
        notice=said.notice,
        problem=said.problem,
    )
