"""The floor of the feed: up to where events were pruned. Below it nobody may read on as if nothing were missing.

A second row tells of a database that was restored into another PostgreSQL server, where transactions are numbered
anew: its events then belong to transaction 0, in the order of their own numbers, and this row has the last of those.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from controlplane.store.links import Link
from controlplane.store.schema import EVENTS, FEED_FLOOR
from controlplane.store.statements import Statement, bound, fixed, next_xid

_C: Final = FEED_FLOOR.c
_PRUNED: Final = "events"
_RESTORED: Final = "restored"
_GET: Final = Statement(select(_C.name, _C.xid, _C.seq))
_NEW: Final = insert_or_update(FEED_FLOOR).values({column: bindparam(column.name) for column in _C})
_RISE: Final = Statement(
    _NEW.on_conflict_do_update(
        index_elements=[_C.name],
        set_={"xid": _NEW.excluded.xid, "seq": _NEW.excluded.seq},
        where=tuple_(_C.xid, _C.seq) < tuple_(_NEW.excluded.xid, _NEW.excluded.seq),
    ).inline(),
    table=FEED_FLOOR,
)
_MARK: Final = Statement(_NEW.on_conflict_do_nothing().inline(), table=FEED_FLOOR)
_LOCK: Final = Statement(select(_C.seq).where(_C.name == bindparam("name")).with_for_update())
_NEWEST: Final = Statement(
    select(next_xid(), func.coalesce(select(func.max(EVENTS.c.xid)).scalar_subquery(), 0))
)
_RENUMBER_EVENTS: Final = Statement(
    update(EVENTS).where(EVENTS.c.xid > bound("none")).values(xid=bound("none")), table=EVENTS
)
# Whatever is kept now lies behind the floor, in the new order too.
_RENUMBER_FLOOR: Final = Statement(
    update(FEED_FLOOR)
    .where(_C.name == fixed(_PRUNED), _C.xid > bound("none"))
    .values(
        xid=bound("none"),
        seq=func.least(_C.seq, func.coalesce(select(func.min(EVENTS.c.seq) - 1).scalar_subquery(), _C.seq)),
    ),
    table=FEED_FLOOR,
)
_REMEMBER: Final = Statement(
    update(FEED_FLOOR)
    .where(_C.name == fixed(_RESTORED))
    .values(seq=select(func.coalesce(func.max(EVENTS.c.seq), 0)).scalar_subquery()),
    table=FEED_FLOOR,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    xid: int
    seq: int
    """The last place that was pruned; zeros: none ever was."""

    restored: int
    """The number of the newest event that came from another server; 0: none did."""


def rise(link: Link, *, xid: int, seq: int) -> None:
    """Up to here; it never sinks but in `settle`."""
    link.change(_RISE, {"name": _PRUNED, "xid": xid, "seq": seq})


def read(link: Link) -> Floor:
    rows = {name: (xid, seq) for name, xid, seq in link.rows(_GET)}
    xid, seq = rows.get(_PRUNED, (0, 0))
    _, restored = rows.get(_RESTORED, (0, 0))
    return Floor(xid=xid, seq=seq, restored=restored)


def is_of_another_server(link: Link) -> bool:
    """Whether events name transactions that this server has yet to come to: readers would wait until it does."""
    row = link.row(_NEWEST)
    following, newest = row if row is not None else (1, 0)
    return bool(max(newest, read(link).xid) >= following)


def settle(link: Link) -> None:
    """Gives all events of another server to transaction 0, before all that this one will number."""
    # Of several processes that start at once the others wait here, and find it done.
    link.change(_MARK, {"name": _RESTORED, "xid": 0, "seq": 0})
    link.row(_LOCK, {"name": _RESTORED})
    if not is_of_another_server(link):
        return
    link.change(_RENUMBER_EVENTS, {"none": 0})
    link.change(_RENUMBER_FLOOR, {"none": 0})
    link.change(_REMEMBER, {})
