"""Placements: a plan is a proposal; here it is checked against the rows of this moment and committed."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Self

from controlplane.domain.amounts import Amounts
from controlplane.domain.attempts import Attempt, AttemptState, Seat
from controlplane.domain.claims import SHARED, CapacityType, Claim, ClaimState, Share
from controlplane.domain.clusters import Cluster, Node
from controlplane.domain.errors import Bug, StaleWrite
from controlplane.domain.ids import AskId, AttemptId, ClaimId, ClusterId, JobId, NodeId
from controlplane.domain.jobs import Ask, Job, JobState
from controlplane.domain.leases import Lease
from controlplane.operations.homes import home_of, sited
from controlplane.store import ReasonRow, Tx
from schedulers.base import Defer, Place

LENT = "lent"
"""The machine type of a claim that is built on nodes which its cluster lends."""

BATCH = 50
"""Placings per transaction: more would cost hardly less for each, and keep other writers of SQLite waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A placing that the rows of this moment did not allow; the next plan knows better."""

    place: Place
    why: str


def apply_places(
    tx: Tx, lease: Lease, places: Sequence[Place], *, builders: AbstractSet[str] = frozenset()
) -> tuple[Refusal, ...]:
    """Commits each placing whole, or refuses it alone. Raises `StaleWrite` when the lease was lost.

    `builders`: adapters whose clusters lend nodes on which a Ray cluster has to be built for each attempt. A placing
    names the Ray cluster that it is for: a registered cluster or, where machines were bought, their claim.
    """
    tx.leases.fence(lease)
    seen = _Seen.load(tx, places)
    floor = _Floor(tx=tx, builders=builders)
    granted, refusals = _judged(seen, floor, places)
    try:
        with tx.savepoint():
            _commit(floor, seen, granted)
    except StaleWrite:  # somebody else changed one of the jobs since they were loaded
        return tuple(_one_by_one(_Floor(tx=tx, builders=builders), places))
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
    ask = seen.asks[place.ask_id]
    return floor.judgement(place, ask, trust_domain=seen.jobs[ask.job_id].project_id)


def _one_by_one(floor: "_Floor", places: Sequence[Place]) -> Iterator[Refusal]:
    """Rows are loaded anew for each, and only what was committed is booked."""
    for place in places:
        seen = _Seen.load(floor.tx, [place])
        if isinstance(left := _judgement(seen, floor, place), str):
            yield Refusal(place=place, why=left)
            continue
        try:
            with floor.tx.savepoint():
                _commit(floor, seen, [place])
        except StaleWrite as stale:
            yield Refusal(place=place, why=stale.message)
        else:
            floor.free.update(left)


def _commit(floor: "_Floor", seen: _Seen, places: Sequence[Place]) -> None:
    tx = floor.tx
    asks = [seen.asks[place.ask_id] for place in places]
    jobs = [seen.jobs[ask.job_id] for ask in asks]
    tx.jobs.save_many(  # first: this is what another writer may have changed
        [job.move(JobState.ACTIVE, at=tx.now) for job in jobs]
    )
    new = [
        floor.attempt(place, ask, job, number=seen.numbers.get(job.id, 0) + 1)
        for place, ask, job in zip(places, asks, jobs, strict=True)
    ]
    for attempt, seats in new:
        if attempt.claim_id is not None and floor.builds(attempt.cluster_id):
            claim = floor.claim_for(attempt, attempt.claim_id, seats)
            tx.claims.add(claim)
            tx.work.poke("claim", claim.id)
            tx.work.poke("orphan", claim.cluster_id)
            tx.work.poke("leftover", claim.cluster_id)
    tx.attempts.add_many(new)
    tx.work.poke_many("attempt", [attempt.id for attempt, _ in new])


_Left = dict[NodeId, Amounts]
"""What a placing would leave of the nodes that it takes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ray:
    """A Ray cluster that tasks may be placed on."""

    cluster: Cluster
    claim: Claim | None
    """None: the cluster's own, or one that is built for each attempt."""

    def refusal(self, trust_domain: str) -> str | None:
        if not self.cluster.takes_tasks:
            return "the cluster takes no tasks now"
        if self.claim is None:
            return None
        if not self.claim.takes_tasks:
            return f"claim {self.claim.id} takes no tasks now"
        if self.claim.trust_domain not in (SHARED, trust_domain):
            return f"claim {self.claim.id} is for another trust domain"
        return None


