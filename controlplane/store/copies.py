"""Copies' table, and how far each has come."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Final

from sqlalchemy import bindparam, case, delete, exists, func, select

from controlplane.domain.data_copies import Copy, CopyProgress, CopyState
from controlplane.domain.events import Event
from controlplane.domain.ids import CopyId, ProjectId
from controlplane.domain.jobs import JobState
from controlplane.store.copied_objects import CopiedObjects
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.moves import Moves
from controlplane.store.rows import Row, micros, micros_or_none, moment, moment_or_none
from controlplane.store.schema import ATTEMPTS, CHECKPOINTS, JOBS, WORK
from controlplane.store.schema_copies import COPIES, COPY_OBJECTS, COPY_PARTS
from controlplane.store.schema_inputs import INPUTS
from controlplane.store.statements import Statement, bound, fixed, inserted, is_in, listed

_C: Final = COPIES.c
_O: Final = COPY_OBJECTS.c
_P: Final = COPY_PARTS.c
_COPY: Final = select(
    _C.id,
    _C.project_id,
    _C.source,
    _C.target,
    _C.state,
    _C.since,
    _C.created_at,
    _C.bytes_per_second,
    _C.rereads,
    _C.cancel_requested_at,
    _C.failures,
    _C.problem,
    _C.version,
    _C.came_from,
)
_GIVEN_ONCE: Final = frozenset(
    {"project_id", "source", "target", "created_at", "bytes_per_second", "rereads"}
)

_IS_OPEN: Final = _C.state.in_([fixed(CopyState.PENDING), fixed(CopyState.COPYING)])

_MOVES: Final = Moves("copy", COPIES, fixed_columns=_GIVEN_ONCE)
_ADD: Final = inserted(COPIES)
_GET: Final = Statement(_COPY.where(_C.id == bindparam("id")))
_UNWATCHED: Final = Statement(
    select(_C.id)
    .where(
        _IS_OPEN,
        _C.id > bindparam("after"),
        ~exists().where(WORK.c.noun == fixed("copy"), WORK.c.id == _C.id),
    )
    .order_by(_C.id)
    .limit(bound("limit"))
)
_LATEST_BETWEEN: Final = Statement(
    _COPY.where(
        _C.target == bindparam("target"),
        _C.source == bindparam("source"),
        _C.project_id == bindparam("project_id"),
    )
    .order_by(_C.created_at.desc(), _C.id.desc())
    .limit(bound("limit"))
)
_TAKEN: Final = Statement(select(_C.id).where(_C.target == bindparam("target"), _IS_OPEN))
_OLD: Final = Statement(
    _COPY.where(
        _C.state.in_([fixed(CopyState.DONE), fixed(CopyState.FAILED), fixed(CopyState.CANCELLED)]),
        _C.since < bound("before"),
        _C.id > bindparam("after"),
        ~exists().where(INPUTS.c.copy_id == _C.id),
    )
    .order_by(_C.id)
    .limit(bound("limit"))
)
_RESUMED_FROM: Final = Statement(
    select(CHECKPOINTS.c.uri)
    .join(ATTEMPTS, ATTEMPTS.c.id == CHECKPOINTS.c.attempt_id)
    .join(JOBS, JOBS.c.id == ATTEMPTS.c.job_id)
    .where(
        is_in(CHECKPOINTS.c.uri, "uris"),
        JOBS.c.state.in_([fixed(JobState.HELD), fixed(JobState.QUEUED), fixed(JobState.ACTIVE)]),
    )
    .distinct()
)
_DROP: Final = Statement(delete(COPIES).where(_C.id == bindparam("id")), table=COPIES)
_IS_FINISHED: Final = _O.finished_at.is_not(None)
_SUMS: Final = Statement(
    select(
        func.count(_O.finished_at),
        func.coalesce(func.sum(case((_IS_FINISHED, _O.size_bytes), else_=0)), 0),
        func.coalesce(func.sum(_O.size_bytes), 0),
    ).where(_O.copy_id == bindparam("copy_id"))
)
_ARRIVED: Final = Statement(
    select(func.coalesce(func.sum(_P.size_bytes), 0))
    .join(COPY_OBJECTS, (_O.copy_id == _P.copy_id) & (_O.ordinal == _P.ordinal))
    .where(_P.copy_id == bindparam("copy_id"), _O.finished_at.is_(None))
)


class Copies:
    __slots__ = ("_events", "_link", "_objects")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)
        self._objects = CopiedObjects(link)

    def add(self, copy: Copy) -> None:
        """A second open copy to one target is a `Conflict`."""
        self._link.change(_ADD, _params(copy) | {"came_from": copy.came_from})
        self._events.add(_event(copy, came_from=copy.came_from))

    def get(self, copy_id: CopyId) -> Copy | None:
        row = self._link.row(_GET, {"id": copy_id})
        return None if row is None else _copy(row)

    def save(self, copy: Copy) -> None:
        """Raises `StaleWrite` unless the row is one version behind."""
        came_from = _MOVES.save(self._link, _params(copy))
        if came_from is not None:
            self._events.add(_event(copy, came_from=came_from))

    def newest(self, project_id: ProjectId | None, before: str | None, limit: int) -> list[Copy]:
        """Newest ids first; `before` is the id last seen."""
        params = {"project_id": project_id, "before": before, "limit": limit}
        statement = _page(of_a_project=project_id is not None, is_first=before is None)
        return [_copy(row) for row in self._link.rows(statement, params)]

    def unwatched(self, after: str, limit: int) -> list[CopyId]:
        """Open ones that no loop will ever look at, by id; `after` is the id last seen."""
        return [CopyId(row[0]) for row in self._link.rows(_UNWATCHED, {"after": after, "limit": limit})]

    def progress(self, copy_id: CopyId) -> CopyProgress:
        sums = self._link.row(_SUMS, {"copy_id": copy_id})
        arrived = self._link.row(_ARRIVED, {"copy_id": copy_id})
        objects, finished, known = sums or (0, 0, 0)
        return CopyProgress(
            objects=int(objects),
            size_bytes=int(finished) + int(arrived[0] if arrived else 0),
            known_bytes=int(known),
        )

    def latest_between(self, project_id: ProjectId, source: str, target: str) -> Copy | None:
        """The project's own: what others copied says nothing of whether this one may, or wants to."""
        params = {"project_id": project_id, "source": source, "target": target, "limit": 1}
        row = self._link.row(_LATEST_BETWEEN, params)
        return None if row is None else _copy(row)

    def is_taken(self, target: str) -> bool:
        """By an open copy, of whatever project: a second one would be a `Conflict`."""
        return self._link.row(_TAKEN, {"target": target}) is not None

    def old(self, before: datetime, after: str, limit: int) -> list[Copy]:
        """Those that were over before that moment and no input was made of, by id; `after` is the last one seen."""
        params = {"before": micros(before), "after": after, "limit": limit}
        return [_copy(row) for row in self._link.rows(_OLD, params)]

    def resumed_from(self, uris: Sequence[str]) -> frozenset[str]:
        """Those among them that are checkpoints of jobs that are not over."""
        return frozenset(row[0] for row in self._link.rows(_RESUMED_FROM, {"uris": listed(uris)}))

    def forget(self, copy_id: CopyId, limit: int) -> bool:
        """Removes at most so many of its objects, with their parts, then itself; says whether it is gone."""
        last = self._objects.last(copy_id)
        if last is None:
            self._link.change(_DROP, {"id": copy_id})
            return True
        self._objects.forget_after(copy_id, last.ordinal - limit)
        return False


