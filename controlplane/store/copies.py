"""Copies' table, the objects that each copies, and the parts that have arrived."""

from functools import cache
from typing import Final

from sqlalchemy import bindparam, case, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from controlplane.domain.data_copies import CopiedObject, CopiedPart, Copy, CopyProgress, CopyState
from controlplane.domain.events import Event
from controlplane.domain.ids import CopyId, ProjectId
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.moves import Moves
from controlplane.store.rows import Row, micros, micros_or_none, moment, moment_or_none
from controlplane.store.schema import WORK
from controlplane.store.schema_copies import COPIES, COPY_OBJECTS, COPY_PARTS
from controlplane.store.statements import Statement, bound, fixed, inserted

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
_OBJECT: Final = select(
    _O.copy_id,
    _O.ordinal,
    _O.source_key,
    _O.target_key,
    _O.size_bytes,
    _O.source_etag,
    _O.part_bytes,
    _O.created_at,
    _O.upload_id,
    _O.etag,
    _O.finished_at,
)
_GIVEN_ONCE: Final = frozenset(
    {"project_id", "source", "target", "created_at", "bytes_per_second", "rereads"}
)
_IS_IT: Final = (_O.copy_id == bindparam("copy_id"), _O.ordinal == bindparam("ordinal"))
_OF_IT: Final = (_P.copy_id == bindparam("copy_id"), _P.ordinal == bindparam("ordinal"))

_MOVES: Final = Moves("copy", COPIES, fixed_columns=_GIVEN_ONCE)
_ADD: Final = inserted(COPIES)
_GET: Final = Statement(_COPY.where(_C.id == bindparam("id")))
_UNWATCHED: Final = Statement(
    select(_C.id)
    .where(
        _C.state.in_([fixed(CopyState.PENDING), fixed(CopyState.COPYING)]),
        _C.id > bindparam("after"),
        ~exists().where(WORK.c.noun == fixed("copy"), WORK.c.id == _C.id),
    )
    .order_by(_C.id)
    .limit(bound("limit"))
)
_LATEST_BETWEEN: Final = Statement(
    _COPY.where(_C.target == bindparam("target"), _C.source == bindparam("source"))
    .order_by(_C.created_at.desc(), _C.id.desc())
    .limit(bound("limit"))
)
_ADD_OBJECT: Final = inserted(COPY_OBJECTS)
_SAVE_OBJECT: Final = Statement(
    update(COPY_OBJECTS)
    .where(*_IS_IT)
    .values({column: bindparam(column.name) for column in (_O.upload_id, _O.etag, _O.finished_at)}),
    table=COPY_OBJECTS,
)
_FORGET_OBJECT: Final = Statement(delete(COPY_OBJECTS).where(*_IS_IT), table=COPY_OBJECTS)
_LAST: Final = Statement(
    _OBJECT.where(_O.copy_id == bindparam("copy_id")).order_by(_O.ordinal.desc()).limit(bound("limit"))
)
_OBJECTS: Final = Statement(
    _OBJECT.where(_O.copy_id == bindparam("copy_id"), _O.ordinal > bound("after"))
    .order_by(_O.ordinal)
    .limit(bound("limit"))
)
_NEW_PART: Final = insert_or_update(COPY_PARTS).values({column: bindparam(column.name) for column in _P})
# PostgreSQL's construct serves both: SQLite spells it the same way.
_KEEP: Final = Statement(
    _NEW_PART.on_conflict_do_update(
        index_elements=[_P.copy_id, _P.ordinal, _P.number],
        set_={name: _NEW_PART.excluded[name] for name in ("size_bytes", "sha256", "etag", "crc64")},
    ).inline(),
    table=COPY_PARTS,
)
_PARTS: Final = Statement(
    select(_P.copy_id, _P.ordinal, _P.number, _P.size_bytes, _P.sha256, _P.etag, _P.crc64)
    .where(*_OF_IT)
    .order_by(_P.number)
)
_FORGET_PARTS: Final = Statement(delete(COPY_PARTS).where(*_OF_IT), table=COPY_PARTS)
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
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

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

    def latest_between(self, source: str, target: str) -> Copy | None:
        row = self._link.row(_LATEST_BETWEEN, {"source": source, "target": target, "limit": 1})
        return None if row is None else _copy(row)

    def add_object(self, each: CopiedObject) -> None:
        self._link.change(_ADD_OBJECT, _object_params(each))

    def save_object(self, each: CopiedObject) -> None:
        """Its upload, and that it is finished; the rest never changes."""
        self._link.change(_SAVE_OBJECT, _object_params(each))

    def forget_object(self, each: CopiedObject) -> None:
        """With its parts: it will be begun anew."""
        self.forget_parts(each)
        self._link.change(_FORGET_OBJECT, {"copy_id": each.copy_id, "ordinal": each.ordinal})

    def last_object(self, copy_id: CopyId) -> CopiedObject | None:
        row = self._link.row(_LAST, {"copy_id": copy_id, "limit": 1})
        return None if row is None else _object(row)

    def objects(self, copy_id: CopyId, after: int, limit: int) -> list[CopiedObject]:
        """By ordinal; `after` is the one last seen."""
        params = {"copy_id": copy_id, "after": after, "limit": limit}
        return [_object(row) for row in self._link.rows(_OBJECTS, params)]

    def keep_part(self, part: CopiedPart) -> None:
        """Inserts or replaces."""
        self._link.change(_KEEP, _part_params(part))

    def parts(self, each: CopiedObject) -> list[CopiedPart]:
        """By number."""
        params = {"copy_id": each.copy_id, "ordinal": each.ordinal}
        return [_part(row) for row in self._link.rows(_PARTS, params)]

    def forget_parts(self, each: CopiedObject) -> None:
        self._link.change(_FORGET_PARTS, {"copy_id": each.copy_id, "ordinal": each.ordinal})


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


