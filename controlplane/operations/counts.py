"""Counts: how many jobs each queue has in each state. Read from counts that are kept, however many jobs there are."""

from collections import Counter
from dataclasses import dataclass

from controlplane.domain.ids import QueueId
from controlplane.domain.jobs import JobState
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.jobs import JobQuery, filter_of
from controlplane.store import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    project: str
    queue: str
    state: JobState
    jobs: int


def counts(
    context: Context,
    principal: Principal,
    *,
    project: str | None = None,
    queue: str | None = None,
    kind: str | None = None,
) -> list[Count]:
    """Of the projects that the token sees, by their names. Without a kind, all but replicas of services."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        buckets = tx.counts.buckets(
            filter_of(tx, principal, JobQuery(project=project, queue=queue, kind=kind))
        )
        jobs: Counter[tuple[QueueId, JobState]] = Counter()
        for bucket in buckets:
            jobs[bucket.queue_id, bucket.state] += bucket.jobs
        names = _names(tx, {bucket.queue_id for bucket in buckets})
    order = list(JobState)
    return sorted(
        (
            Count(project=names[queue_id][0], queue=names[queue_id][1], state=state, jobs=number)
            for (queue_id, state), number in jobs.items()
        ),
        key=lambda count: (count.project, count.queue, order.index(count.state)),
    )


def _names(tx: Tx, queue_ids: set[QueueId]) -> dict[QueueId, tuple[str, str]]:
    """Project and queue."""
    queues = [queue for queue in map(tx.queues.get, sorted(queue_ids)) if queue is not None]
    projects = tx.projects.by_ids(sorted({queue.project_id for queue in queues}))
    return {queue.id: (projects[queue.project_id].name, queue.name) for queue in queues}
