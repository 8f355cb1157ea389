"""Claims: asking for bought machines, and giving them back.

What is asked for is written down; the reconcile loop buys it, and ends it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from controlplane.domain.claims import SHARED, CapacityType, Claim, ClaimState, Launch, Orphan
from controlplane.domain.clusters import Cluster, ClusterState
from controlplane.domain.errors import Conflict, Invalid, NotFound
from controlplane.domain.events import Event
from controlplane.domain.ids import ClaimId, ClusterId, ProjectId
from controlplane.domain.sites import CheckIn, Site
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.cordons import nodes_of
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.lookups import cluster_for, project_for, project_names
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
    project: str | None = None
    """Whose jobs alone may run on them; None: all projects share them."""

    reservation: str | None = None
    idle_seconds: float | None = None
    tries_again: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimView:
    """A claim in a list."""

    claim: Claim
    cluster_name: str
    project_name: str | None
    """None: shared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimStory:
    """A claim with all that became of it."""

    claim: Claim
    cluster_name: str
    project_name: str | None
    nodes: int
    """Present ones that were bought for it."""

    launches: tuple[Launch, ...]
    """Oldest first."""

    site: Site | None
    check_ins: tuple[CheckIn, ...]
    """By machine; none where the adapter built the Ray cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanView:
    orphan: Orphan
    cluster_name: str


ClaimOnce = Once[ClaimStory] | None


def request(
    context: Context, principal: Principal, wanted: ClaimRequest, *, once: ClaimOnce = None
) -> ClaimStory:
    """Raises `Invalid`, `NotFound`, or `Conflict` on a cluster that is being left."""
    authorize(principal, Action.EDIT_CLUSTERS)
    _check(wanted)
    claim_id = ClaimId(context.ids.new("claim"))

    def unit(tx: Tx) -> ClaimStory:
        cluster = _buying_cluster(tx, wanted.cluster)
        owner = project_for(tx, principal, wanted.project).id if wanted.project is not None else SHARED
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
            trust_domain=owner,
            reservation=wanted.reservation,
            idle_seconds=wanted.idle_seconds,
            tries_again=wanted.tries_again,
        )
        tx.claims.add(claim)
        tx.work.poke("claim", claim.id)
        tx.work.poke("orphan", cluster.id)
        tx.work.poke("leftover", cluster.id)
        return _story(tx, claim)

    return write_once(context.store, unit, once)


def release(context: Context, principal: Principal, claim_id: str, *, once: ClaimOnce = None) -> ClaimStory:
    """Lets what runs on its nodes finish, then ends them. Saying it again changes nothing."""

    def change(tx: Tx, old: Claim) -> Claim:
        if old.release_requested_at is not None or not old.is_live:
            return old
        return old.changed(release_requested_at=tx.now)

    return _edit(context, principal, claim_id, change, kind="claim.release_requested", once=once)


def keep(context: Context, principal: Principal, claim_id: str, *, once: ClaimOnce = None) -> ClaimStory:
    """Takes a release back. Raises `Conflict` when its machines are being ended already."""

    def change(_: Tx, old: Claim) -> Claim:
        if old.state in (ClaimState.TERMINATING, ClaimState.GONE):
            raise Conflict(f"claim {old.id} is {old.state}", field="state", value=str(old.state))
        return old if old.release_requested_at is None else old.changed(release_requested_at=None)

    return _edit(context, principal, claim_id, change, kind="claim.keep_requested", once=once)


def get(context: Context, principal: Principal, claim_id: str) -> ClaimStory:
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        return _story(tx, _claim_for(tx, principal, claim_id))


def listed(
    context: Context,
    principal: Principal,
    *,
    cluster: str | None = None,
    is_live: bool | None = None,
    after: str | None,
    limit: int,
) -> list[ClaimView]:
    """By id, those that the token sees. `is_live` None: gone ones too."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        found = tx.claims.list(
            ClaimId(after) if after else None,
            limit,
            cluster_id=cluster_for(tx, cluster).id if cluster is not None else None,
            is_live=is_live,
            trust_domain=principal.project_id,
        )
        clusters = _cluster_names(tx, [claim.cluster_id for claim in found])
        projects = _domain_names(tx, found)
        return [
            ClaimView(
                claim=claim,
                cluster_name=clusters[claim.cluster_id],
                project_name=projects.get(claim.trust_domain),
            )
            for claim in found
        ]


