"""Preemptions: seats promised to an ask, and those who sit there told to go; committed whole or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from controlplane.domain.attempts import Attempt, AttemptState, Outcome
from controlplane.domain.errors import StaleWrite
from controlplane.domain.ids import AskId
from controlplane.domain.jobs import JobState
from controlplane.domain.leases import Lease
from controlplane.operations.floors import refuse_overbooked
from controlplane.operations.resizes import keep_for_itself, kept_seats, resize
from controlplane.store import Tx
from schedulers.base import Ground, Nomination, Preempt, Verdict, Victim, microseconds, moved

WHY: Final = {
    Ground.PRIORITY: "it goes first in the same queue",
    Ground.RECLAIM: "its queue takes back its own quota",
    Ground.FAIR_SHARE: "its queue has the smaller share",
}
LONGEST_PROMISE: Final = timedelta(hours=2)
"""However long grace and kill may take: a promise that nobody can keep must end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreemptRefusal:
    preempt: Preempt
    why: str


def apply_preempts(tx: Tx, lease: Lease, preempts: Sequence[Preempt]) -> tuple[PreemptRefusal, ...]:
    """Each alone. Raises `StaleWrite` when the lease was lost."""
    tx.leases.fence(lease)
    refusals = []
    for preempt in preempts:
        try:
            with tx.savepoint():
                why = _preempted(tx, preempt)
        except StaleWrite as stale:
            why = stale.message
        if why is not None:
            refusals.append(PreemptRefusal(preempt=preempt, why=why))
    return tuple(refusals)


def _preempted(tx: Tx, preempt: Preempt) -> str | None:
    """Why not; None: it is done."""
    heir = tx.asks.get(preempt.ask_id)
    job = tx.jobs.get(heir.job_id) if heir is not None else None
    if heir is None or job is None or job.state is not JobState.QUEUED or job.cancel_requested_at is not None:
        return "the heir is no longer queued"
    found = [_running(tx, victim.ask_id) for victim in preempt.victims]
    attempts = [attempt for attempt in found if attempt is not None]
    if len(attempts) < len(found):
        return "a victim does not run any more"
    for ask_id, ranks in moved(preempt).items():
        if (why := resize(tx, ask_id, ranks)) is not None:
            raise StaleWrite(f"ask {ask_id} cannot move: {why}")
    reasons = [f"preempted for job {job.id}: {WHY[victim.ground]}" for victim in preempt.victims]
    stopped = [
        attempt.stop(Outcome.PREEMPTED, at=tx.now, reason=reason)
        for attempt, reason in zip(attempts, reasons, strict=True)
    ]
    tx.attempts.save_many(stopped)
    for victim, attempt in zip(preempt.victims, stopped, strict=True):
        _bequeath(tx, heir.id, victim, attempt)
    _promise(tx, preempt)
    targets = [seat.node_id for seat in preempt.seats] + [move.node_id for move in preempt.moves]
    refuse_overbooked(tx, targets)
    tx.work.poke_many("attempt", [attempt.id for attempt in stopped])
    return None


def _bequeath(tx: Tx, heir_id: AskId, victim: Victim, attempt: Attempt) -> None:
    """Of whom only surplus tasks go keeps the other seats for itself."""
    if not victim.ranks:
        tx.heirs.bequeath([attempt.id], heir_id)
        return
    kept = kept_seats(tx, attempt, dict.fromkeys(victim.ranks))
    keep_for_itself(tx, attempt, victim.ask_id, kept)
    tx.heirs.bequeath_ranks(attempt.id, victim.ranks, heir_id)


def _running(tx: Tx, ask_id: AskId) -> Attempt | None:
    ask = tx.asks.get(ask_id)
    attempt = tx.attempts.live_of_job(ask.job_id) if ask is not None else None
    return None if attempt is None or attempt.state is AttemptState.STOPPING else attempt


def _promise(tx: Tx, preempt: Preempt) -> None:
    latest = microseconds(tx.now + LONGEST_PROMISE)
    tx.memories.nominate(
        Nomination(
            ask_id=preempt.ask_id,
            cluster_id=preempt.cluster_id,
            seats=tuple((seat.rank, seat.node_id) for seat in preempt.seats),
            until=min(preempt.until, latest),
        )
    )
    for loser in dict.fromkeys(victim.ask_id for victim in preempt.victims):
        tx.memories.judge(Verdict(winner=preempt.ask_id, loser=loser))
