"""Schedules' table: which pipeline is executed again, and when next."""

from functools import cache
from typing import Final

from sqlalchemy import BigInteger, bindparam, delete, exists, func, select, update

from controlplane.domain.ids import ProjectId, ScheduleId, TokenId
from controlplane.domain.schedules import Overlap, Schedule
from controlplane.store.links import Link
from controlplane.store.moves import stale
from controlplane.store.rows import Row, micros, micros_or_none, moment, moment_or_none
from controlplane.store.schema import WORK
from controlplane.store.schema_pipelines import SCHEDULES
from controlplane.store.statements import Statement, bound, fixed, inserted

_C: Final = SCHEDULES.c
_SCHEDULE: Final = select(
    _C.id,
    _C.project_id,
    _C.name,
    _C.cron,
    _C.zone,
    _C.overlap,
    _C.token_id,
    _C.created_at,
    _C.next_at,
    _C.last_at,
    _C.problem,
    _C.paused_at,
    _C.version,
)
_ADD: Final = inserted(SCHEDULES)
_GET: Final = Statement(_SCHEDULE.where(_C.id == bindparam("id")))
_BY_NAME: Final = Statement(
    _SCHEDULE.where(_C.project_id == bindparam("project_id"), _C.name == bindparam("name"))
)
_COUNT: Final = Statement(select(func.count()).where(_C.project_id == bindparam("project_id")))
_SPEC: Final = Statement(select(_C.spec, _C.schema_version).where(_C.id == bindparam("id")))
_SAVE: Final = Statement(
    update(SCHEDULES)
    .where(_C.id == bindparam("id"), _C.version == bindparam("old_version", type_=BigInteger))
    .values(
        {
            column: bindparam(column.name)
            for column in (_C.next_at, _C.last_at, _C.problem, _C.paused_at, _C.version)
        }
    ),
    table=SCHEDULES,
)
_REMOVE: Final = Statement(delete(SCHEDULES).where(_C.id == bindparam("id")), table=SCHEDULES)
_UNWATCHED: Final = Statement(
    select(_C.id)
    .where(
        _C.paused_at.is_(None),
        _C.id > bindparam("after"),
        ~exists().where(WORK.c.noun == fixed("schedule"), WORK.c.id == _C.id),
    )
    .order_by(_C.id)
    .limit(bound("limit"))
)


class Schedules:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, schedule: Schedule, *, spec: str, schema_version: int) -> None:
        """A second one of the same name in the project is a `Conflict`."""
        given = {
            "project_id": schedule.project_id,
            "name": schedule.name,
            "spec": spec,
            "schema_version": schema_version,
            "cron": schedule.cron,
            "zone": schedule.zone,
            "overlap": schedule.overlap.value,
            "token_id": schedule.token_id,
            "created_at": micros(schedule.created_at),
        }
        self._link.change(_ADD, _params(schedule) | given)

    def save(self, schedule: Schedule) -> None:
        """Raises `StaleWrite` unless the row is one version behind."""
        if not self._link.change(_SAVE, _params(schedule) | {"old_version": schedule.version - 1}):
            raise stale("schedule", schedule.id)

    def get(self, schedule_id: ScheduleId) -> Schedule | None:
        row = self._link.row(_GET, {"id": schedule_id})
        return None if row is None else _schedule(row)

    def by_name(self, project_id: ProjectId, name: str) -> Schedule | None:
        row = self._link.row(_BY_NAME, {"project_id": project_id, "name": name})
        return None if row is None else _schedule(row)

    def count(self, project_id: ProjectId) -> int:
        row = self._link.row(_COUNT, {"project_id": project_id})
        return 0 if row is None else int(row[0])

    def spec(self, schedule_id: ScheduleId) -> tuple[str, int] | None:
        """Of the pipeline as it was sent, and the version of its schema."""
        row = self._link.row(_SPEC, {"id": schedule_id})
        return None if row is None else (row[0], row[1])

    def page(self, project_id: ProjectId | None, after: str, limit: int) -> list[Schedule]:
        """By id; `after` is the id last seen."""
        params = {"project_id": project_id, "after": after, "limit": limit}
        rows = self._link.rows(_page(of_a_project=project_id is not None), params)
        return [_schedule(row) for row in rows]

    def remove(self, schedule_id: ScheduleId) -> None:
        self._link.change(_REMOVE, {"id": schedule_id})

    def unwatched(self, after: str, limit: int) -> list[ScheduleId]:
        """Those that no loop will ever look at, by id; `after` is the id last seen."""
        return [ScheduleId(row[0]) for row in self._link.rows(_UNWATCHED, {"after": after, "limit": limit})]


@cache
def _page(*, of_a_project: bool) -> Statement:
    page = _SCHEDULE.where(_C.id > bindparam("after")).order_by(_C.id).limit(bound("limit"))
    return Statement(page.where(_C.project_id == bindparam("project_id")) if of_a_project else page)


def _params(schedule: Schedule) -> dict[str, object]:
    return {
        "id": schedule.id,
        "next_at": micros(schedule.next_at),
        "last_at": micros_or_none(schedule.last_at),
        "problem": schedule.problem,
        "paused_at": micros_or_none(schedule.paused_at),
        "version": schedule.version,
    }


def _schedule(row: Row) -> Schedule:
    (id_, project_id, name, cron, zone, overlap, token_id, *rest) = row
    (created_at, next_at, last_at, problem, paused_at, version) = rest
    return Schedule(
        id=ScheduleId(id_),
        project_id=ProjectId(project_id),
        name=name,
        cron=cron,
        zone=zone,
        overlap=Overlap(overlap),
        token_id=TokenId(token_id),
        created_at=moment(created_at),
        next_at=moment(next_at),
        last_at=moment_or_none(last_at),
        problem=problem,
        paused_at=moment_or_none(paused_at),
        version=version,
    )
