"""Attempts: what became of each try, where its tasks sit, what they measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controlplane.domain.attempts import Attempt, Seat
from controlplane.domain.clusters import Node
from controlplane.domain.ids import NodeId
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.lookups import job_for
from controlplane.store import CheckpointRow, NumberedMetric, RankRow, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    attempt: Attempt
    cluster_name: str
    seats: tuple[Seat, ...]
    nodes: Mapping[NodeId, Node]
    progress: float | None
    progress_message: str | None


def of_job(context: Context, principal: Principal, job_id: str) -> list[AttemptView]:
    """Oldest first."""
    with context.store.read() as tx:
        job = job_for(tx, principal, job_id)
        return [_view(tx, attempt) for attempt in tx.attempts.of_job(job.id)]


def metrics(
    context: Context, principal: Principal, job_id: str, *, after: tuple[int, int, int] | None, limit: int
) -> list[NumberedMetric]:
    """By (attempt number, rank, seq), from behind `after`."""
    with context.store.read() as tx:
        return list(tx.records.metrics(job_for(tx, principal, job_id).id, after, limit))


def checkpoints(context: Context, principal: Principal, job_id: str) -> list[CheckpointRow]:
    """Oldest first."""
    with context.store.read() as tx:
        return list(reversed(tx.records.checkpoints(job_for(tx, principal, job_id).id)))


def _view(tx: Tx, attempt: Attempt) -> AttemptView:
    seats = tuple(tx.attempts.seats(attempt.id))
    cluster = tx.clusters.get(attempt.cluster_id)
    speaker = _speaker(tx.records.ranks(attempt.id))
    return AttemptView(
        attempt=attempt,
        cluster_name=cluster.name if cluster else attempt.cluster_id,
        seats=seats,
        nodes=tx.nodes.by_ids([seat.node_id for seat in seats]),
        progress=speaker.progress,
        progress_message=speaker.progress_message,
    )


def _speaker(ranks: Mapping[int, RankRow]) -> RankRow:
    """The lowest rank that reported progress speaks for the gang."""
    rows: Sequence[RankRow] = [ranks[rank] for rank in sorted(ranks) if ranks[rank].progress is not None]
    return rows[0] if rows else RankRow()
