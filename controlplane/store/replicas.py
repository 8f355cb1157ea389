"""Replicas' table, and where their attempts listen."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import and_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from controlplane.domain.attempts import Attempt, AttemptState
from controlplane.domain.ids import AttemptId, JobId, RevisionId, ServiceId
from controlplane.domain.jobs import JobState
from controlplane.domain.revisions import RevisionState
from controlplane.domain.services import Announcement, KnownReplica, Replica
from controlplane.store.attempts import COLUMNS as ATTEMPT_COLUMNS
from controlplane.store.attempts import attempt_of
from controlplane.store.links import Link
from controlplane.store.rows import Row, micros, micros_or_none, moment, moment_or_none
from controlplane.store.schema import ATTEMPTS, JOBS
from controlplane.store.schema_services import ANNOUNCEMENTS, REPLICAS, REVISIONS
from controlplane.store.statements import Statement, bound, fixed, inserted, is_in, listed

_R: Final = REPLICAS.c
_N: Final = ANNOUNCEMENTS.c
_REPLICA: Final = (_R.job_id, _R.revision_id, _R.ordinal, _R.turn, _R.is_surplus, _R.created_at)
_ADD: Final = inserted(REPLICAS)
_TURNS: Final = Statement(
    select(_R.revision_id, _R.ordinal, func.max(_R.turn))
    .where(is_in(_R.revision_id, "ids"))
    .group_by(_R.revision_id, _R.ordinal)
)
_SERVICES: Final = Statement(
    select(_R.job_id, REVISIONS.c.service_id)
    .join(REVISIONS, REVISIONS.c.id == _R.revision_id)
    .where(is_in(_R.job_id, "ids"))
)
_EVER_READY: Final = (
    select(func.count())
    .select_from(ATTEMPTS)
    .join(ANNOUNCEMENTS, _N.attempt_id == ATTEMPTS.c.id)
    .where(ATTEMPTS.c.job_id == _R.job_id, _N.ready_at.is_not(None))
)
_IS_OPEN: Final = JOBS.c.state.in_(
    [fixed(each) for each in (JobState.HELD, JobState.QUEUED, JobState.ACTIVE)]
)
_KNOWN: Final = Statement(
    select(
        *_REPLICA,
        JOBS.c.state,
        JOBS.c.since,
        JOBS.c.reason,
        JOBS.c.cancel_requested_at,
        ATTEMPTS.c.id,
        ATTEMPTS.c.state,
        _N.is_ready,
        ATTEMPTS.c.started_at,
        _EVER_READY.correlate(REPLICAS).scalar_subquery(),
    )
    .select_from(REPLICAS)
    .join(REVISIONS, REVISIONS.c.id == _R.revision_id)
    .join(JOBS, JOBS.c.id == _R.job_id)
    .outerjoin(ATTEMPTS, and_(ATTEMPTS.c.job_id == _R.job_id, ATTEMPTS.c.state != fixed(AttemptState.ENDED)))
    .outerjoin(ANNOUNCEMENTS, _N.attempt_id == ATTEMPTS.c.id)
    .where(REVISIONS.c.service_id == bindparam("service_id"), or_(_IS_OPEN, JOBS.c.since >= bound("since")))
    .order_by(REVISIONS.c.number, _R.ordinal, _R.turn)
)
_READY: Final = Statement(
    select(_R.revision_id, *ATTEMPT_COLUMNS, _N.url, _N.grpc)
    .select_from(REVISIONS)
    .join(REPLICAS, _R.revision_id == REVISIONS.c.id)
    .join(JOBS, JOBS.c.id == _R.job_id)
    .join(ATTEMPTS, ATTEMPTS.c.job_id == JOBS.c.id)
    .join(ANNOUNCEMENTS, _N.attempt_id == ATTEMPTS.c.id)
    .where(
        REVISIONS.c.state == fixed(RevisionState.READY),
        JOBS.c.state == fixed(JobState.ACTIVE),
        JOBS.c.cancel_requested_at.is_(None),
        ATTEMPTS.c.state == fixed(AttemptState.RUNNING),
        _N.is_ready == bound("ready"),
    )
    .order_by(_R.revision_id, _R.ordinal, _R.turn)
)
_NEW: Final = insert_or_update(ANNOUNCEMENTS).values({column: bindparam(column.name) for column in _N})
_ANNOUNCE: Final = Statement(
    _NEW.on_conflict_do_update(
        index_elements=[_N.attempt_id],
        set_={
            **{name: _NEW.excluded[name] for name in ("url", "grpc", "is_ready", "at")},
            "ready_at": func.coalesce(_N.ready_at, _NEW.excluded.ready_at),
        },
    ).inline(),
    table=ANNOUNCEMENTS,
)
_OF_ATTEMPT: Final = Statement(
    select(_N.attempt_id, _N.url, _N.grpc, _N.is_ready, _N.at, _N.ready_at).where(is_in(_N.attempt_id, "ids"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyReplica:
    """A replica that may be asked."""

    revision_id: RevisionId
    attempt: Attempt
    url: str
    grpc: str | None


class Replicas:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, replica: Replica) -> None:
        """A second one in the same place and turn is a `Conflict`."""
        self._link.change(_ADD, _params(replica))

    def turns(self, revision_ids: Sequence[RevisionId]) -> dict[tuple[RevisionId, int], int]:
        """The last turn of each place that ever was taken."""
        rows = self._link.rows(_TURNS, {"ids": listed(revision_ids)})
        return {(RevisionId(id_), ordinal): turn for id_, ordinal, turn in rows}

    def services_of(self, job_ids: Sequence[JobId]) -> dict[JobId, ServiceId]:
        """Of those jobs that are replicas."""
        rows = self._link.rows(_SERVICES, {"ids": listed(job_ids)})
        return {JobId(job_id): ServiceId(service_id) for job_id, service_id in rows}

    def known(self, service_id: ServiceId, since: datetime) -> list[KnownReplica]:
        """Those that are not over, and those that have been for no longer than since then; by revision and place."""
        params = {"service_id": service_id, "since": micros(since)}
        return [_known(row) for row in self._link.rows(_KNOWN, params)]

    def ready(self) -> list[ReadyReplica]:
        """Of all revisions that may take traffic, by revision and place."""
        return [
            ReadyReplica(
                revision_id=RevisionId(row[0]), attempt=attempt_of(row[1:-2]), url=row[-2], grpc=row[-1]
            )
            for row in self._link.rows(_READY, {"ready": 1})
        ]

    def announce(self, announcement: Announcement) -> None:
        """Takes the place of what the attempt said before, but for when it was ready first."""
        self._link.change(
            _ANNOUNCE,
            {
                "attempt_id": announcement.attempt_id,
                "url": announcement.url,
                "grpc": announcement.grpc,
                "is_ready": int(announcement.is_ready),
                "at": micros(announcement.at),
                "ready_at": micros_or_none(announcement.ready_at),
            },
        )

    def announcements(self, attempt_ids: Sequence[AttemptId]) -> dict[AttemptId, Announcement]:
        """Attempts that never said where they listen are left out."""
        found = map(_announcement, self._link.rows(_OF_ATTEMPT, {"ids": listed(attempt_ids)}))
        return {each.attempt_id: each for each in found}


def _params(replica: Replica) -> dict[str, object]:
    return {
        "job_id": replica.job_id,
        "revision_id": replica.revision_id,
        "ordinal": replica.ordinal,
        "turn": replica.turn,
        "is_surplus": int(replica.is_surplus),
        "created_at": micros(replica.created_at),
    }


def _known(row: Row) -> KnownReplica:
    (job_id, revision_id, ordinal, turn, is_surplus, created_at, *rest) = row
    (state, since, reason, cancel_requested_at, attempt_id, attempt_state, is_ready, started_at, ever) = rest
    return KnownReplica(
        replica=Replica(
            job_id=JobId(job_id),
            revision_id=RevisionId(revision_id),
            ordinal=ordinal,
            turn=turn,
            is_surplus=bool(is_surplus),
            created_at=moment(created_at),
        ),
        job_state=JobState(state),
        job_since=moment(since),
        job_reason=reason,
        cancel_requested_at=moment_or_none(cancel_requested_at),
        attempt_id=None if attempt_id is None else AttemptId(attempt_id),
        started_at=moment_or_none(started_at),
        is_ready=bool(is_ready) and attempt_state == AttemptState.RUNNING and cancel_requested_at is None,
        was_ready=bool(ever),
    )


def _announcement(row: Row) -> Announcement:
    attempt_id, url, grpc, is_ready, at, ready_at = row
    return Announcement(
        attempt_id=AttemptId(attempt_id),
        url=url,
        grpc=grpc,
        is_ready=bool(is_ready),
        at=moment(at),
        ready_at=moment_or_none(ready_at),
    )
