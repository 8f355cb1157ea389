"""Audits: what the invariants need to see of the books, many jobs at a time and with few queries."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar

from sqlalchemy import BigInteger, bindparam, case, cast, exists, func, or_, select, text

from controlplane.domain.claims import Claim
from controlplane.domain.clusters import ClusterState
from controlplane.domain.events import Event
from controlplane.domain.ids import (
    AttemptId,
    ClaimId,
    ClassId,
    ClusterId,
    JobId,
    NodeId,
    ProjectId,
    ServiceId,
)
from controlplane.domain.invariants import (
    BookedRank,
    BookedSeat,
    ClaimFile,
    Dossier,
    Floor,
    LostReplica,
    ServiceShares,
    WaitingClass,
)
from controlplane.domain.jobs import Ask, JobState
from controlplane.domain.revisions import RevisionState
from controlplane.store import feed_floor
from controlplane.store.asks import COLUMNS as ASK_COLUMNS
from controlplane.store.asks import ask_of
from controlplane.store.attempts import Attempts
from controlplane.store.claims import Claims, Launches
from controlplane.store.clusters import Clusters
from controlplane.store.jobs import Jobs
from controlplane.store.links import Link
from controlplane.store.nodes import Nodes
from controlplane.store.over_many import SQLITE
from controlplane.store.rows import Row, amounts_of, moment, moment_or_none, remembered, unpacked
from controlplane.store.schema import (
    ASKS,
    ATTEMPTS,
    CLUSTERS,
    EDGES,
    EVENTS,
    JOBS,
    LOG_CHUNKS,
    OPEN_JOBS,
    RANKS,
    REASONS,
    SEATS,
    WORK,
)
from controlplane.store.schema_services import REPLICAS, REVISIONS, SERVICES
from controlplane.store.statements import WHOLE_FEED, Statement, bound, fixed, in_feed, is_in, listed

T = TypeVar("T")

DISORDER: Final = timedelta(hours=1)
"""The feed is pruned in its own order, which may differ from that of the moments by less than this."""

_A: Final = ATTEMPTS.c
_E: Final = EVENTS.c
_L: Final = LOG_CHUNKS.c
_R: Final = RANKS.c
_S: Final = SEATS.c
_OF_JOBS: Final = is_in(_A.job_id, "ids")

_JOB_IDS: Final = Statement(
    select(JOBS.c.id).where(JOBS.c.id > bindparam("after")).order_by(JOBS.c.id).limit(bound("limit"))
)
_ASKS: Final = Statement(select(*ASK_COLUMNS).where(is_in(ASKS.c.job_id, "ids")).order_by(ASKS.c.id))
_SEATS: Final = Statement(
    select(
        _A.job_id,
        _S.attempt_id,
        _S.rank,
        _S.node_id,
        _S.released_at,
        _S.cpu_milli,
        _S.memory_bytes,
        _S.gpu_milli,
        _S.custom_milli,
    )
    .join(ATTEMPTS, _A.id == _S.attempt_id)
    .where(_OF_JOBS)
    .order_by(_S.attempt_id, _S.rank)
)
_RANKS: Final = Statement(
    select(_A.job_id, _R.attempt_id, _R.rank, _R.log_offset)
    .join(ATTEMPTS, _A.id == _R.attempt_id)
    .where(_OF_JOBS)
    .order_by(_R.attempt_id, _R.rank)
)
_LOG_BYTES: Final = Statement(
    select(_L.attempt_id, _L.rank, func.sum(func.length(_L.data)))
    .join(ATTEMPTS, _A.id == _L.attempt_id)
    .where(_OF_JOBS)
    .group_by(_L.attempt_id, _L.rank)
)
_EVENT: Final = select(_E.kind, _E.subject, _E.at, _E.project_id, _E.job_id, _E.data)
# By number, not in the feed's order: who moves a row writes its event before anybody else can move it.
_MOVES_OF_JOBS: Final = Statement(
    _EVENT.where(
        is_in(_E.job_id, "ids"), or_(_E.kind.like(fixed("job.%")), _E.kind.like(fixed("attempt.%")))
    ).order_by(_E.seq)
)
_STORIES: Final = Statement(_EVENT.where(_E.job_id.is_(None), is_in(_E.subject, "subjects")).order_by(_E.seq))
_OLDEST: Final = Statement(
    select(_E.at).where(in_feed(_E.xid, _E.seq)).order_by(_E.xid, _E.seq).limit(bound("one"))
)

_MAY_GO_AT: Final = case(
    (ASKS.c.not_before > JOBS.c.since, ASKS.c.not_before),
    else_=JOBS.c.since,
)
_WAITING: Final = Statement(
    select(ASKS.c.class_id, REASONS.c.code, func.count(), func.min(_MAY_GO_AT))
    .select_from(JOBS)
    .join(ASKS, ASKS.c.job_id == JOBS.c.id)
    .outerjoin(REASONS, REASONS.c.class_id == ASKS.c.class_id)
    # The second condition says nothing new, but SQLite finds its partial index by it.
    .where(JOBS.c.state == fixed(JobState.QUEUED), OPEN_JOBS)
    .group_by(ASKS.c.class_id, REASONS.c.code)
    .order_by(ASKS.c.class_id)
)
_UNWATCHED_CLUSTERS: Final = Statement(
    select(CLUSTERS.c.id)
    .where(
        CLUSTERS.c.state != fixed(ClusterState.DETACHED),
        ~exists().where(WORK.c.noun == fixed("cluster"), WORK.c.id == CLUSTERS.c.id),
    )
    .order_by(CLUSTERS.c.id)
)
_IS_READY: Final = REVISIONS.c.state == fixed(RevisionState.READY)
_SHARES: Final = Statement(
    select(
        SERVICES.c.id,
        func.count(case((_IS_READY, REVISIONS.c.id))),
        func.coalesce(cast(func.sum(case((_IS_READY, REVISIONS.c.weight_ppm))), BigInteger), bound("none")),
        func.coalesce(cast(func.sum(case((~_IS_READY, REVISIONS.c.weight_ppm))), BigInteger), bound("none")),
    )
    .join(REVISIONS, REVISIONS.c.service_id == SERVICES.c.id)
    .where(SERVICES.c.deleted_at.is_(None))
    .group_by(SERVICES.c.id)
    .order_by(SERVICES.c.id)
)
_OVER: Final = tuple(fixed(each) for each in (RevisionState.RETIRED, RevisionState.FAILED))
_LOST_REPLICAS: Final = Statement(
    select(JOBS.c.id, SERVICES.c.id, REVISIONS.c.state, SERVICES.c.deleted_at)
    .select_from(REPLICAS)
    .join(REVISIONS, REVISIONS.c.id == REPLICAS.c.revision_id)
    .join(SERVICES, SERVICES.c.id == REVISIONS.c.service_id)
    .join(JOBS, JOBS.c.id == REPLICAS.c.job_id)
    .where(
        JOBS.c.state.in_([fixed(each) for each in (JobState.HELD, JobState.QUEUED, JobState.ACTIVE)]),
        JOBS.c.cancel_requested_at.is_(None),
        or_(REVISIONS.c.state.in_(_OVER), SERVICES.c.deleted_at.is_not(None)),
    )
    .order_by(JOBS.c.id)
)
_EDGES: Final = Statement(select(EDGES.c.noun, EDGES.c.from_state, EDGES.c.to_state))
_DANGLING: Final = Statement(text("PRAGMA foreign_key_check"))


class Audits:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def job_ids(self, after: JobId | None, limit: int) -> list[JobId]:
        """A page of all jobs, by id, from behind `after`."""
        return [JobId(row[0]) for row in self._link.rows(_JOB_IDS, {"after": after or "", "limit": limit})]

    def dossier(self, job_id: JobId) -> Dossier | None:
        return next(iter(self.dossiers([job_id])), None)

    def dossiers(self, job_ids: Sequence[JobId]) -> list[Dossier]:
        """In the order asked for, unknown ones left out. Raises `ValueError` on a row that holds no value of ours."""
        ids = {"ids": listed(job_ids)}
        asks, events = self._asks(ids), self._moves(ids)
        attempts = Attempts(self._link).of_jobs(job_ids)
        seats = _grouped((row[0], _seat(row)) for row in self._link.rows(_SEATS, ids))
        ranks, kept_since = self._ranks(ids), self.kept_since()
        return [
            Dossier(
                job=job,
                asks=asks.get(job.id, ()),
                attempts=tuple(attempts.get(job.id, ())),
                seats=seats.get(job.id, ()),
                ranks=ranks.get(job.id, ()),
                events=events.get(job.id, ()),
                kept_since=kept_since,
            )
            for job in Jobs(self._link).many(job_ids)
        ]

    def floor(self) -> Floor:
        nodes = Nodes(self._link)
        return Floor(
            clusters={cluster.id: cluster for cluster in Clusters(self._link).list()},
            nodes={node.id: node for node in nodes.present()},
            booked=nodes.booked(),
        )

    def claims(self, after: ClaimId | None, limit: int) -> list[ClaimFile]:
        """A page of all, gone ones too, by id, from behind `after`."""
        return self._files(Claims(self._link).list(after, limit))

    def claim_files(self, claim_ids: Sequence[ClaimId]) -> list[ClaimFile]:
        """Of these, by id; unknown ones left out."""
        return self._files(Claims(self._link).many(claim_ids))

    def stories(self, subjects: Sequence[str]) -> Mapping[str, tuple[Event, ...]]:
        """What happened to nouns that belong to no job. Reads the whole feed, so many are asked for at once."""
        if not subjects:
            return {}
        rows = self._link.rows(_STORIES, {"subjects": listed(subjects)})
        return _grouped((row[1], _event(row)) for row in rows)

    def kept_since(self) -> datetime | None:
        """All events from this moment on are kept; None: none was ever pruned."""
        floor = feed_floor.read(self._link)
        if (floor.xid, floor.seq) == (0, 0):
            return None
        row = self._link.row(_OLDEST, {"one": 1, **WHOLE_FEED})
        return self._link.now if row is None else moment(row[0]) + DISORDER

    def waiting(self) -> list[WaitingClass]:
        """Every class of queued asks, by id."""
        return [
            WaitingClass(class_id=ClassId(row[0]), code=row[1], asks=row[2], waits_since=moment(row[3]))
            for row in self._link.rows(_WAITING)
        ]

    def unwatched_clusters(self) -> list[ClusterId]:
        """All but the detached that no loop will ever look at."""
        return [ClusterId(row[0]) for row in self._link.rows(_UNWATCHED_CLUSTERS)]

    def shares(self) -> list[ServiceShares]:
        """Of every service that is not deleted, by id."""
        return [
            ServiceShares(service_id=ServiceId(row[0]), ready=row[1], given_ppm=row[2], misled_ppm=row[3])
            for row in self._link.rows(_SHARES, {"none": 0})
        ]

    def lost_replicas(self) -> list[LostReplica]:
        """Those that go on though nobody has any use for them."""
        return [
            LostReplica(
                job_id=JobId(job_id),
                service_id=ServiceId(service_id),
                revision_state=RevisionState(state),
                is_deleted=deleted_at is not None,
            )
            for job_id, service_id, state, deleted_at in self._link.rows(_LOST_REPLICAS)
        ]

    def edges(self) -> frozenset[tuple[str, str, str]]:
        """Noun, old and new state of every legal move."""
        return frozenset((noun, old, new) for noun, old, new in self._link.rows(_EDGES))

    def dangling(self) -> list[tuple[str, str, str]]:
        """Table, row and the table it refers to in vain. PostgreSQL lets nobody make such rows, so it is not asked."""
        if self._link.dialect != SQLITE:
            return []
        return [(table, str(row), parent) for table, row, parent, _ in self._link.rows(_DANGLING)]

    def _files(self, claims: Sequence[Claim]) -> list[ClaimFile]:
        ids = [claim.id for claim in claims]
        events, kept_since = self.stories(ids), self.kept_since()
        launches = Launches(self._link).of_claims(ids)
        return [
            ClaimFile(
                claim=claim,
                launches=tuple(launches.get(claim.id, ())),
                events=events.get(claim.id, ()),
                kept_since=kept_since,
            )
            for claim in claims
        ]

    def _asks(self, ids: Mapping[str, str]) -> dict[str, tuple[Ask, ...]]:
        return _grouped((row[1], ask_of(row)) for row in self._link.rows(_ASKS, ids))

    def _moves(self, ids: Mapping[str, str]) -> dict[str, tuple[Event, ...]]:
        return _grouped((row[4], _event(row)) for row in self._link.rows(_MOVES_OF_JOBS, ids))

    def _ranks(self, ids: Mapping[str, str]) -> dict[str, tuple[BookedRank, ...]]:
        kept = {(row[0], row[1]): int(row[2]) for row in self._link.rows(_LOG_BYTES, ids)}
        return _grouped(
            (
                job_id,
                BookedRank(
                    attempt_id=AttemptId(attempt_id),
                    rank=rank,
                    log_offset=log_offset,
                    log_bytes=kept.get((attempt_id, rank), 0),
                ),
            )
            for job_id, attempt_id, rank, log_offset in self._link.rows(_RANKS, ids)
        )


def _grouped(pairs: Iterable[tuple[str, T]]) -> dict[str, tuple[T, ...]]:
    groups: dict[str, list[T]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in groups.items()}


@remembered
def _seat(row: Row) -> BookedSeat:
    _, attempt_id, rank, node_id, released_at, *amounts = row
    return BookedSeat(
        attempt_id=AttemptId(attempt_id),
        rank=rank,
        node_id=NodeId(node_id),
        amounts=amounts_of(*amounts),
        released_at=moment_or_none(released_at),
    )


@remembered
def _event(row: Row) -> Event:
    kind, subject, at, project_id, job_id, data = row
    return Event(
        kind=kind,
        subject=subject,
        at=moment(at),
        project_id=None if project_id is None else ProjectId(project_id),
        job_id=job_id,
        data=unpacked(data),
    )
