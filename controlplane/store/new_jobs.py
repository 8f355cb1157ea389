"""New jobs as rows of five tables, made before the transaction that writes them: nobody waits for arithmetic."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from controlplane.domain.events import Event
from controlplane.domain.jobs import Ask, Job
from controlplane.domain.twins import quick
from controlplane.store import asks, job_rows
from controlplane.store.rows import micros
from controlplane.store.statements import Params


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job at its birth, with all that is written beside it."""

    job: Job
    ask: Ask
    spec: str
    """JSON, as it was sent."""

    schema_version: int
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRows:
    """What `tx.jobs.add_many` writes."""

    jobs: Sequence[Params]
    asks: Sequence[Params]
    labels: Sequence[Params]
    dependencies: Sequence[Params]
    births: Sequence[Event]


def rows_of(new: Sequence[NewJob]) -> NewRows:
    return NewRows(
        jobs=[_row(each) for each in new],
        asks=[asks.params(each.ask) for each in new],
        labels=[label for each in new for label in _labels(each)],
        dependencies=[needed for each in new for needed in _needed(each.job)],
        births=[job_rows.event(each.job, came_from=each.job.came_from) for each in new],
    )


def _row(new: NewJob) -> dict[str, object]:
    row = job_rows.params(new.job)
    row["came_from"] = new.job.came_from
    row["spec"] = new.spec
    row["schema_version"] = new.schema_version
    return row


def _labels(new: NewJob) -> Iterator[dict[str, object]]:
    if not new.labels:
        return
    at = micros(new.job.submitted_at)
    for name, value in sorted(new.labels.items()):
        yield {"job_id": new.job.id, "name": name, "value": value, "submitted_at": at}


def _needed(job: Job) -> Iterator[dict[str, str]]:
    for needed in sorted(set(job.depends_on)):
        yield {"job_id": job.id, "needs_id": needed}
