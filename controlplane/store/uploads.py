"""Uploads' table: which content is kept in the object store."""

from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert as insert_or_not

from controlplane.store.links import Link
from controlplane.store.rows import micros, moment
from controlplane.store.schema import UPLOADS
from controlplane.store.statements import Statement
from controlplane.store.views import UploadRow

_C: Final = UPLOADS.c
_ADD: Final = Statement(
    insert_or_not(UPLOADS)
    .values({column: bindparam(column.name) for column in _C})
    .on_conflict_do_nothing()
    .inline(),
    table=UPLOADS,
)
_GET: Final = Statement(
    select(_C.digest, _C.size_bytes, _C.created_at).where(_C.digest == bindparam("digest"))
)


class Uploads:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, digest: str, size_bytes: int, at: datetime) -> None:
        """Content that is known already stays as it is."""
        self._link.change(_ADD, {"digest": digest, "size_bytes": size_bytes, "created_at": micros(at)})

    def get(self, digest: str) -> UploadRow | None:
        row = self._link.row(_GET, {"digest": digest})
        return None if row is None else UploadRow(digest=row[0], size_bytes=row[1], created_at=moment(row[2]))
