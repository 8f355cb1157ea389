"""Audits: what the invariants need to see of the books, gathered by job and by floor."""

from typing import Final

from sqlalchemy import bindparam, select

from controlplane.domain.events import Event
from controlplane.domain.ids import AttemptId, JobId, NodeId
from controlplane.domain.invariants import BookedSeat, Dossier, Floor
from controlplane.store.asks import Asks
from controlplane.store.attempts import Attempts
from controlplane.store.clusters import Clusters
from controlplane.store.events import Events
from controlplane.store.jobs import Jobs
from controlplane.store.links import Link
from controlplane.store.nodes import Nodes
from controlplane.store.rows import Row, amounts_of, moment_or_none
from controlplane.store.schema import ATTEMPTS, JOBS, SEATS
from controlplane.store.statements import Statement, bound

MOST_EVENTS: Final = 100_000
"""Of one job: its own and its attempts' moves, checkpoints and so on."""

_S: Final = SEATS.c
_SEATS: Final = Statement(
    select(
        _S.attempt_id,
        _S.rank,
        _S.node_id,
        _S.released_at,
        _S.cpu_milli,
        _S.memory_bytes,
        _S.gpu_milli,
        _S.custom_milli,
    )
    .join(ATTEMPTS, ATTEMPTS.c.id == _S.attempt_id)
    .where(ATTEMPTS.c.job_id == bindparam("job_id"))
    .order_by(_S.attempt_id, _S.rank)
)
_JOB_IDS: Final = Statement(
    select(JOBS.c.id).where(JOBS.c.id > bindparam("after")).order_by(JOBS.c.id).limit(bound("limit"))
)


class Audits:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def job_ids(self, after: JobId | None, limit: int) -> list[JobId]:
        """A page of all jobs, by id, from behind `after`."""
        return [JobId(row[0]) for row in self._link.rows(_JOB_IDS, {"after": after or "", "limit": limit})]

    def dossier(self, job_id: JobId) -> Dossier | None:
        job = Jobs(self._link).get(job_id)
        if job is None:
            return None
        ask = Asks(self._link).of_job(job_id)
        return Dossier(
            job=job,
            asks=() if ask is None else (ask,),
            attempts=tuple(Attempts(self._link).of_job(job_id)),
            seats=tuple(_seat(row) for row in self._link.rows(_SEATS, {"job_id": job_id})),
            events=self._events(job_id),
        )

    def floor(self) -> Floor:
        nodes = Nodes(self._link)
        return Floor(
            clusters={cluster.id: cluster for cluster in Clusters(self._link).list()},
            nodes={node.id: node for node in nodes.present()},
            booked=nodes.booked(),
        )

    def _events(self, job_id: JobId) -> tuple[Event, ...]:
        found, _ = Events(self._link).after(None, MOST_EVENTS, job_id=job_id)
        return tuple(event for _, event in found)


def _seat(row: Row) -> BookedSeat:
    attempt_id, rank, node_id, released_at, *amounts = row
    return BookedSeat(
        attempt_id=AttemptId(attempt_id),
        rank=rank,
        node_id=NodeId(node_id),
        amounts=amounts_of(*amounts),
        released_at=moment_or_none(released_at),
    )
