"""Claims' table, the launches made for them, and the machines that nobody claims."""

from collections.abc import Sequence
from functools import cache
from typing import Final

from sqlalchemy import bindparam, delete, exists, or_, select, tuple_, update

from controlplane.domain.claims import (
    SHARED,
    CapacityType,
    Claim,
    ClaimState,
    Launch,
    LaunchOutcome,
    Orphan,
    Share,
)
from controlplane.domain.events import Event
from controlplane.domain.ids import AskId, ClaimId, ClusterId, LaunchId, QueueId
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.moves import Moves, stale
from controlplane.store.rows import (
    Row,
    amounts_of,
    micros,
    micros_or_none,
    moment,
    moment_or_none,
    packed,
    remembered,
    unpacked,
)
from controlplane.store.schema import WORK
from controlplane.store.schema_claims import CLAIMS, LAUNCHES, ORPHANS
from controlplane.store.statements import Statement, bound, fixed, inserted, is_in, listed

_C: Final = CLAIMS.c
_L: Final = LAUNCHES.c
_O: Final = ORPHANS.c
_CLAIM: Final = select(
    _C.id,
    _C.cluster_id,
    _C.machine_type,
    _C.capacity_type,
    _C.zones,
    _C.machines_min,
    _C.machines_want,
    _C.state,
    _C.since,
    _C.created_at,
    _C.generation,
    _C.version,
    _C.release_requested_at,
    _C.last_launch_at,
    _C.missing_since,
    _C.problem,
    _C.shares,
    _C.trust_domain,
    _C.reservation,
    _C.tries_again,
    _C.idle_seconds,
    _C.idle_since,
    _C.renewed_until,
    _C.wanted_by,
    _C.price_millionths,
    _C.currency,
    _C.queue_id,
    _C.expected_millionths,
    _C.came_from,
)
_LAUNCH: Final = select(
    _L.id,
    _L.claim_id,
    _L.generation,
    _L.ordinal,
    _L.zone,
    _L.machines,
    _L.created_at,
    _L.resolved_at,
    _L.outcome,
    _L.problem,
)
_IS_LIVE: Final = _C.state != fixed(ClaimState.GONE)
_GIVEN_ONCE: Final = frozenset(
    {
        "cluster_id",
        "machine_type",
        "capacity_type",
        "zones",
        "machines_min",
        "machines_want",
        "created_at",
        "shares",
        "trust_domain",
        "reservation",
        "tries_again",
        "idle_seconds",
        "wanted_by",
        "price_millionths",
        "currency",
        "queue_id",
        "expected_millionths",
    }
)

_MOVES: Final = Moves("claim", CLAIMS, fixed_columns=_GIVEN_ONCE)
_ADD: Final = inserted(CLAIMS)
_GET: Final = Statement(_CLAIM.where(_C.id == bindparam("id")))
_MANY: Final = Statement(_CLAIM.where(is_in(_C.id, "ids")).order_by(_C.id))
_UNWATCHED: Final = Statement(
    select(_C.id)
    .where(
        _IS_LIVE,
        _C.id > bindparam("after"),
        ~exists().where(WORK.c.noun == fixed("claim"), WORK.c.id == _C.id),
    )
    .order_by(_C.id)
    .limit(bound("limit"))
)
_ADD_LAUNCH: Final = inserted(LAUNCHES)
_OF_CLAIM: Final = Statement(
    _LAUNCH.where(_L.claim_id == bindparam("claim_id")).order_by(_L.generation, _L.ordinal)
)
_OF_CLAIMS: Final = Statement(
    _LAUNCH.where(is_in(_L.claim_id, "claim_ids")).order_by(_L.generation, _L.ordinal)
)
_RESOLVE: Final = Statement(
    update(LAUNCHES)
    .where(_L.id == bindparam("id"), _L.resolved_at.is_(None))
    .values(
        {column: bindparam(column.name) for column in (_L.resolved_at, _L.outcome, _L.problem)},
    ),
    table=LAUNCHES,
)
_ADD_ORPHAN: Final = inserted(ORPHANS)
_ORPHAN: Final = select(_O.cluster_id, _O.name, _O.zone, _O.claim_id, _O.launch_id, _O.seen_at)
_ORPHANS: Final = Statement(_ORPHAN.where(_O.cluster_id == bindparam("cluster_id")).order_by(_O.name))
_ORPHAN_PAGE: Final = Statement(
    _ORPHAN.where(
        tuple_(_O.cluster_id, _O.name) > tuple_(bindparam("after_cluster"), bindparam("after_name"))
    )
    .order_by(_O.cluster_id, _O.name)
    .limit(bound("limit"))
)
_FORGET: Final = Statement(
    delete(ORPHANS).where(_O.cluster_id == bindparam("cluster_id"), _O.name == bindparam("name")),
    table=ORPHANS,
)


