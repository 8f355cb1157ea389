"""Events' table: the change feed, read by a cursor that loses nothing and repeats nothing.

On PostgreSQL a row with a smaller number may be committed later, so the feed is ordered by (transaction, seq) and ends
below the oldest transaction that is still open. On SQLite the transaction is always 0.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final, Self

from sqlalchemy import bindparam, func, insert, select

from controlplane.domain.errors import Invalid, NoLongerKept
from controlplane.domain.events import Event
from controlplane.domain.ids import ProjectId
from controlplane.store import feed_floor
from controlplane.store.links import Link
from controlplane.store.rows import Row, micros, moment, packed, remembered, unpacked
from controlplane.store.schema import EVENTS
from controlplane.store.statements import Statement, bound, in_feed, is_in, listed, oldest_open_xid, own_xid

MOST_DATA_REMEMBERED: Final = 1024
"""Things that move together say the same about it."""

_C: Final = EVENTS.c
_ADD: Final = Statement(
    insert(EVENTS)
    .values(
        {
            _C.xid: own_xid(),
            **{
                column: bindparam(column.name)
                for column in (_C.kind, _C.subject, _C.at, _C.project_id, _C.job_id, _C.data)
            },
        }
    )
    .inline(),
    table=EVENTS,
)
_HORIZON: Final = Statement(
    select(oldest_open_xid(), func.coalesce(select(func.max(_C.seq)).scalar_subquery(), 0))
)


_BETWEEN: Final = in_feed(_C.xid, _C.seq)
_SUBJECTS: Final = Statement(
    select(_C.xid, _C.seq, _C.kind, _C.subject).where(_BETWEEN).order_by(_C.xid, _C.seq).limit(bound("limit"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place between two events."""

    xid: int
    seq: int

    def __str__(self) -> str:
        """Carries a checksum: a reader that edits it shall hear of it instead of missing events."""
        body = f"{self.xid:x}.{self.seq:x}"
        return f"{body}.{zlib.crc32(body.encode()):08x}"

    @classmethod
    def parse(cls, text: str) -> Self:
        body, _, _ = text.rpartition(".")
        xid, _, seq = body.partition(".")
        try:
            cursor = cls(xid=int(xid, 16), seq=int(seq, 16))
        except ValueError as wrong:
            raise Invalid("after is not a cursor of ours", field="after", value=text) from wrong
        if str(cursor) != text:
            raise Invalid("after is not a cursor of ours", field="after", value=text)
        return cursor


