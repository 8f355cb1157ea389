"""Copied objects' table: what each copy has found to copy, and the parts that have arrived."""

from typing import Final

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from controlplane.domain.data_copies import CopiedObject, CopiedPart, CopyState
from controlplane.domain.ids import CopyId
from controlplane.store.links import Link
from controlplane.store.rows import Row, micros, micros_or_none, moment, moment_or_none
from controlplane.store.schema_copies import COPIES, COPY_OBJECTS, COPY_PARTS
from controlplane.store.statements import Statement, bound, fixed, inserted

_O: Final = COPY_OBJECTS.c
_P: Final = COPY_PARTS.c
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
_IS_IT: Final = (_O.copy_id == bindparam("copy_id"), _O.ordinal == bindparam("ordinal"))
_OF_IT: Final = (_P.copy_id == bindparam("copy_id"), _P.ordinal == bindparam("ordinal"))

_DROP: Final = Statement(
    delete(COPY_OBJECTS).where(_O.copy_id == bindparam("copy_id"), _O.ordinal > bound("after")),
    table=COPY_OBJECTS,
)
_DROP_PARTS: Final = Statement(
    delete(COPY_PARTS).where(_P.copy_id == bindparam("copy_id"), _P.ordinal > bound("after")),
    table=COPY_PARTS,
)
_ADD: Final = inserted(COPY_OBJECTS)
_SAVE: Final = Statement(
    update(COPY_OBJECTS)
    .where(*_IS_IT)
    .values({column: bindparam(column.name) for column in (_O.upload_id, _O.etag, _O.finished_at)}),
    table=COPY_OBJECTS,
)
_FORGET: Final = Statement(delete(COPY_OBJECTS).where(*_IS_IT), table=COPY_OBJECTS)
_LAST: Final = Statement(
    _OBJECT.where(_O.copy_id == bindparam("copy_id")).order_by(_O.ordinal.desc()).limit(bound("limit"))
)
_LATER: Final = COPY_OBJECTS.alias("later")
_UPLOADS_OF_OTHERS: Final = Statement(
    select(_O.upload_id)
    .join(COPIES, COPIES.c.id == _O.copy_id)
    .where(
        COPIES.c.state.in_([fixed(CopyState.PENDING), fixed(CopyState.COPYING)]),
        COPIES.c.id != bindparam("copy_id"),
        # Only the last object of a copy is under way, and open copies are few.
        _O.ordinal
        == select(func.max(_LATER.c.ordinal)).where(_LATER.c.copy_id == COPIES.c.id).scalar_subquery(),
        _O.target_key == bindparam("target_key"),
        _O.upload_id.is_not(None),
        _O.finished_at.is_(None),
    )
)
_PAGE: Final = Statement(
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


class CopiedObjects:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, each: CopiedObject) -> None:
        self._link.change(_ADD, _params(each))

    def save(self, each: CopiedObject) -> None:
        """Its upload, and that it is finished; the rest never changes."""
        self._link.change(_SAVE, _params(each))

    def forget(self, each: CopiedObject) -> None:
        """With its parts: it will be begun anew."""
        self.forget_parts(each)
        self._link.change(_FORGET, {"copy_id": each.copy_id, "ordinal": each.ordinal})

    def forget_after(self, copy_id: CopyId, after: int) -> None:
        """All that have a higher ordinal, with their parts."""
        params = {"copy_id": copy_id, "after": after}
        self._link.change(_DROP_PARTS, params)
        self._link.change(_DROP, params)

    def last(self, copy_id: CopyId) -> CopiedObject | None:
        row = self._link.row(_LAST, {"copy_id": copy_id, "limit": 1})
        return None if row is None else _object(row)

    def uploads_of_others(self, copy_id: CopyId, target_key: str) -> frozenset[str]:
        """What other open copies have under way at such a key, in whatever store."""
        params = {"copy_id": copy_id, "target_key": target_key}
        return frozenset(row[0] for row in self._link.rows(_UPLOADS_OF_OTHERS, params))

    def of_copy(self, copy_id: CopyId, after: int, limit: int) -> list[CopiedObject]:
        """By ordinal; `after` is the one last seen."""
        params = {"copy_id": copy_id, "after": after, "limit": limit}
        return [_object(row) for row in self._link.rows(_PAGE, params)]

    def keep_part(self, part: CopiedPart) -> None:
        """Inserts or replaces."""
        self._link.change(_KEEP, _part_params(part))

    def parts(self, each: CopiedObject) -> list[CopiedPart]:
        """By number."""
        params = {"copy_id": each.copy_id, "ordinal": each.ordinal}
        return [_part(row) for row in self._link.rows(_PARTS, params)]

    def forget_parts(self, each: CopiedObject) -> None:
        self._link.change(_FORGET_PARTS, {"copy_id": each.copy_id, "ordinal": each.ordinal})


def _params(each: CopiedObject) -> dict[str, object]:
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
