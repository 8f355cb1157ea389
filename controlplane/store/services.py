"""Services' table."""

from functools import cache
from typing import Final

from sqlalchemy import BigInteger, bindparam, exists, select, update

from controlplane.domain.events import Event
from controlplane.domain.ids import ProjectId, QueueId, ServiceId
from controlplane.domain.services import Service
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.moves import stale
from controlplane.store.rows import Row, micros, micros_or_none, moment, moment_or_none
from controlplane.store.schema import WORK
from controlplane.store.schema_services import SERVICES
from controlplane.store.statements import Statement, bound, fixed, inserted

_C: Final = SERVICES.c
_SERVICE: Final = select(
    _C.id,
    _C.project_id,
    _C.queue_id,
    _C.name,
    _C.created_at,
    _C.min_replicas,
    _C.max_replicas,
    _C.desired,
    _C.last_number,
    _C.lower_since,
    _C.lower_peak,
    _C.delete_requested_at,
    _C.deleted_at,
    _C.version,
)
_GIVEN_ONCE: Final = frozenset({"id", "project_id", "queue_id", "name", "created_at"})
_ADD: Final = inserted(SERVICES)
_GET: Final = Statement(_SERVICE.where(_C.id == bindparam("id")))
_BY_NAME: Final = Statement(
    _SERVICE.where(
        _C.project_id == bindparam("project_id"), _C.name == bindparam("name"), _C.deleted_at.is_(None)
    )
)
_SAVE: Final = Statement(
    update(SERVICES)
    .where(_C.id == bindparam("id"), _C.version == bindparam("old_version", type_=BigInteger))
    .values({column: bindparam(column.name) for column in _C if column.name not in _GIVEN_ONCE}),
    table=SERVICES,
)
_UNWATCHED: Final = Statement(
    select(_C.id)
    .where(
        _C.deleted_at.is_(None),
        _C.id > bindparam("after"),
        ~exists().where(WORK.c.noun == fixed("service"), WORK.c.id == _C.id),
    )
    .order_by(_C.id)
    .limit(bound("limit"))
)


class Services:
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def add(self, service: Service, *, by: str) -> None:
        """A second one of the same name in the project is a `Conflict`."""
        self._link.change(_ADD, _params(service))
        self._events.add(_event(service, "service.created", by=by))

    def save(self, service: Service) -> None:
        """Raises `StaleWrite` unless the row is one version behind."""
        if not self._link.change(_SAVE, _params(service) | {"old_version": service.version - 1}):
            raise stale("service", service.id)
        if service.deleted_at is not None:
            self._events.add(_event(service, "service.deleted"))

    def get(self, service_id: ServiceId) -> Service | None:
        row = self._link.row(_GET, {"id": service_id})
        return None if row is None else service_of(row)

    def by_name(self, project_id: ProjectId, name: str) -> Service | None:
        """One that is not deleted."""
        row = self._link.row(_BY_NAME, {"project_id": project_id, "name": name})
        return None if row is None else service_of(row)

    def unwatched(self, after: str, limit: int) -> list[ServiceId]:
        """Those that no loop will ever look at, by id."""
        return [ServiceId(row[0]) for row in self._link.rows(_UNWATCHED, {"after": after, "limit": limit})]

    def list(self, project_id: ProjectId | None, after: str, limit: int) -> list[Service]:
        """Those that are not deleted, by id; `after` is the id last seen."""
        params = {"project_id": project_id, "after": after, "limit": limit}
        rows = self._link.rows(_page(of_a_project=project_id is not None), params)
        return [service_of(row) for row in rows]


@cache
def _page(*, of_a_project: bool) -> Statement:
    page = _SERVICE.where(_C.id > bindparam("after"), _C.deleted_at.is_(None)).order_by(_C.id)
    page = page.limit(bound("limit"))
    return Statement(page.where(_C.project_id == bindparam("project_id")) if of_a_project else page)


def _event(service: Service, kind: str, **data: str) -> Event:
    return Event(
        kind=kind,
        subject=service.id,
        at=service.deleted_at or service.created_at,
        project_id=service.project_id,
        data={"service": service.name, **data},
    )


def _params(service: Service) -> dict[str, object]:
    return {
        "id": service.id,
        "project_id": service.project_id,
        "queue_id": service.queue_id,
        "name": service.name,
        "created_at": micros(service.created_at),
        "min_replicas": service.min_replicas,
        "max_replicas": service.max_replicas,
        "desired": service.desired,
        "last_number": service.last_number,
        "lower_since": micros_or_none(service.lower_since),
        "lower_peak": service.lower_peak,
        "delete_requested_at": micros_or_none(service.delete_requested_at),
        "deleted_at": micros_or_none(service.deleted_at),
        "version": service.version,
    }


def service_of(row: Row) -> Service:
    (id_, project_id, queue_id, name, created_at, fewest, most, desired, last_number, *rest) = row
    (lower_since, lower_peak, delete_requested_at, deleted_at, version) = rest
    return Service(
        id=ServiceId(id_),
        project_id=ProjectId(project_id),
        queue_id=QueueId(queue_id),
        name=name,
        created_at=moment(created_at),
        min_replicas=fewest,
        max_replicas=most,
        desired=desired,
        last_number=last_number,
        lower_since=moment_or_none(lower_since),
        lower_peak=lower_peak,
        delete_requested_at=moment_or_none(delete_requested_at),
        deleted_at=moment_or_none(deleted_at),
        version=version,
    )
