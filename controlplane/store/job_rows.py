"""Job rows: which columns make a job, and back."""

from dataclasses import asdict
from functools import lru_cache
from typing import Final

from controlplane.domain.events import Event
from controlplane.domain.ids import JobId, ProjectId, QueueId
from controlplane.domain.jobs import Job, JobKind, JobState, RetryPolicy
from controlplane.store.rows import (
    Row,
    micros,
    micros_or_none,
    moment,
    moment_or_none,
    packed,
    remembered,
    unpacked,
)
from controlplane.store.schema import JOBS

_C: Final = JOBS.c
COLUMNS: Final = (
    _C.id,
    _C.project_id,
    _C.queue_id,
    _C.name,
    _C.kind,
    _C.priority,
    _C.state,
    _C.since,
    _C.submitted_at,
    _C.version,
    _C.retry,
    _C.max_runtime_seconds,
    _C.depends_on,
    _C.retry_of,
    _C.cancel_requested_at,
    _C.reason,
    _C.came_from,
)

_NO_RETRY: Final = RetryPolicy()
_NO_RETRY_PACKED: Final = packed(asdict(_NO_RETRY))
_MOST_RETRIES_REMEMBERED: Final = 1024


def params(job: Job) -> dict[str, object]:
    return {
        "id": job.id,
        "project_id": job.project_id,
        "queue_id": job.queue_id,
        "name": job.name,
        "kind": job.kind.value,
        "priority": job.priority,
        "state": job.state.value,
        "since": micros(job.since),
        "submitted_at": micros(job.submitted_at),
        "version": job.version,
        "retry": _packed(job.retry),
        "max_runtime_seconds": job.max_runtime_seconds,
        "depends_on": packed(job.depends_on) if job.depends_on else "[]",
        "retry_of": job.retry_of,
        "cancel_requested_at": micros_or_none(job.cancel_requested_at),
        "reason": job.reason,
    }


@remembered
def job_of(row: Row) -> Job:
    """From `COLUMNS`."""
    (id_, project_id, queue_id, name, kind, priority, state, since, submitted_at, version, *rest) = row
    (retry, max_runtime_seconds, depends_on, retry_of, cancel_requested_at, reason, came_from) = rest
    return Job(
        id=JobId(id_),
        project_id=ProjectId(project_id),
        queue_id=QueueId(queue_id),
        name=name,
        kind=JobKind(kind),
        priority=priority,
        state=JobState(state),
        since=moment(since),
        submitted_at=moment(submitted_at),
        version=version,
        retry=_retry(retry),
        max_runtime_seconds=max_runtime_seconds,
        depends_on=() if depends_on == "[]" else tuple(JobId(needed) for needed in unpacked(depends_on)),
        retry_of=None if retry_of is None else JobId(retry_of),
        cancel_requested_at=moment_or_none(cancel_requested_at),
        reason=reason,
        came_from=came_from,
    )


def event(job: Job, *, came_from: str) -> Event:
    """Of its birth or a move."""
    return Event(
        kind=f"job.{job.state}",
        subject=job.id,
        at=job.since,
        project_id=job.project_id,
        job_id=job.id,
        data={"from": came_from, "reason": job.reason},
    )


@lru_cache(maxsize=_MOST_RETRIES_REMEMBERED)
def _packed(retry: RetryPolicy) -> str:
    return packed(asdict(retry))


def _retry(column: str) -> RetryPolicy:
    if column == _NO_RETRY_PACKED:
        return _NO_RETRY
    fields = unpacked(column)
    fields["retryable_exit_codes"] = tuple(fields["retryable_exit_codes"])
    return RetryPolicy(**fields)