class Claims:
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def add(self, claim: Claim) -> None:
        self._link.change(_ADD, _params(claim) | {"came_from": claim.came_from})
        self._events.add(_event(claim, came_from=claim.came_from))

    def get(self, claim_id: ClaimId) -> Claim | None:
        row = self._link.row(_GET, {"id": claim_id})
        return None if row is None else _claim(row)

    def many(self, claim_ids: Sequence[ClaimId]) -> list[Claim]:
        """By id; unknown ones left out."""
        return [_claim(row) for row in self._link.rows(_MANY, {"ids": listed(claim_ids)})]

    def save(self, claim: Claim) -> None:
        """Raises `StaleWrite` unless the row is one version behind."""
        came_from = _MOVES.save(self._link, _params(claim))
        if came_from is not None:
            self._events.add(_event(claim, came_from=came_from))

    def live(self, cluster_id: ClusterId | None = None) -> list[Claim]:
        """All but the gone, by id."""
        rows = self._link.rows(_live(of_a_cluster=cluster_id is not None), {"cluster_id": cluster_id})
        return [_claim(row) for row in rows]

    def unwatched(self, after: str, limit: int) -> list[ClaimId]:
        """Live ones that no loop will ever look at, by id; `after` is the id last seen."""
        return [ClaimId(row[0]) for row in self._link.rows(_UNWATCHED, {"after": after, "limit": limit})]

    def list(
        self,
        after: ClaimId | None,
        limit: int,
        *,
        cluster_id: ClusterId | None = None,
        is_live: bool | None = None,
        trust_domain: str | None = None,
    ) -> list[Claim]:
        """A page by id; `after` is the id last seen. None: gone ones too; of all clusters; of all trust domains.

        With a trust domain, those of its own and those that are shared.
        """
        params = {
            "after": after or "",
            "limit": limit,
            "cluster_id": cluster_id,
            "trust_domain": trust_domain,
        }
        page = _page(
            is_live=is_live, of_a_cluster=cluster_id is not None, of_a_domain=trust_domain is not None
        )
        return [_claim(row) for row in self._link.rows(page, params)]


class Launches:
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def add(self, launch: Launch) -> None:
        """A second open launch of one claim is a `Conflict`."""
        self._link.change(_ADD_LAUNCH, _launch_params(launch))
        self._events.add(_launch_event("created", launch))

    def resolve(self, launch: Launch) -> None:
        """Raises `StaleWrite` when it was resolved before: nobody may change that answer."""
        if self._link.change(_RESOLVE, _launch_params(launch)) == 0:
            raise stale("launch", launch.id)
        self._events.add(_launch_event("resolved", launch))

    def of_claim(self, claim_id: ClaimId) -> list[Launch]:
        """Oldest first."""
        return [_launch(row) for row in self._link.rows(_OF_CLAIM, {"claim_id": claim_id})]

    def of_claims(self, claim_ids: Sequence[ClaimId]) -> dict[ClaimId, list[Launch]]:
        """Of each its launches, oldest first; none for a claim without."""
        launches: dict[ClaimId, list[Launch]] = {}
        for row in self._link.rows(_OF_CLAIMS, {"claim_ids": listed(claim_ids)}):
            launch = _launch(row)
            launches.setdefault(launch.claim_id, []).append(launch)
        return launches