def _object_params(each: CopiedObject) -> dict[str, object]:
    return {
        "copy_id": each.copy_id,
        "ordinal": each.ordinal,
        "source_key": each.source_key,
        "target_key": each.target_key,
        "size_bytes": each.size_bytes,
        "source_etag": each.source_etag,
        "part_bytes": each.part_bytes,
        "created_at": micros(each.created_at),
        "upload_id": each.upload_id,
        "etag": each.etag,
        "finished_at": micros_or_none(each.finished_at),
    }


def _object(row: Row) -> CopiedObject:
    (copy_id, ordinal, source_key, target_key, size_bytes, source_etag, part_bytes, *rest) = row
    (created_at, upload_id, etag, finished_at) = rest
    return CopiedObject(
        copy_id=CopyId(copy_id),
        ordinal=ordinal,
        source_key=source_key,
        target_key=target_key,
        size_bytes=size_bytes,
        source_etag=source_etag,
        part_bytes=part_bytes,
        created_at=moment(created_at),
        upload_id=upload_id,
        etag=etag,
        finished_at=moment_or_none(finished_at),
    )


def _part_params(part: CopiedPart) -> dict[str, object]:
    return {
        "copy_id": part.copy_id,
        "ordinal": part.ordinal,
        "number": part.number,
        "size_bytes": part.size_bytes,
        "sha256": part.sha256,
        "etag": part.etag,
        "crc64": None if part.crc64 is None else str(part.crc64),
    }


def _part(row: Row) -> CopiedPart:
    (copy_id, ordinal, number, size_bytes, sha256, etag, crc64) = row
    return CopiedPart(
        copy_id=CopyId(copy_id),
        ordinal=ordinal,
        number=number,
        size_bytes=size_bytes,
        sha256=sha256,
        etag=etag,
        crc64=None if crc64 is None else int(crc64),
    )