@dataclass(slots=True, kw_only=True)
class _Floor:
    """Ray clusters, nodes and free amounts as this transaction sees them, loaded when first asked for."""

    tx: Tx
    builders: AbstractSet[str]
    rays: dict[str, _Ray | None] = field(default_factory=dict)
    loaded: set[ClusterId] = field(default_factory=set)
    nodes: dict[NodeId, Node] = field(default_factory=dict)
    free: _Left = field(default_factory=dict)
    home: dict[NodeId, str] = field(default_factory=dict)
    """The Ray cluster that a node is of, by id of the cluster or the claim."""

    def judgement(self, place: Place, ask: Ask, *, trust_domain: str) -> _Left | str:
        """What it leaves, or why it cannot be."""
        ray = self._ray(place.cluster_id)
        refusal = "there is no such cluster" if ray is None else ray.refusal(trust_domain)
        if refusal is not None:
            return refusal
        if [seat.rank for seat in place.seats] != list(range(ask.tasks)):
            return f"{len(place.seats)} seats for {ask.tasks} tasks"
        left: _Left = {}
        for seat in place.seats:
            node = self.nodes.get(seat.node_id)
            if node is None or self.home[node.id] != place.cluster_id or node.cordoned_at is not None:
                return f"node {seat.node_id} is gone or cordoned"
            free = left.get(node.id, self.free[node.id])
            if not ask.amounts.fits_in(free):
                return f"node {node.id} has no room any more"
            left[node.id] = free.minus(ask.amounts)
        return left

    def builds(self, cluster_id: ClusterId) -> bool:
        ray = self.rays.get(cluster_id)
        return ray is not None and ray.claim is None and ray.cluster.adapter in self.builders

    def attempt(self, place: Place, ask: Ask, job: Job, *, number: int) -> tuple[Attempt, list[Seat]]:
        ray, at = self._ray(place.cluster_id), self.tx.now
        if ray is None:
            raise Bug(f"{place.cluster_id} was judged, and is not there")
        attempt_id = AttemptId(f"{job.id}-a{number}")
        built = ClaimId(f"claim-{attempt_id}") if self.builds(place.cluster_id) else None
        attempt = Attempt(
            id=attempt_id,
            job_id=job.id,
            ask_id=ask.id,
            project_id=job.project_id,
            cluster_id=ray.cluster.id,
            claim_id=built if ray.claim is None else ray.claim.id,
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

    def claim_for(self, attempt: Attempt, claim_id: ClaimId, seats: Sequence[Seat]) -> Claim:
        """One member on each node, with room for all the tasks that sit there."""
        shares: dict[str, Amounts] = {}
        for seat in seats:
            name = self.nodes[seat.node_id].name
            shares[name] = shares.get(name, Amounts()).plus(seat.amounts)
        return Claim(
            id=claim_id,
            cluster_id=attempt.cluster_id,
            machine_type=LENT,
            capacity_type=CapacityType.OWNED,
            zones=("",),
            machines_min=len(shares),
            machines_want=len(shares),
            shares=tuple(Share(node_name=name, amounts=shares[name]) for name in sorted(shares)),
            trust_domain=attempt.project_id,
            tries_again=False,
            state=ClaimState.REQUESTED,
            since=attempt.placed_at,
            created_at=attempt.placed_at,
        )

    def _ray(self, id_: str) -> _Ray | None:
        if id_ not in self.rays:
            claim = self.tx.claims.get(ClaimId(id_))
            cluster = self.tx.clusters.get(ClusterId(id_) if claim is None else claim.cluster_id)
            self.rays[id_] = None if cluster is None else _Ray(cluster=cluster, claim=claim)
            if cluster is not None and cluster.id not in self.loaded:
                self._load(cluster.id)
        return self.rays[id_]

    def _load(self, cluster_id: ClusterId) -> None:
        self.loaded.add(cluster_id)
        sites = sited(self.tx, cluster_id)
        booked = self.tx.nodes.booked(cluster_id)
        for node in self.tx.nodes.present(cluster_id):
            self.nodes[node.id] = node
            self.home[node.id] = home_of(node, sites)
            self.free[node.id] = node.allocatable.minus(node.foreign).minus(booked.get(node.id, Amounts()))
