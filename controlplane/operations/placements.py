"""Placements: a plan is a proposal; here it is checked against the rows of this moment and committed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from controlplane.domain.amounts import Amounts
from controlplane.domain.attempts import Attempt, AttemptState, Seat
from controlplane.domain.clusters import Cluster, Node
from controlplane.domain.errors import StaleWrite
from controlplane.domain.ids import AttemptId, ClusterId, NodeId
from controlplane.domain.jobs import Ask, Job, JobState
from controlplane.domain.leases import Lease
from controlplane.store import Tx
from schedulers.base import Defer, Place

BATCH = 200
"""Placings per transaction: more would keep other writers of SQLite waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A placing that the rows of this moment did not allow; the next plan knows better."""

    place: Place
    why: str


def apply_places(tx: Tx, lease: Lease, places: Sequence[Place]) -> tuple[Refusal, ...]:
    """Commits each placing whole, or refuses it alone. Raises `StaleWrite` when the lease was lost."""
    tx.leases.fence(lease)
    floor = _Floor(tx)
    return tuple(_refusals(tx, floor, places))


def note_defers(tx: Tx, lease: Lease, defers: Sequence[Defer]) -> None:
    tx.leases.fence(lease)
    for defer in defers:
        tx.reasons.put(defer.class_id, str(defer.code), defer.sentence, defer.remedy, tx.now)


def _refusals(tx: Tx, floor: "_Floor", places: Sequence[Place]) -> Iterator[Refusal]:
    for place in places:
        ask = tx.asks.get(place.ask_id)
        job = tx.jobs.get(ask.job_id) if ask else None
        if ask is None or job is None or job.state is not JobState.QUEUED or job.cancel_requested_at:
            yield Refusal(place=place, why="it is no longer queued")
        elif why := floor.objection(place, ask):
            yield Refusal(place=place, why=why)
        else:
            try:
                _commit(tx, place, ask, job)
            except StaleWrite as stale:
                yield Refusal(place=place, why=stale.message)
            else:
                floor.book(place, ask)


def _commit(tx: Tx, place: Place, ask: Ask, job: Job) -> None:
    number = len(tx.attempts.of_job(job.id)) + 1
    attempt_id = AttemptId(f"{job.id}-a{number}")
    tx.jobs.save(job.move(JobState.ACTIVE, at=tx.now))  # first: this is what another writer may have changed
    attempt = Attempt(
        id=attempt_id,
        job_id=job.id,
        ask_id=ask.id,
        project_id=job.project_id,
        cluster_id=place.cluster_id,
        number=number,
        state=AttemptState.PLACED,
        since=tx.now,
        placed_at=tx.now,
    )
    seats = [
        Seat(attempt_id=attempt_id, rank=each.rank, node_id=each.node_id, amounts=ask.amounts)
        for each in place.seats
    ]
    tx.attempts.add(attempt, seats)
    tx.work.poke("attempt", attempt_id)


@dataclass(slots=True)
class _Floor:
    """Clusters, nodes and free amounts as this transaction sees them, loaded when first asked for."""

    tx: Tx
    clusters: dict[ClusterId, Cluster | None] = field(default_factory=dict)
    nodes: dict[NodeId, Node] = field(default_factory=dict)
    free: dict[NodeId, Amounts] = field(default_factory=dict)

    def objection(self, place: Place, ask: Ask) -> str | None:
        cluster = self._cluster(place.cluster_id)
        if cluster is None or not cluster.takes_tasks:
            return "the cluster takes no tasks now"
        if [seat.rank for seat in place.seats] != list(range(ask.tasks)):
            return f"{len(place.seats)} seats for {ask.tasks} tasks"
        left = dict(self.free)
        for seat in place.seats:
            node = self.nodes.get(seat.node_id)
            if node is None or node.cluster_id != place.cluster_id or node.cordoned_at is not None:
                return f"node {seat.node_id} is gone or cordoned"
            if not ask.amounts.fits_in(left[node.id]):
                return f"node {node.id} has no room any more"
            left[node.id] = left[node.id].minus(ask.amounts)
        return None

    def book(self, place: Place, ask: Ask) -> None:
        for seat in place.seats:
            self.free[seat.node_id] = self.free[seat.node_id].minus(ask.amounts)

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
