"""Job views: a page about many jobs in three statements, whatever the filter."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, func, select

from controlplane.domain.ids import JobId
from controlplane.store import job_pages
from controlplane.store.attempts import Attempts
from controlplane.store.job_rows import COLUMNS, job_of
from controlplane.store.links import Link
from controlplane.store.rows import Row, amounts_of, moment_or_none
from controlplane.store.schema import ASKS, ATTEMPTS, JOB_LABELS, JOBS, PROJECTS, QUEUES
from controlplane.store.statements import Statement, bound, is_in, listed
from controlplane.store.views import JobFilter, JobPage, JobPlace, JobView

_C: Final = JOBS.c
_ATTEMPTS: Final = (
    select(func.count())
    .select_from(ATTEMPTS)
    .where(ATTEMPTS.c.job_id == _C.id)
    .correlate(JOBS)
    .scalar_subquery()
)
_VIEW: Final = (
    select(
        *COLUMNS,
        PROJECTS.c.name,
        QUEUES.c.name,
        ASKS.c.tasks,
        ASKS.c.cpu_milli,
        ASKS.c.memory_bytes,
        ASKS.c.gpu_milli,
        ASKS.c.custom_milli,
        _C.spec,
        _C.schema_version,
        _ATTEMPTS,
        ASKS.c.not_before,
    )
    .select_from(JOBS)
    .join(PROJECTS, PROJECTS.c.id == _C.project_id)
    .join(QUEUES, QUEUES.c.id == _C.queue_id)
    .join(ASKS, ASKS.c.job_id == _C.id)
    .where(ASKS.c.ordinal == bound("ordinal"))
)
_ONE: Final = Statement(_VIEW.where(_C.id == bindparam("id")))
_MANY: Final = Statement(_VIEW.where(is_in(_C.id, "ids")))
_LABELS: Final = Statement(
    select(JOB_LABELS.c.job_id, JOB_LABELS.c.name, JOB_LABELS.c.value)
    .where(is_in(JOB_LABELS.c.job_id, "ids"))
    .order_by(JOB_LABELS.c.job_id, JOB_LABELS.c.name)
)


def view(link: Link, job_id: JobId) -> JobView | None:
    row = link.row(_ONE, {"id": job_id, "ordinal": 0})
    return None if row is None else _views(link, [row])[0]


def page(link: Link, wanted: JobFilter, after: JobPlace | None, limit: int) -> JobPage:
    job_ids, following = job_pages.find(link, wanted, after, limit)
    if not job_ids:
        return JobPage(views=(), next=following)
    rows = {row[0]: row for row in link.rows(_MANY, {"ids": listed(job_ids), "ordinal": 0})}
    return JobPage(views=_views(link, [rows[job_id] for job_id in job_ids]), next=following)


def _views(link: Link, rows: Sequence[Row]) -> list[JobView]:
    job_ids = [JobId(row[0]) for row in rows]
    labels: dict[str, dict[str, str]] = {}
    for job_id, name, value in link.rows(_LABELS, {"ids": listed(job_ids)}):
        labels.setdefault(job_id, {})[name] = value
    live = Attempts(link).live_of_jobs(job_ids)
    views = []
    for row in rows:
        job = job_of(row[: len(COLUMNS)])
        (project_name, queue_name, tasks, *amounts, spec, schema_version, attempts, not_before) = row[
            len(COLUMNS) :
        ]
        views.append(
            JobView(
                job=job,
                project_name=project_name,
                queue_name=queue_name,
                tasks=tasks,
                amounts=amounts_of(*amounts),
                labels=labels.get(job.id, {}),
                spec=spec,
                schema_version=schema_version,
                attempts=attempts,
                not_before=moment_or_none(not_before),
                live=live.get(job.id),
            )
        )
    return views
