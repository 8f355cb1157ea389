"""Placements: a plan is a proposal; here it is checked against the rows of this moment and committed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from controlplane.domain.amounts import Amounts
from controlplane.domain.attempts import Attempt, AttemptState, Seat
from controlplane.domain.clusters import Cluster, Node
from controlplane.domain.errors import StaleWrite
from controlplane.domain.ids import AskId, AttemptId, ClusterId, JobId, NodeId
from controlplane.domain.jobs import Ask, Job, JobState
from controlplane.domain.leases import Lease
from controlplane.store import ReasonRow, Tx
from schedulers.base import Defer, Place

BATCH = 50
"""Placings per transaction: more would cost hardly less for each, and keep other writers of SQLite waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A placing that the rows of this moment did not allow; the next plan knows better."""

    place: Place
    why: str


def apply_places(tx: Tx, lease: Lease, places: Sequence[Place]) -> tuple[Refusal, ...]:
    """Commits each placing whole, or refuses it alone. Raises `StaleWrite` when the lease was lost."""
    tx.leases.fence(lease)
    seen = _Seen.load(tx, places)
    granted, refusals = _judged(seen, _Floor(tx), places)
    try:
        with tx.savepoint():
            _commit(tx, seen, granted)
    except StaleWrite:  # somebody else changed one of the jobs since they were loaded
        return tuple(_one_by_one(tx, places))
    return tuple(refusals)


def note_defers(tx: Tx, lease: Lease, defers: Sequence[Defer]) -> None:
    tx.leases.fence(lease)
    tx.reasons.put_many(
        [
            ReasonRow(
                class_id=defer.class_id,
                code=str(defer.code),
                sentence=defer.sentence,
                remedy=defer.remedy,
                at=tx.now,
            )
            for defer in defers
        ]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The rows that placings rest on."""

    asks: Mapping[AskId, Ask]
    jobs: Mapping[JobId, Job]
    numbers: Mapping[JobId, int]
    """Of the newest attempt."""

    @classmethod
    def load(cls, tx: Tx, places: Sequence[Place]) -> Self:
        asks = tx.asks.many([place.ask_id for place in places])
        job_ids = list(dict.fromkeys(ask.job_id for ask in asks.values()))
        jobs = {job.id: job for job in tx.jobs.many(job_ids)}
        return cls(asks=asks, jobs=jobs, numbers=tx.attempts.newest_numbers(job_ids))

    def is_queued(self, place: Place) -> bool:
        ask = self.asks.get(place.ask_id)
        job = self.jobs.get(ask.job_id) if ask else None
        return job is not None and job.state is JobState.QUEUED and job.cancel_requested_at is None


def _judged(seen: _Seen, floor: "_Floor", places: Sequence[Place]) -> tuple[list[Place], list[Refusal]]:
    """In plan order; what is granted is booked, so what comes behind it is judged by what is left."""
    granted: list[Place] = []
    refusals: list[Refusal] = []
    for place in places:
        if isinstance(left := _judgement(seen, floor, place), str):
            refusals.append(Refusal(place=place, why=left))
        else:
            floor.free.update(left)
            granted.append(place)
    return granted, refusals


def _judgement(seen: _Seen, floor: "_Floor", place: Place) -> "_Left | str":
    if not seen.is_queued(place):
        return "it is no longer queued"
    return floor.judgement(place, seen.asks[place.ask_id])


def _one_by_one(tx: Tx, places: Sequence[Place]) -> Iterator[Refusal]:
    """Rows are loaded anew for each, and only what was committed is booked."""
    floor = _Floor(tx)
    for place in places:
        seen = _Seen.load(tx, [place])
        if isinstance(left := _judgement(seen, floor, place), str):
            yield Refusal(place=place, why=left)
            continue
        try:
            with tx.savepoint():
                _commit(tx, seen, [place])
        except StaleWrite as stale:
            yield Refusal(place=place, why=stale.message)
        else:
            floor.free.update(left)


def _commit(tx: Tx, seen: _Seen, places: Sequence[Place]) -> None:
    asks = [seen.asks[place.ask_id] for place in places]
    jobs = [seen.jobs[ask.job_id] for ask in asks]
    tx.jobs.save_many(  # first: this is what another writer may have changed
        [job.move(JobState.ACTIVE, at=tx.now) for job in jobs]
    )
    new = [
        _attempt(place, ask, job, number=seen.numbers.get(job.id, 0) + 1, at=tx.now)
        for place, ask, job in zip(places, asks, jobs, strict=True)
    ]
    tx.attempts.add_many(new)
    tx.work.poke_many("attempt", [attempt.id for attempt, _ in new])


def _attempt(place: Place, ask: Ask, job: Job, *, number: int, at: datetime) -> tuple[Attempt, list[Seat]]:
    attempt = Attempt(
        id=AttemptId(f"{job.id}-a{number}"),
        job_id=job.id,
        ask_id=ask.id,
        project_id=job.project_id,
        cluster_id=place.cluster_id,
        number=number,
        state=AttemptState.PLACED,
        since=at,
        placed_at=at,
    )
    seats = [
        Seat(attempt_id=attempt.id, rank=each.rank, node_id=each.node_id, amounts=ask.amounts)
        for each in place.seats
    ]
    return attempt, seats


_Left = dict[NodeId, Amounts]
"""What a placing would leave of the nodes that it takes from."""


@dataclass(slots=True)
class _Floor:
    """Clusters, nodes and free amounts as this transaction sees them, loaded when first asked for."""

    tx: Tx
    clusters: dict[ClusterId, Cluster | None] = field(default_factory=dict)
    nodes: dict[NodeId, Node] = field(default_factory=dict)
    free: _Left = field(default_factory=dict)

    def judgement(self, place: Place, ask: Ask) -> _Left | str:
        """What it leaves, or why it cannot be."""
        cluster = self._cluster(place.cluster_id)
        if cluster is None or not cluster.takes_tasks:
            return "the cluster takes no tasks now"
        if [seat.rank for seat in place.seats] != list(range(ask.tasks)):
            return f"{len(place.seats)} seats for {ask.tasks} tasks"
        left: _Left = {}
        for seat in place.seats:
            node = self.nodes.get(seat.node_id)
            if node is None or node.cluster_id != place.cluster_id or node.cordoned_at is not None:
                return f"node {seat.node_id} is gone or cordoned"
            free = left.get(node.id, self.free[node.id])
            if not ask.amounts.fits_in(free):
                return f"node {node.id} has no room any more"
            left[node.id] = free.minus(ask.amounts)
        return left

    def _cluster(self, cluster_id: ClusterId) -> Cluster | None:
        if cluster_id not in self.clusters:
            self.clusters[cluster_id] = self.tx.clusters.get(cluster_id)
            booked = self.tx.nodes.booked(cluster_id)
            for node in self.tx.nodes.present(cluster_id):
                self.nodes[node.id] = node
                self.free[node.id] = node.allocatable.minus(node.foreign).minus(
                    booked.get(node.id, Amounts())
                )
        return self.clusters[cluster_id]
