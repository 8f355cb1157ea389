"""Attempt views: all that the decisions about many attempts need, loaded in one read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self

from controlplane.domain.attempts import Attempt, AttemptState
from controlplane.domain.claims import Claim, ClaimState
from controlplane.domain.clusters import Cluster
from controlplane.domain.ids import AttemptId, ClaimId, ClusterId
from controlplane.domain.sites import Site
from controlplane.operations.freight import freights
from controlplane.operations.staging import Freight
from controlplane.reconcilers import attempts
from controlplane.settings import Settings
from controlplane.store import RankRow, Tx

_FROM_LAST: Final = (
    attempts.Arrival.LOST,
    attempts.Arrival.WANTED,
    attempts.Arrival.UNDER_WAY,
    attempts.Arrival.THERE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Rows of one moment."""

    now: datetime
    rows: tuple[Attempt, ...]
    """In the order asked for; those that are not there are left out."""

    clusters: Mapping[ClusterId, Cluster]
    nodes_gone: Mapping[AttemptId, str]
    """Name of a booked node that is no longer there, of those that have one."""

    grounds: Mapping[ClaimId, attempts.Ground]
    freights: Mapping[AttemptId, Sequence[Freight]]
    """Of those that are placed."""

    ranks: Mapping[AttemptId, Mapping[int, RankRow]]
    starting: Mapping[ClusterId, int]
    """How many the executor was told to start and nobody has heard of yet; where one waits for its start."""

    @classmethod
    def load(cls, tx: Tx, ids: Sequence[AttemptId]) -> Self:
        found = tx.attempts.many(ids)
        rows = tuple(found[each] for each in ids if each in found)
        live = [attempt.id for attempt in rows if attempt.is_live]
        waiting = [each for each in rows if each.state is AttemptState.PLACED]
        placed = dict.fromkeys(each.cluster_id for each in waiting)
        return cls(
            now=tx.now,
            rows=rows,
            clusters=_clusters(tx, rows),
            nodes_gone=tx.attempts.nodes_gone(live),
            grounds=_grounds(tx, rows),
            freights=freights(tx, waiting),
            ranks=tx.records.ranks_of(live),
            starting={cluster_id: tx.attempts.count_starting(cluster_id) for cluster_id in placed},
        )

    def views(
        self, settings: Settings, *, starts_under_way: Mapping[ClusterId, int]
    ) -> dict[AttemptId, attempts.AttemptView]:
        """`starts_under_way`: by this process, not recorded yet."""
        room = _Room(
            left={
                each: settings.starts_in_flight - count - starts_under_way.get(each, 0)
                for each, count in self.starting.items()
            }
        )
        return {
            attempt.id: self._view(attempt, self.clusters[attempt.cluster_id], settings, room)
            for attempt in self.rows
            if attempt.cluster_id in self.clusters
        }

    def _view(
        self, attempt: Attempt, cluster: Cluster, settings: Settings, room: "_Room"
    ) -> attempts.AttemptView:
        ground = None if attempt.claim_id is None else self.grounds[attempt.claim_id]
        awaited = _awaited(self.freights.get(attempt.id, ()))
        stands = ground is None or ground.footing is attempts.Footing.STANDS
        is_whole = awaited is None or awaited.arrival is attempts.Arrival.THERE
        return attempts.AttemptView(
            attempt=attempt,
            cluster=cluster,
            ground=ground,
            awaited=awaited,
            ranks=_ranks(self.ranks.get(attempt.id, {})),
            node_gone=self.nodes_gone.get(attempt.id),
            may_start=attempt.state is AttemptState.PLACED and stands and is_whole and room.take(cluster.id),
            lease_seconds=settings.lease_seconds,
            skew=timedelta(seconds=settings.clock_skew_seconds),
            start_timeout=timedelta(seconds=settings.start_timeout_seconds),
            poll=timedelta(seconds=settings.poll_seconds),
            now=self.now,
        )


@dataclass(slots=True)
class _Room:
    """For further starts, by cluster."""

    left: dict[ClusterId, int]

    def take(self, cluster_id: ClusterId) -> bool:
        if self.left[cluster_id] <= 0:
            return False
        self.left[cluster_id] -= 1
        return True


def _clusters(tx: Tx, rows: Sequence[Attempt]) -> dict[ClusterId, Cluster]:
    ids = dict.fromkeys(attempt.cluster_id for attempt in rows)
    found = [tx.clusters.get(cluster_id) for cluster_id in ids]
    return {cluster.id: cluster for cluster in found if cluster is not None}


def _grounds(tx: Tx, rows: Sequence[Attempt]) -> dict[ClaimId, attempts.Ground]:
    ids = list(dict.fromkeys(each.claim_id for each in rows if each.claim_id is not None))
    sites = tx.sites.many(ids)
    return {each: _ground(tx.claims.get(each), sites.get(each), tx.now) for each in ids}


def _ground(claim: Claim | None, site: Site | None, now: datetime) -> attempts.Ground:
    if claim is None:
        return attempts.Ground(footing=attempts.Footing.LOST, since=now, problem="its claim is not known")
    is_over = claim.state in (ClaimState.TERMINATING, ClaimState.GONE)
    if is_over or (claim.shares and claim.release_requested_at is not None):
        return attempts.Ground(footing=attempts.Footing.LOST, since=claim.since, problem=claim.problem)
    stands = claim.state in (ClaimState.READY, ClaimState.DRAINING) and site is not None and site.is_up
    footing = attempts.Footing.STANDS if stands else attempts.Footing.COMING
    return attempts.Ground(footing=footing, since=claim.since)


def _awaited(freights: Sequence[Freight]) -> attempts.Awaited | None:
    """As far as the last of them."""
    if not freights:
        return None
    last = min(freights, key=lambda each: _FROM_LAST.index(each.arrival))
    is_lost = last.arrival is attempts.Arrival.LOST
    problem = f"{last.what} could not be brought: {last.problem}" if is_lost else None
    since = max(each.since for each in freights)
    return attempts.Awaited(arrival=last.arrival, since=since, problem=problem)


def _ranks(rows: Mapping[int, RankRow]) -> tuple[attempts.RankView, ...]:
    return tuple(
        attempts.RankView(
            rank=rank, heartbeat_at=spoke_at, exit_code=row.exit_code, exit_reason=row.exit_reason
        )
        for rank, row in sorted(rows.items())
        if (spoke_at := row.heartbeat_at or row.exited_at) is not None
    )
