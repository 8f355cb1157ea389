"""The floor of the feed: up to where events were pruned. Below it nobody may read on as if nothing were missing."""

from typing import Final

from sqlalchemy import bindparam, select, tuple_
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from controlplane.store.links import Link
from controlplane.store.schema import FEED_FLOOR
from controlplane.store.statements import Statement

_C: Final = FEED_FLOOR.c
_NAME: Final = "events"
_GET: Final = Statement(select(_C.xid, _C.seq).where(_C.name == bindparam("name")))
_NEW: Final = insert_or_update(FEED_FLOOR).values({column: bindparam(column.name) for column in _C})
_RISE: Final = Statement(
    _NEW.on_conflict_do_update(
        index_elements=[_C.name],
        set_={"xid": _NEW.excluded.xid, "seq": _NEW.excluded.seq},
        where=tuple_(_C.xid, _C.seq) < tuple_(_NEW.excluded.xid, _NEW.excluded.seq),
    ).inline(),
    table=FEED_FLOOR,
)


def rise(link: Link, *, xid: int, seq: int) -> None:
    """Up to here; it never sinks."""
    link.change(_RISE, {"name": _NAME, "xid": xid, "seq": seq})


def height(link: Link) -> tuple[int, int]:
    """The last place that was pruned."""
    row = link.row(_GET, {"name": _NAME})
    return (0, 0) if row is None else (row[0], row[1])
