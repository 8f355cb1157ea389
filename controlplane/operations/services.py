"""Services: looking at them, scaling them, and the words that end a release or a service."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from controlplane.domain.errors import Conflict, Invalid, NotFound
from controlplane.domain.events import Event
from controlplane.domain.ids import ServiceId
from controlplane.domain.revisions import Revision, RevisionState
from controlplane.domain.services import KnownReplica, Service
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.lookups import project_for
from controlplane.store import Tx
from controlplane.wire.servicespec import MAX_REPLICAS


class Phase(StrEnum):
    """What users are told; computed, never stored."""

    DEPLOYING = "deploying"
    """No revision has been ready yet."""

    READY = "ready"
    ROLLING = "rolling"
    """One revision serves and the next is on its way."""

    ASLEEP = "asleep"
    """Without a replica, until somebody asks."""

    UNAVAILABLE = "unavailable"
    """It should have replicas and none of them answers."""

    FAILED = "failed"
    """No revision is left that works."""

    DELETING = "deleting"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    service: Service
    project_name: str
    queue_name: str
    phase: Phase
    ready: int
    replicas: int
    """Those that are there or on their way."""

    revisions: tuple[Revision, ...]
    """Those that are not over, by number, or else the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaView:
    known: KnownReplica
    number: int
    """Of its revision."""

    url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Release:
    newest: Revision
    """On its way, be it only pending."""

    good: Revision
    """That would serve without it."""

    standing: tuple[Revision, ...]
    """All that are not on their way out, by number."""


def get(context: Context, principal: Principal, service_id: str) -> ServiceView:
    with context.store.read() as tx:
        return view(tx, service_for(tx, principal, service_id))


def listed(
    context: Context,
    principal: Principal,
    *,
    project: str | None,
    name: str | None,
    after: str,
    limit: int,
) -> list[ServiceView]:
    """By id, from behind the id `after`. Raises `Invalid` for a name alone."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        owner = principal.project_id if project is None else project_for(tx, principal, project).id
        if name is not None:
            if owner is None:
                raise Invalid("needs project as well: a name is unique inside its project only", field="name")
            found = tx.services.by_name(owner, name)
            return [view(tx, found)] if found is not None and found.id > after else []
        return [view(tx, each) for each in tx.services.list(owner, after, limit)]


def revisions(
    context: Context, principal: Principal, service_id: str, *, before: int | None, limit: int
) -> list[Revision]:
    """Newest first."""
    with context.store.read() as tx:
        service = service_for(tx, principal, service_id)
        return tx.revisions.newest(service.id, before, limit)


def replicas(context: Context, principal: Principal, service_id: str) -> list[ReplicaView]:
    """Those that are there or on their way, by revision and place."""
    with context.store.read() as tx:
        service = service_for(tx, principal, service_id)
        known = [each for each in tx.replicas.known(service.id, tx.now) if not each.is_over]
        said = tx.replicas.announcements([each.attempt_id for each in known if each.attempt_id])
        numbers = {each.id: each.number for each in _all_revisions(tx, known)}
    views = []
    for each in known:
        announcement = None if each.attempt_id is None else said.get(each.attempt_id)
        url = None if announcement is None else announcement.url
        views.append(ReplicaView(known=each, number=numbers[each.replica.revision_id], url=url))
    return views


def scale(
    context: Context,
    principal: Principal,
    service_id: str,
    fewest: int,
    most: int,
    *,
    once: Once[ServiceView] | None = None,
) -> ServiceView:
    """Until the next revision, which brings bounds of its own."""
    if not 0 <= fewest <= most <= MAX_REPLICAS or most < 1:
        raise Invalid(
            f"min {fewest} and max {most}: 0 <= min <= max and 1 <= max <= {MAX_REPLICAS}",
            field="min",
            value=fewest,
            limit=most,
        )

    def unit(tx: Tx) -> ServiceView:
        service = service_for(tx, principal, service_id, Action.DEPLOY)
        _require_stays(service)
        changed = service.changed(min_replicas=fewest, max_replicas=most)
        tx.services.save(changed)
        _tell(tx, changed, "service.scaled", principal, min=fewest, max=most)
        return view(tx, changed)

    return write_once(context.store, unit, once)


def promote(
    context: Context, principal: Principal, service_id: str, *, once: Once[ServiceView] | None = None
) -> ServiceView:
    """Gives all traffic to the newest revision at once. Raises `Conflict` unless it is ready and another serves."""

    def unit(tx: Tx) -> ServiceView:
        service = service_for(tx, principal, service_id, Action.DEPLOY)
        _require_stays(service)
        release = _release(tx, service)
        if release is None:
            raise Conflict(f"service {service.name!r} has no release under way that could go on", field="id")
        newest = release.newest
        if newest.state is not RevisionState.READY:
            raise Conflict(
                f"revision {newest.number} of service {service.name!r} is {newest.state}: only one that is ready"
                " can take the traffic",
                field="id",
                value=str(newest.state),
                limit=str(RevisionState.READY),
            )
        _hand_over(tx, service, release, newest, reason=f"promoted by {principal.name}")
        _tell(tx, service, "service.promoted", principal, number=newest.number)
        return view(tx, service)

    return write_once(context.store, unit, once)


def call_off(
    context: Context, principal: Principal, service_id: str, *, once: Once[ServiceView] | None = None
) -> ServiceView:
    """Takes the release that is under way back, however far it is. Raises `Conflict` where none is."""

    def unit(tx: Tx) -> ServiceView:
        service = service_for(tx, principal, service_id, Action.DEPLOY)
        _require_stays(service)
        release = _release(tx, service)
        if release is None:
            raise Conflict(f"service {service.name!r} has no release under way to call off", field="id")
        _hand_over(tx, service, release, release.good, reason=f"rolled back by {principal.name}")
        _tell(tx, service, "service.rolled_back", principal, number=release.newest.number)
        return view(tx, service)

    return write_once(context.store, unit, once)


def has_release(context: Context, principal: Principal, service_id: str) -> bool:
    """Whether a release is under way that `call_off` would take back."""
    with context.store.read() as tx:
        return _release(tx, service_for(tx, principal, service_id, Action.DEPLOY)) is not None


def delete(
    context: Context, principal: Principal, service_id: str, *, once: Once[ServiceView] | None = None
) -> ServiceView:
    """It takes no more requests; its replicas end what they have. Saying it again changes nothing."""

    def unit(tx: Tx) -> ServiceView:
        service = service_for(tx, principal, service_id, Action.DEPLOY)
        if service.delete_requested_at is None:
            service = service.changed(delete_requested_at=tx.now)
            tx.services.save(service)
            _tell(tx, service, "service.delete_requested", principal)
        return view(tx, service)

    return write_once(context.store, unit, once)


def service_for(tx: Tx, principal: Principal, service_id: str, action: Action = Action.READ) -> Service:
    """Raises `NotFound` alike for a service that does not exist, was deleted, or is another project's."""
    service = tx.services.get(ServiceId(service_id))
    if service is None or service.deleted_at is not None or not principal.sees(service.project_id):
        raise NotFound(
            f"there is no service {service_id!r}, or not for this token", field="service", value=service_id
        )
    authorize(principal, action, service.project_id)
    return service


