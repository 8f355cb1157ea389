"""Revisions' table, and what the way in for traffic reads of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from sqlalchemy import and_, bindparam, select

from controlplane.domain.events import Event
from controlplane.domain.ids import JobId, ProjectId, RevisionId, SecretId, ServiceId
from controlplane.domain.revisions import Revision, RevisionState
from controlplane.domain.services import Service
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.moves import Moves
from controlplane.store.rows import Row, micros, micros_or_none, moment, moment_or_none
from controlplane.store.schema import PROJECTS
from controlplane.store.schema_services import REPLICAS, REVISIONS, SERVICES
from controlplane.store.statements import Statement, bound, fixed, inserted, is_in, listed

_C: Final = REVISIONS.c
COLUMNS: Final = (
    _C.id,
    _C.service_id,
    _C.number,
    _C.state,
    _C.since,
    _C.created_at,
    _C.created_by,
    _C.spec,
    _C.template,
    _C.secret_id,
    _C.ca_pem,
    _C.weight_ppm,
    _C.weighed_at,
    _C.ready_at,
    _C.reason,
    _C.version,
    _C.came_from,
)
_REVISION: Final = select(*COLUMNS)
_GIVEN_ONCE: Final = frozenset(
    {"service_id", "number", "created_at", "created_by", "spec", "template", "ca_pem"}
)
_MOVES: Final = Moves("revision", REVISIONS, fixed_columns=_GIVEN_ONCE)
_ADD: Final = inserted(REVISIONS)
_OF_SERVICE: Final = _C.service_id == bindparam("service_id")
_GET: Final = Statement(_REVISION.where(_C.id == bindparam("id")))
_BY_NUMBER: Final = Statement(_REVISION.where(_OF_SERVICE, _C.number == bound("number")))
_OF_JOBS: Final = Statement(
    select(REPLICAS.c.job_id, *COLUMNS)
    .join(REVISIONS, _C.id == REPLICAS.c.revision_id)
    .where(is_in(REPLICAS.c.job_id, "ids"))
)
_ENDS: Final = tuple(fixed(each) for each in (RevisionState.RETIRED, RevisionState.FAILED))
_LIVE: Final = Statement(_REVISION.where(_OF_SERVICE, _C.state.not_in(_ENDS)).order_by(_C.number))
_OPEN: Final = Statement(
    select(
        SERVICES.c.id,
        SERVICES.c.project_id,
        PROJECTS.c.name,
        SERVICES.c.name,
        *COLUMNS,
    )
    .select_from(SERVICES)
    .join(PROJECTS, PROJECTS.c.id == SERVICES.c.project_id)
    .join(REVISIONS, and_(_C.service_id == SERVICES.c.id, _C.state.not_in(_ENDS)))
    .where(SERVICES.c.deleted_at.is_(None), SERVICES.c.delete_requested_at.is_(None))
    .order_by(SERVICES.c.id, _C.number)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRevision:
    """A revision of a service that takes requests."""

    service_id: ServiceId
    project_id: ProjectId
    project: str
    name: str
    revision: Revision


class Revisions:
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def add(self, service: Service, revision: Revision) -> None:
        """A second one of the same number is a `Conflict`."""
        self._link.change(_ADD, _params(revision) | {"came_from": revision.came_from})
        self._events.add(_event(service, revision, came_from=revision.came_from))

    def save(self, service: Service, revision: Revision) -> None:
        """Raises `StaleWrite` unless the row is one version behind."""
        came_from = _MOVES.save(self._link, _params(revision))
        if came_from is not None:
            self._events.add(_event(service, revision, came_from=came_from))

    def get(self, revision_id: RevisionId) -> Revision | None:
        row = self._link.row(_GET, {"id": revision_id})
        return None if row is None else revision_of(row)

    def by_number(self, service_id: ServiceId, number: int) -> Revision | None:
        row = self._link.row(_BY_NUMBER, {"service_id": service_id, "number": number})
        return None if row is None else revision_of(row)

    def of_jobs(self, job_ids: Sequence[JobId]) -> dict[JobId, Revision]:
        """Of those jobs that are replicas."""
        rows = self._link.rows(_OF_JOBS, {"ids": listed(job_ids)})
        return {JobId(row[0]): revision_of(row[1:]) for row in rows}

    def live(self, service_id: ServiceId) -> list[Revision]:
        """Those that are not over, by number."""
        return [revision_of(row) for row in self._link.rows(_LIVE, {"service_id": service_id})]

    def newest(self, service_id: ServiceId, before: int | None, limit: int) -> list[Revision]:
        """Highest number first; `before` is the number last seen."""
        params = {"service_id": service_id, "before": before, "limit": limit}
        return [revision_of(row) for row in self._link.rows(_page(is_first=before is None), params)]

    def open(self) -> list[OpenRevision]:
        """Of all services that take requests, by service and number; those that are over are left out."""
        return [
            OpenRevision(
                service_id=ServiceId(row[0]),
                project_id=ProjectId(row[1]),
                project=row[2],
                name=row[3],
                revision=revision_of(row[4:]),
            )
            for row in self._link.rows(_OPEN, {})
        ]


@cache
def _page(*, is_first: bool) -> Statement:
    page = _REVISION.where(_OF_SERVICE).order_by(_C.number.desc()).limit(bound("limit"))
    return Statement(page if is_first else page.where(_C.number < bound("before")))


def _event(service: Service, revision: Revision, *, came_from: str) -> Event:
    data = {
        "from": came_from,
        "service": service.name,
        "number": revision.number,
        "reason": revision.reason,
    }
    return Event(
        kind=f"revision.{revision.state}",
        subject=revision.id,
        at=revision.since,
        project_id=service.project_id,
        data=data,
    )


def _params(revision: Revision) -> dict[str, object]:
    return {
        "id": revision.id,
        "service_id": revision.service_id,
        "number": revision.number,
        "state": revision.state.value,
        "since": micros(revision.since),
        "created_at": micros(revision.created_at),
        "created_by": revision.created_by,
        "spec": revision.spec,
        "template": revision.template,
        "secret_id": revision.secret_id,
        "ca_pem": revision.ca_pem,
        "weight_ppm": revision.weight_ppm,
        "weighed_at": micros_or_none(revision.weighed_at),
        "ready_at": micros_or_none(revision.ready_at),
        "reason": revision.reason,
        "version": revision.version,
    }


def revision_of(row: Row) -> Revision:
    """From `COLUMNS`."""
    (id_, service_id, number, state, since, created_at, created_by, spec, template, *rest) = row
    (secret_id, ca_pem, weight_ppm, weighed_at, ready_at, reason, version, came_from) = rest
    return Revision(
        id=RevisionId(id_),
        service_id=ServiceId(service_id),
        number=number,
        state=RevisionState(state),
        since=moment(since),
        created_at=moment(created_at),
        created_by=created_by,
        spec=spec,
        template=template,
        secret_id=None if secret_id is None else SecretId(secret_id),
        ca_pem=ca_pem,
        weight_ppm=weight_ppm,
        weighed_at=moment_or_none(weighed_at),
        ready_at=moment_or_none(ready_at),
        reason=reason,
        version=version,
        came_from=came_from,
    )
