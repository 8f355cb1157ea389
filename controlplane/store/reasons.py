"""Reasons' table: why the asks of a class wait."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, or_, select
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from controlplane.domain.ids import ClassId
from controlplane.store.links import Link
from controlplane.store.rows import micros, moment
from controlplane.store.schema import ASKS, REASONS
from controlplane.store.statements import Statement, bound, is_in, listed
from controlplane.store.views import ReasonRow

_C: Final = REASONS.c
_NEW: Final = insert_or_update(REASONS).values({column: bindparam(column.name) for column in _C})
_OTHER: Final = _NEW.excluded
_PUT: Final = Statement(
    _NEW.on_conflict_do_update(
        index_elements=[_C.class_id],
        set_={column.name: column for column in _OTHER if column.name != "class_id"},
        where=or_(_C.code != _OTHER.code, _C.sentence != _OTHER.sentence, _C.remedy != _OTHER.remedy),
    ).inline(),
    table=REASONS,
)
_GET: Final = Statement(
    select(_C.class_id, _C.code, _C.sentence, _C.remedy, _C.at).where(_C.class_id == bindparam("class_id"))
)
_UNUSED: Final = Statement(
    select(_C.class_id)
    .where(_C.at < bound("before"), _C.class_id.not_in(select(ASKS.c.class_id)))
    .order_by(_C.class_id)
    .limit(bound("limit"))
)
_DROP: Final = Statement(delete(REASONS).where(is_in(_C.class_id, "ids")), table=REASONS)


class Reasons:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def put(self, class_id: ClassId, code: str, sentence: str, remedy: str, at: datetime) -> bool:
        """Only a change is written, so `at` says since when; returns whether it was one."""
        row = ReasonRow(class_id=class_id, code=code, sentence=sentence, remedy=remedy, at=at)
        return self.put_many([row]) == 1

    def put_many(self, rows: Sequence[ReasonRow]) -> int:
        """At most one of each class; how many of them were a change."""
        return self._link.change_all(_PUT, [_params(row) for row in rows])

    def get(self, class_id: ClassId) -> ReasonRow | None:
        row = self._link.row(_GET, {"class_id": class_id})
        if row is None:
            return None
        id_, code, sentence, remedy, at = row
        return ReasonRow(class_id=ClassId(id_), code=code, sentence=sentence, remedy=remedy, at=moment(at))

    def unused(self, before: datetime, limit: int) -> list[ClassId]:
        """Those that have not changed since then, and of whose class nothing is known any more. Reads all asks."""
        rows = self._link.rows(_UNUSED, {"before": micros(before), "limit": limit})
        return [ClassId(row[0]) for row in rows]

    def drop(self, class_ids: Sequence[ClassId]) -> int:
        return self._link.change(_DROP, {"ids": listed(class_ids)})


def _params(row: ReasonRow) -> dict[str, object]:
    return {
        "class_id": row.class_id,
        "code": row.code,
        "sentence": row.sentence,
        "remedy": row.remedy,
        "at": micros(row.at),
    }