def view(tx: Tx, service: Service) -> ServiceView:
    project, queue = tx.projects.get(service.project_id), tx.queues.get(service.queue_id)
    live = tx.revisions.live(service.id) or tx.revisions.newest(service.id, None, 1)
    known = [each for each in tx.replicas.known(service.id, tx.now) if each.stays]
    ready = sum(each.is_ready for each in known)
    return ServiceView(
        service=service,
        project_name=project.name if project else service.project_id,
        queue_name=queue.name if queue else service.queue_id,
        phase=_phase(service, live, ready),
        ready=ready,
        replicas=len(known),
        revisions=tuple(live),
    )


def _phase(service: Service, live: Sequence[Revision], ready: int) -> Phase:
    states = [each.state for each in live]
    if service.is_leaving:
        return Phase.DELETING
    coming = any(state in (RevisionState.PENDING, RevisionState.DEPLOYING) for state in states)
    serving = states.count(RevisionState.READY)
    if not serving:
        return Phase.DEPLOYING if coming else Phase.FAILED
    if not ready:
        return Phase.UNAVAILABLE if service.desired else Phase.ASLEEP
    return Phase.ROLLING if coming or serving > 1 else Phase.READY


def _release(tx: Tx, service: Service) -> _Release | None:
    """None: nothing is on its way, or nothing would serve without it."""
    live = [each for each in tx.revisions.live(service.id) if each.state is not RevisionState.RETIRING]
    good = [each for each in live[:-1] if each.state is RevisionState.READY]
    if not good:
        return None
    return _Release(
        newest=live[-1],
        good=max(good, key=lambda each: (each.weight_ppm, -each.number)),
        standing=tuple(live),
    )


def _hand_over(tx: Tx, service: Service, release: _Release, winner: Revision, *, reason: str) -> None:
    """In one transaction, so that the shares add up at every moment."""
    for each in release.standing:
        if each.number == winner.number:
            continue
        if each.state is RevisionState.PENDING:
            gone = each.move(RevisionState.RETIRED, at=tx.now, reason=reason)
        else:
            gone = each.retire(at=tx.now, reason=reason)
        tx.revisions.save(service, gone)
    tx.revisions.save(service, winner.take_all(at=tx.now))


def _all_revisions(tx: Tx, known: Sequence[KnownReplica]) -> list[Revision]:
    ids = sorted({each.replica.revision_id for each in known})
    return [found for found in map(tx.revisions.get, ids) if found is not None]


def _require_stays(service: Service) -> None:
    if service.is_leaving:
        raise Conflict(f"service {service.name!r} is being deleted", field="id", value=service.id)


def _tell(tx: Tx, service: Service, kind: str, principal: Principal, **data: object) -> None:
    tx.events.add(
        Event(
            kind=kind,
            subject=service.id,
            at=tx.now,
            project_id=service.project_id,
            data={"service": service.name, "by": principal.name, **data},
        )
    )
    tx.work.poke("service", service.id)
