"""Resizes: work that is told to stop and to start again with other seats, as its own heir."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controlplane.domain.attempts import Attempt, AttemptState, Outcome
from controlplane.domain.claims import built_claim
from controlplane.domain.errors import StaleWrite
from controlplane.domain.ids import AskId, ClusterId, NodeId
from controlplane.domain.leases import Lease
from controlplane.operations.floors import refuse_overbooked
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
                if why is None:
                    refuse_overbooked(tx, [node_id for node_id in ranks.values() if node_id is not None])
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
    if (closed := _closed(tx, attempt, ranks)) is not None:
        return f"node {closed} is gone or cordoned"
    left = _left_behind(tx, attempt, seats)
    how = f"{before} to {len(seats)} tasks" if len(seats) != before else left or "other seats"
    stopped = attempt.stop(Outcome.RESIZED, at=tx.now, reason=f"resized: {how}")
    tx.attempts.save_many([stopped])
    keep_for_itself(tx, attempt, ask_id, seats)
    tx.work.poke_many("attempt", [attempt.id])
    return None


def _closed(tx: Tx, attempt: Attempt, ranks: Ranks) -> NodeId | None:
    """A node that the plan wants it to start on, and that takes nobody any more: what runs is not stopped for that."""
    held = {seat.node_id for seat in tx.attempts.seats(attempt.id)}
    wanted = sorted({node_id for node_id in ranks.values() if node_id is not None} - held)
    nodes = tx.nodes.by_ids(wanted)
    for node_id in wanted:
        node = nodes.get(node_id)
        if node is None or node.gone_at is not None or node.cordoned_at is not None:
            return node_id
    return None


def _left_behind(tx: Tx, attempt: Attempt, seats: Sequence[tuple[int, NodeId]]) -> str:
    """In words, the nodes that it leaves because they take nobody any more, if any."""
    held = {seat.node_id for seat in tx.attempts.seats(attempt.id)}
    nodes = tx.nodes.by_ids(sorted(held - {node_id for _, node_id in seats}))
    names = sorted(node.name for node in nodes.values() if node.cordoned_at is not None)
    return f"off node {', '.join(names)}, which takes no more tasks" if names else ""


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