class Orphans:
    """What is listed with our tag and belongs to nobody, until it is gone."""

    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def add(self, orphan: Orphan) -> None:
        self._link.change(_ADD_ORPHAN, _orphan_params(orphan))
        data = {
            "cluster_id": orphan.cluster_id,
            "claim_id": orphan.claim_id,
            "launch_id": orphan.launch_id,
            "zone": orphan.zone,
        }
        self._events.add(Event(kind="machine.orphaned", subject=orphan.name, at=orphan.seen_at, data=data))

    def of_cluster(self, cluster_id: ClusterId) -> list[Orphan]:
        """By name."""
        return [_orphan(row) for row in self._link.rows(_ORPHANS, {"cluster_id": cluster_id})]

    def list(self, after: tuple[str, str] | None, limit: int) -> list[Orphan]:
        """Of all clusters, by cluster and name; `after` is the pair last seen."""
        after_cluster, after_name = after or ("", "")
        params = {"after_cluster": after_cluster, "after_name": after_name, "limit": limit}
        return [_orphan(row) for row in self._link.rows(_ORPHAN_PAGE, params)]

    def forget(self, orphan: Orphan) -> None:
        self._link.change(_FORGET, {"cluster_id": orphan.cluster_id, "name": orphan.name})


@cache
def _live(*, of_a_cluster: bool) -> Statement:
    live = _CLAIM.where(_IS_LIVE).order_by(_C.id)
    return Statement(live.where(_C.cluster_id == bindparam("cluster_id")) if of_a_cluster else live)


@cache
def _page(*, is_live: bool | None, of_a_cluster: bool, of_a_domain: bool) -> Statement:
    page = _CLAIM.where(_C.id > bindparam("after")).order_by(_C.id).limit(bound("limit"))
    if is_live is not None:
        page = page.where(_IS_LIVE if is_live else _C.state == fixed(ClaimState.GONE))
    if of_a_cluster:
        page = page.where(_C.cluster_id == bindparam("cluster_id"))
    if of_a_domain:
        # No domain was kept before there were any: then it was shared.
        of_all = or_(_C.trust_domain.is_(None), _C.trust_domain == fixed(SHARED))
        page = page.where(or_(of_all, _C.trust_domain == bindparam("trust_domain")))
    return Statement(page)


def _event(claim: Claim, *, came_from: str) -> Event:
    return Event(
        kind=f"claim.{claim.state}",
        subject=claim.id,
        at=claim.since,
        data={
            "from": came_from,
            "cluster_id": claim.cluster_id,
            "generation": claim.generation,
            "reason": claim.problem,
        },
    )


def _launch_event(verb: str, launch: Launch) -> Event:
    return Event(
        kind=f"launch.{verb}",
        subject=launch.id,
        at=launch.resolved_at or launch.created_at,
        data={
            "claim_id": launch.claim_id,
            "zone": launch.zone,
            "machines": launch.machines,
            "outcome": launch.outcome,
            "reason": launch.problem,
        },
    )


def _params(claim: Claim) -> dict[str, object]:
    return {
        "id": claim.id,
        "cluster_id": claim.cluster_id,
        "machine_type": claim.machine_type,
        "capacity_type": claim.capacity_type.value,
        "zones": packed(claim.zones),
        "machines_min": claim.machines_min,
        "machines_want": claim.machines_want,
        "state": claim.state.value,
        "since": micros(claim.since),
        "created_at": micros(claim.created_at),
        "generation": claim.generation,
        "version": claim.version,
        "release_requested_at": micros_or_none(claim.release_requested_at),
        "last_launch_at": micros_or_none(claim.last_launch_at),
        "missing_since": micros_or_none(claim.missing_since),
        "problem": claim.problem,
        "shares": packed([_share_packed(each) for each in claim.shares]) if claim.shares else None,
        "trust_domain": claim.trust_domain,
        "reservation": claim.reservation,
        "tries_again": int(claim.tries_again),
        "idle_seconds": claim.idle_seconds,
        "idle_since": micros_or_none(claim.idle_since),
        "renewed_until": micros_or_none(claim.renewed_until),
        "wanted_by": claim.wanted_by,
        "price_millionths": claim.price_millionths,
        "currency": claim.currency,
        "queue_id": claim.queue_id,
        "expected_millionths": claim.expected_millionths,
    }