class Events:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, *events: Event) -> None:
        """In this order."""
        self._link.change_all(_ADD, [_params(event) for event in events])

    def after(
        self,
        cursor: str | None,
        limit: int,
        *,
        project_ids: tuple[ProjectId, ...] | None = None,
        job_id: str | None = None,
    ) -> tuple[list[tuple[str, Event]], str]:
        """Events with the cursor behind each, and the cursor to go on from, also where the filter left none.

        Without a cursor from the oldest event that is kept. Raises `NoLongerKept` where some behind it were pruned, and
        for a place that a restored database does not know.
        """
        head = self._head()
        start = self._start(cursor, head)
        params: dict[str, object] = {
            "xid": start.xid,
            "seq": start.seq,
            "head_xid": head.xid,
            "head_seq": head.seq,
        }
        params |= {"limit": limit, "project_ids": listed(project_ids or ()), "job_id": job_id}
        rows = self._link.rows(
            _after(of_projects=project_ids is not None, of_a_job=job_id is not None), params
        )
        found = [(str(Cursor(xid=row[0], seq=row[1])), _event(row)) for row in rows]
        is_more = len(found) == limit
        return found, found[-1][0] if is_more and found else str(max(start, head, key=_place))

    def subjects_after(self, cursor: str, limit: int) -> tuple[list[tuple[str, str]], str]:
        """As `after`, of each event only what kind it is and what it speaks of: for who looks at the rows anyway."""
        head = self._head()
        start = self._start(cursor, head)
        params = {
            "xid": start.xid,
            "seq": start.seq,
            "head_xid": head.xid,
            "head_seq": head.seq,
            "limit": limit,
        }
        rows = self._link.rows(_SUBJECTS, params)
        last = (
            Cursor(xid=rows[-1][0], seq=rows[-1][1]) if len(rows) == limit else max(start, head, key=_place)
        )
        return [(row[2], row[3]) for row in rows], str(last)

    def head(self) -> str:
        """The cursor of now: behind all that `after` would give."""
        return str(self._head())

    def is_of_another_server(self) -> bool:
        """Whether the database was restored into a server that numbers its transactions anew."""
        return feed_floor.is_of_another_server(self._link)

    def settle(self) -> None:
        """Then: lets the feed go on here behind all that it has. Takes as long as writing every event anew."""
        feed_floor.settle(self._link)

    def _start(self, cursor: str | None, head: Cursor) -> Cursor:
        """Where to read on. Raises `NoLongerKept`."""
        kept = feed_floor.read(self._link)
        floor = Cursor(xid=kept.xid, seq=kept.seq)
        if cursor is None:
            return floor
        start = Cursor.parse(cursor)
        if _place(start) < _place(floor):
            raise _no_longer_kept(cursor, floor, f"events up to {floor} were pruned")
        # Heads only rise, and in this server's life none was below the number of the newest event it began with.
        is_ahead = _place(start) > max(_place(floor), _place(head))
        if is_ahead or (start.xid and start.seq < kept.restored):
            raise _no_longer_kept(
                cursor, floor, "the database was restored, and knows no such place in its feed"
            )
        return start

    def _head(self) -> Cursor:
        row = self._link.row(_HORIZON)
        oldest_open, newest_seq = row if row is not None else (0, 0)
        return Cursor(xid=oldest_open - 1, seq=newest_seq)


def _no_longer_kept(cursor: str, floor: Cursor, why: str) -> NoLongerKept:
    return NoLongerKept(
        f"{why}; read on from {floor}, or from the beginning without a cursor",
        field="after",
        value=cursor,
        limit=str(floor),
    )


def _place(cursor: Cursor) -> tuple[int, int]:
    return cursor.xid, cursor.seq


@cache
def _after(*, of_projects: bool, of_a_job: bool) -> Statement:
    query = (
        select(_C.xid, _C.seq, _C.kind, _C.subject, _C.at, _C.project_id, _C.job_id, _C.data)
        .where(_BETWEEN)
        .order_by(_C.xid, _C.seq)
        .limit(bound("limit"))
    )
    if of_projects:
        query = query.where(is_in(_C.project_id, "project_ids"))
    if of_a_job:
        query = query.where(_C.job_id == bindparam("job_id"))
    return Statement(query)


def _params(event: Event) -> dict[str, object]:
    return {
        "kind": event.kind,
        "subject": event.subject,
        "at": micros(event.at),
        "project_id": event.project_id,
        "job_id": event.job_id,
        "data": _data(event.data),
    }


def _data(data: Mapping[str, object]) -> str:
    try:
        return _plain_data(tuple(data), *data.values())
    except TypeError:  # there are lists or objects in it
        return packed(dict(data))


# Typed: 1 and true are equal, and not the same JSON.
@lru_cache(maxsize=MOST_DATA_REMEMBERED, typed=True)
def _plain_data(names: tuple[str, ...], *values: object) -> str:
    return packed(dict(zip(names, values, strict=True)))


@remembered
def _event(row: Row) -> Event:
    _, _, kind, subject, at, project_id, job_id, data = row
    return Event(
        kind=kind,
        subject=subject,
        at=moment(at),
        project_id=None if project_id is None else ProjectId(project_id),
        job_id=job_id,
        data=unpacked(data),
    )