@cache
def _page(*, of_a_project: bool, is_first: bool) -> Statement:
    page = _COPY.order_by(_C.id.desc()).limit(bound("limit"))
    if of_a_project:
        page = page.where(_C.project_id == bindparam("project_id"))
    return Statement(page if is_first else page.where(_C.id < bindparam("before")))


def _event(copy: Copy, *, came_from: str) -> Event:
    return Event(
        kind=f"copy.{copy.state}",
        subject=copy.id,
        at=copy.since,
        data={"from": came_from, "source": copy.source, "target": copy.target, "reason": copy.problem},
        project_id=copy.project_id,
    )


def _params(copy: Copy) -> dict[str, object]:
    return {
        "id": copy.id,
        "project_id": copy.project_id,
        "source": copy.source,
        "target": copy.target,
        "state": copy.state.value,
        "since": micros(copy.since),
        "created_at": micros(copy.created_at),
        "bytes_per_second": copy.bytes_per_second,
        "rereads": int(copy.rereads),
        "cancel_requested_at": micros_or_none(copy.cancel_requested_at),
        "failures": copy.failures,
        "problem": copy.problem,
        "version": copy.version,
    }


def _copy(row: Row) -> Copy:
    (id_, project_id, source, target, state, since, created_at, bytes_per_second, *rest) = row
    (rereads, cancel_requested_at, failures, problem, version, came_from) = rest
    return Copy(
        id=CopyId(id_),
        project_id=ProjectId(project_id),
        source=source,
        target=target,
        state=CopyState(state),
        since=moment(since),
        created_at=moment(created_at),
        bytes_per_second=bytes_per_second,
        rereads=bool(rereads),
        cancel_requested_at=moment_or_none(cancel_requested_at),
        failures=failures,
        problem=problem,
        version=version,
        came_from=came_from,
    )
