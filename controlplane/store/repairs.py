"""Repairs: the few writes that put rows right which no ordinary move would touch again. Safe at any time, twice too."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, func, insert, literal_column, select, union_all, update

from controlplane.domain.attempts import AttemptState
from controlplane.domain.events import Event
from controlplane.domain.ids import AttemptId, NodeId
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.nodes import Nodes
from controlplane.store.schema import ATTEMPTS, JOB_COUNT_CHANGES, JOB_COUNTS, JOBS, SEATS
from controlplane.store.statements import Statement, fixed

_S: Final = SEATS.c
_KEY: Final = ("project_id", "queue_id", "state", "kind")
_ENDED: Final = select(ATTEMPTS.c.id).where(
    ATTEMPTS.c.id == bindparam("id"), ATTEMPTS.c.state == fixed(AttemptState.ENDED)
)
_RELEASE: Final = Statement(
    update(SEATS)
    .where(_S.attempt_id.in_(_ENDED), _S.released_at.is_(None))
    .values(released_at=bindparam("released_at"))
    .returning(_S.node_id),
    table=SEATS,
)
_SIGNED: Final = union_all(
    *(
        select(*(table.c[name] for name in _KEY), (-table.c.jobs).label("jobs"))
        for table in (JOB_COUNTS, JOB_COUNT_CHANGES)
    ),
    select(*(JOBS.c[name] for name in _KEY), func.count().label("jobs")).group_by(
        *(JOBS.c[name] for name in _KEY)
    ),
).subquery("signed")
_MISCOUNT: Final = (
    select(*(_SIGNED.c[name] for name in _KEY), func.sum(_SIGNED.c.jobs))
    .group_by(*(_SIGNED.c[name] for name in _KEY))
    .having(literal_column("0") != func.sum(_SIGNED.c.jobs))
)
# One statement sees one snapshot, in which jobs and counts belong together whoever else is writing.
_RECOUNT: Final = Statement(
    insert(JOB_COUNT_CHANGES).from_select([*_KEY, "jobs"], _MISCOUNT), table=JOB_COUNT_CHANGES
)


class Repairs:
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def release_seats(self, attempt_id: AttemptId) -> int:
        """Of an attempt that has ended; the count. Tells of the nodes, so that the scheduler knows of the room."""
        rows = self._link.rows(_RELEASE, {"id": attempt_id, "released_at": self._link.now_us})
        self._tell_of([NodeId(row[0]) for row in rows])
        return len(rows)

    def recount(self) -> int:
        """Adds to the counts of jobs what they lack; in how many buckets."""
        return self._link.change(_RECOUNT, {})

    def _tell_of(self, node_ids: Sequence[NodeId]) -> None:
        for node in Nodes(self._link).by_ids(sorted(set(node_ids))).values():
            data = {"cluster_id": node.cluster_id, "name": node.name}
            self._events.add(Event(kind="node.changed", subject=node.id, at=self._link.now, data=data))