def orphans(
    context: Context, principal: Principal, *, after: tuple[str, str] | None, limit: int
) -> list[OrphanView]:
    """Machines that carry our tag and belong to no live claim, by cluster and name."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        found = tx.orphans.list(after, limit)
        names = _cluster_names(tx, [orphan.cluster_id for orphan in found])
        return [OrphanView(orphan=each, cluster_name=names[each.cluster_id]) for each in found]


def _edit(
    context: Context,
    principal: Principal,
    claim_id: str,
    change: Callable[[Tx, Claim], Claim],
    *,
    kind: str,
    once: ClaimOnce,
) -> ClaimStory:
    authorize(principal, Action.EDIT_CLUSTERS)

    def unit(tx: Tx) -> ClaimStory:
        old = _claim_for(tx, principal, claim_id)
        new = change(tx, old)
        if new != old:
            tx.claims.save(new)
            tx.events.add(Event(kind=kind, subject=old.id, at=tx.now, data={"by": principal.name}))
            tx.work.poke("claim", old.id)
        return _story(tx, new)

    return write_once(context.store, unit, once)


def _claim_for(tx: Tx, principal: Principal, claim_id: str) -> Claim:
    """Raises `NotFound` alike for a claim that does not exist and for another project's."""
    claim = tx.claims.get(ClaimId(claim_id))
    if claim is None or not (claim.trust_domain == SHARED or principal.sees(ProjectId(claim.trust_domain))):
        raise NotFound(
            f"there is no claim {claim_id!r}, or not for this token", field="claim", value=claim_id
        )
    return claim


def _buying_cluster(tx: Tx, id_or_name: str) -> Cluster:
    cluster = cluster_for(tx, id_or_name)
    is_left = cluster.drain_requested_at is not None or cluster.detach_requested_at is not None
    if is_left or cluster.state in (ClusterState.DRAINING, ClusterState.DETACHED):
        raise Conflict(f"cluster {cluster.name} is being left", field="cluster", value=str(cluster.state))
    return cluster


def _story(tx: Tx, claim: Claim) -> ClaimStory:
    return ClaimStory(
        claim=claim,
        cluster_name=_cluster_names(tx, [claim.cluster_id])[claim.cluster_id],
        project_name=_domain_names(tx, [claim]).get(claim.trust_domain),
        nodes=len(nodes_of(tx, claim)),
        launches=tuple(tx.launches.of_claim(claim.id)),
        site=tx.sites.get(claim.id),
        check_ins=tuple(tx.sites.check_ins(claim.id)),
    )


def _cluster_names(tx: Tx, ids: Iterable[ClusterId]) -> dict[ClusterId, str]:
    """Detached ones too; their id where nothing is known of them."""
    found = {each: tx.clusters.get(each) for each in sorted(set(ids))}
    return {each: cluster.name if cluster is not None else each for each, cluster in found.items()}


def _domain_names(tx: Tx, claims: Iterable[Claim]) -> Mapping[str, str]:
    """Of those that are projects."""
    owners = frozenset(ProjectId(each.trust_domain) for each in claims if each.trust_domain != SHARED)
    return {str(owner): name for owner, name in project_names(tx, owners).items()} if owners else {}


def _check(wanted: ClaimRequest) -> None:
    if wanted.capacity_type is CapacityType.OWNED:
        raise Invalid("what is owned is attached, not bought", field="capacity_type", value="owned")
    if wanted.reservation is not None and wanted.capacity_type is not CapacityType.RESERVED:
        raise Invalid(
            "goes with the capacity type `reserved` alone", field="reservation", value=wanted.reservation
        )
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
