"""Resizes: work that is told to stop and to start again with other seats, as its own heir."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controlplane.domain.attempts import Attempt, AttemptState, Outcome
from controlplane.domain.claims import built_claim
from controlplane.domain.errors import StaleWrite
from controlplane.domain.ids import AskId, ClusterId, NodeId
from controlplane.domain.leases import Lease
from controlplane.store import Tx
from schedulers.base import PROMISE_SECONDS, Nomination, microseconds

Ranks = Mapping[int, NodeId | None]
"""Those that change, and the nodes that they get; None: they go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizeRefusal:
    ask_id: AskId
    why: str


def apply_resizes(tx: Tx, lease: Lease, resizes: Mapping[AskId, Ranks]) -> tuple[ResizeRefusal, ...]:
    """Each alone. Raises `StaleWrite` when the lease was lost."""
    tx.leases.fence(lease)
    refusals = []
    for ask_id, ranks in resizes.items():
        try:
            with tx.savepoint():
                why = resize(tx, ask_id, ranks)
        except StaleWrite as stale:
            why = stale.message
        if why is not None:
            refusals.append(ResizeRefusal(ask_id=ask_id, why=why))
    return tuple(refusals)


def resize(tx: Tx, ask_id: AskId, ranks: Ranks) -> str | None:
    """Why not; None: it is done."""
    ask = tx.asks.get(ask_id)
    attempt = tx.attempts.live_of_job(ask.job_id) if ask is not None else None
    if ask is None or attempt is None or attempt.state is not AttemptState.RUNNING:
        return "it does not run"
    before = len(tx.attempts.seats(attempt.id))
    seats = kept_seats(tx, attempt, ranks)
    if seats and (len(seats) < ask.fewest or len(seats) > ask.tasks):
        return f"{len(seats)} seats for {ask.fewest}..{ask.tasks} tasks"
    how = f"{before} to {len(seats)} tasks" if len(seats) != before else "other seats"
    stopped = attempt.stop(Outcome.RESIZED, at=tx.now, reason=f"resized: {how}")
    tx.attempts.save_many([stopped])
    keep_for_itself(tx, attempt, ask_id, seats)
    tx.work.poke_many("attempt", [attempt.id])
    return None


def kept_seats(tx: Tx, attempt: Attempt, ranks: Ranks) -> Sequence[tuple[int, NodeId]]:
    """What it is to have when it starts again, by rank: those begin anew, so there are no gaps."""
    seats = {**{seat.rank: seat.node_id for seat in tx.attempts.seats(attempt.id)}, **ranks}
    return list(enumerate(node_id for _, node_id in sorted(seats.items()) if node_id is not None))


def keep_for_itself(tx: Tx, attempt: Attempt, ask_id: AskId, seats: Sequence[tuple[int, NodeId]]) -> None:
    """Nobody else sits down there while it stops, nor until it has started again."""
    if not seats:
        return
    tx.heirs.bequeath([attempt.id], ask_id)
    tx.memories.nominate(
        Nomination(
            ask_id=ask_id,
            cluster_id=_home(attempt),
            seats=tuple(seats),
            until=microseconds(tx.now) + PROMISE_SECONDS * 1_000_000,
        )
    )


def _home(attempt: Attempt) -> ClusterId:
    """Whose nodes those are: a Ray cluster that was built for this attempt alone ends with it."""
    if attempt.claim_id in (None, built_claim(attempt.id)):
        return attempt.cluster_id
    return ClusterId(str(attempt.claim_id))