@remembered
def _claim(row: Row) -> Claim:
    (id_, cluster_id, machine_type, capacity_type, zones, machines_min, machines_want, *rest) = row
    (state, since, created_at, generation, version, *rest) = rest
    (release_requested_at, last_launch_at, missing_since, problem, *rest) = rest
    (shares, trust_domain, reservation, tries_again, idle_seconds, *rest) = rest
    (idle_since, renewed_until, wanted_by, price_millionths, currency, *rest) = rest
    (queue_id, expected_millionths, came_from) = rest
    return Claim(
        id=ClaimId(id_),
        cluster_id=ClusterId(cluster_id),
        machine_type=machine_type,
        capacity_type=CapacityType(capacity_type),
        zones=tuple(unpacked(zones)),
        machines_min=machines_min,
        machines_want=machines_want,
        state=ClaimState(state),
        since=moment(since),
        created_at=moment(created_at),
        generation=generation,
        version=version,
        release_requested_at=moment_or_none(release_requested_at),
        last_launch_at=moment_or_none(last_launch_at),
        missing_since=moment_or_none(missing_since),
        problem=problem,
        shares=() if shares is None else tuple(_share(*each) for each in unpacked(shares)),
        trust_domain=trust_domain or SHARED,
        reservation=reservation,
        tries_again=tries_again != 0,
        idle_seconds=idle_seconds,
        idle_since=moment_or_none(idle_since),
        renewed_until=moment_or_none(renewed_until),
        wanted_by=None if wanted_by is None else AskId(wanted_by),
        price_millionths=price_millionths,
        currency=currency,
        queue_id=None if queue_id is None else QueueId(queue_id),
        expected_millionths=expected_millionths,
        came_from=came_from,
    )


def _share_packed(share: Share) -> list[object]:
    custom = dict(share.amounts.custom_milli)
    amounts = share.amounts
    return [share.node_name, amounts.cpu_milli, amounts.memory_bytes, amounts.gpu_milli, packed(custom)]


def _share(node_name: str, cpu_milli: int, memory_bytes: int, gpu_milli: int, custom: str) -> Share:
    return Share(node_name=node_name, amounts=amounts_of(cpu_milli, memory_bytes, gpu_milli, custom))


def _launch_params(launch: Launch) -> dict[str, object]:
    return {
        "id": launch.id,
        "claim_id": launch.claim_id,
        "generation": launch.generation,
        "ordinal": launch.ordinal,
        "zone": launch.zone,
        "machines": launch.machines,
        "created_at": micros(launch.created_at),
        "resolved_at": micros_or_none(launch.resolved_at),
        "outcome": None if launch.outcome is None else launch.outcome.value,
        "problem": launch.problem,
    }


@remembered
def _launch(row: Row) -> Launch:
    (id_, claim_id, generation, ordinal, zone, machines, created_at, resolved_at, outcome, problem) = row
    return Launch(
        id=LaunchId(id_),
        claim_id=ClaimId(claim_id),
        generation=generation,
        ordinal=ordinal,
        zone=zone,
        machines=machines,
        created_at=moment(created_at),
        resolved_at=moment_or_none(resolved_at),
        outcome=None if outcome is None else LaunchOutcome(outcome),
        problem=problem,
    )


def _orphan_params(orphan: Orphan) -> dict[str, object]:
    return {
        "cluster_id": orphan.cluster_id,
        "name": orphan.name,
        "zone": orphan.zone,
        "claim_id": orphan.claim_id,
        "launch_id": orphan.launch_id,
        "seen_at": micros(orphan.seen_at),
    }


def _orphan(row: Row) -> Orphan:
    (cluster_id, name, zone, claim_id, launch_id, seen_at) = row
    return Orphan(
        cluster_id=ClusterId(cluster_id),
        name=name,
        zone=zone,
        claim_id=ClaimId(claim_id),
        launch_id=LaunchId(launch_id),
        seen_at=moment(seen_at),
    )
