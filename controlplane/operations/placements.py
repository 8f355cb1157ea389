"""Placements: a plan is a proposal; here it is checked against the rows of this moment and committed."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Self

from controlplane.domain.errors import StaleWrite
from controlplane.domain.events import Event
from controlplane.domain.ids import AskId, JobId
from controlplane.domain.jobs import Ask, Job, JobState
from controlplane.domain.leases import Lease
from controlplane.operations.floors import Floor, Left
from controlplane.store import ReasonRow, Tx
from schedulers.base import Defer, Place, Plan

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
    floor = Floor(tx=tx, builders=builders)
    granted, refusals = _judged(seen, floor, places)
    try:
        with tx.savepoint():
            _commit(floor, seen, granted)
    except StaleWrite:  # somebody else changed one of the jobs since they were loaded
        return tuple(_one_by_one(Floor(tx=tx, builders=builders), places))
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


def note_memory(tx: Tx, lease: Lease, plan: Plan) -> None:
    """What the policy must find again in its next plan, whoever leads then."""
    tx.leases.fence(lease)
    tx.memories.reserve(plan.reserves)
    if plan.past_uses:
        tx.memories.note_past_uses(plan.past_uses)


def end_promises(tx: Tx, lease: Lease, ask_ids: Sequence[AskId]) -> None:
    """Of those who cannot be given their seats any more: from now on everybody may have them."""
    tx.leases.fence(lease)
    tx.memories.end_nominations(ask_ids)


def note_fault(tx: Tx, lease: Lease, *, policy: str, problem: str) -> None:
    """An alert: the policy's answer was not followed, and what was decided before stands."""
    tx.leases.fence(lease)
    tx.events.add(Event(kind="policy.failed", subject=policy, at=tx.now, data={"problem": problem}))


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


def _judged(seen: _Seen, floor: Floor, places: Sequence[Place]) -> tuple[list[Place], list[Refusal]]:
    """In plan order; what is granted is booked, so what comes behind it is judged by what is left."""
    granted: list[Place] = []
    refusals: list[Refusal] = []
    for place in places:
        if isinstance(left := _judgement(seen, floor, place), str):
            refusals.append(Refusal(place=place, why=left))
        else:
            floor.book(place, left)
            granted.append(place)
    return granted, refusals


def _judgement(seen: _Seen, floor: Floor, place: Place) -> Left | str:
    if not seen.is_queued(place):
        return "it is no longer queued"
    ask = seen.asks[place.ask_id]
    return floor.judgement(place, ask, trust_domain=seen.jobs[ask.job_id].project_id)


def _one_by_one(floor: Floor, places: Sequence[Place]) -> Iterator[Refusal]:
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
            floor.book(place, left)


def _commit(floor: Floor, seen: _Seen, places: Sequence[Place]) -> None:
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
    tx.memories.end_nominations([ask.id for ask in asks])
    tx.work.poke_many("attempt", [attempt.id for attempt, _ in new])
