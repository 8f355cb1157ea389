"""Claims: asking for bought machines, and giving them back.

What is asked for is written down; the reconcile loop buys it, and ends it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from controlplane.domain.claims import CapacityType, Claim, ClaimState, Launch
from controlplane.domain.clusters import ClusterState
from controlplane.domain.errors import Conflict, Invalid, NotFound
from controlplane.domain.events import Event
from controlplane.domain.ids import ClaimId
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.idempotency import write_once
from controlplane.operations.lookups import cluster_for
from controlplane.operations.services import Services
from controlplane.store import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    cluster: str
    """Id or name of the one that the machines join."""

    machine_type: str
    capacity_type: CapacityType
    zones: tuple[str, ...]
    """The preferred one first."""

    machines_min: int
    machines_want: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimView:
    claim: Claim
    launches: tuple[Launch, ...]
    """Oldest first."""


def request(services: Services, principal: Principal, wanted: ClaimRequest) -> ClaimView:
    """Raises `Invalid`, `NotFound`, or `Conflict` on a cluster that is being left."""
    authorize(principal, Action.EDIT_CLUSTERS)
    _check(wanted)
    claim_id = ClaimId(services.ids.new("claim"))

    def unit(tx: Tx) -> ClaimView:
        cluster = cluster_for(tx, wanted.cluster)
        is_left = cluster.drain_requested_at is not None or cluster.detach_requested_at is not None
        if is_left or cluster.state in (ClusterState.DRAINING, ClusterState.DETACHED):
            raise Conflict(f"cluster {cluster.name} is being left", field="cluster", value=str(cluster.state))
        claim = Claim(
            id=claim_id,
            cluster_id=cluster.id,
            machine_type=wanted.machine_type,
            capacity_type=wanted.capacity_type,
            zones=wanted.zones,
            machines_min=wanted.machines_min,
            machines_want=wanted.machines_want,
            state=ClaimState.REQUESTED,
            since=tx.now,
            created_at=tx.now,
        )
        tx.claims.add(claim)
        tx.work.poke("claim", claim.id)
        tx.work.poke("orphan", cluster.id)
        tx.work.poke("leftover", cluster.id)
        return _view(tx, claim)

    return write_once(services.store, unit, None)


def release(services: Services, principal: Principal, claim_id: str) -> ClaimView:
    """Lets what runs on its nodes finish, then ends them. Saying it again changes nothing."""

    def change(tx: Tx, old: Claim) -> Claim:
        if old.release_requested_at is not None or not old.is_live:
            return old
        return old.changed(release_requested_at=tx.now)

    return _edit(services, principal, claim_id, change, kind="claim.release_requested")


def keep(services: Services, principal: Principal, claim_id: str) -> ClaimView:
    """Takes a release back. Raises `Conflict` when its machines are being ended already."""

    def change(_: Tx, old: Claim) -> Claim:
        if old.state in (ClaimState.TERMINATING, ClaimState.GONE):
            raise Conflict(f"claim {old.id} is {old.state}", field="state", value=str(old.state))
        return old if old.release_requested_at is None else old.changed(release_requested_at=None)

    return _edit(services, principal, claim_id, change, kind="claim.keep_requested")


def get(services: Services, principal: Principal, claim_id: str) -> ClaimView:
    authorize(principal, Action.READ)
    with services.store.read() as tx:
        return _view(tx, _claim_for(tx, claim_id))


def listed(services: Services, principal: Principal, *, after: str | None, limit: int) -> list[ClaimView]:
    """By id, gone ones too."""
    authorize(principal, Action.READ)
    with services.store.read() as tx:
        found = tx.claims.list(ClaimId(after) if after else None, limit)
        return [_view(tx, claim) for claim in found]


def _edit(
    services: Services,
    principal: Principal,
    claim_id: str,
    change: Callable[[Tx, Claim], Claim],
    *,
    kind: str,
) -> ClaimView:
    authorize(principal, Action.EDIT_CLUSTERS)

    def unit(tx: Tx) -> ClaimView:
        old = _claim_for(tx, claim_id)
        new = change(tx, old)
        if new != old:
            tx.claims.save(new)
            tx.events.add(Event(kind=kind, subject=old.id, at=tx.now, data={"by": principal.name}))
            tx.work.poke("claim", old.id)
        return _view(tx, new)

    return write_once(services.store, unit, None)


def _claim_for(tx: Tx, claim_id: str) -> Claim:
    claim = tx.claims.get(ClaimId(claim_id))
    if claim is None:
        raise NotFound(f"there is no claim {claim_id!r}", field="claim", value=claim_id)
    return claim


def _view(tx: Tx, claim: Claim) -> ClaimView:
    return ClaimView(claim=claim, launches=tuple(tx.launches.of_claim(claim.id)))


def _check(wanted: ClaimRequest) -> None:
    if wanted.capacity_type is CapacityType.OWNED:
        raise Invalid("what is owned is attached, not bought", field="capacity_type", value="owned")
    if not wanted.zones or len(set(wanted.zones)) < len(wanted.zones):
        raise Invalid("names at least one zone, and none twice", field="zones", value=list(wanted.zones))
    if wanted.machines_min < 1:
        raise Invalid("is at least 1", field="machines_min", value=wanted.machines_min, limit=1)
    if wanted.machines_want < wanted.machines_min:
        raise Invalid(
            "is at least machines_min",
            field="machines_want",
            value=wanted.machines_want,
            limit=wanted.machines_min,
        )
