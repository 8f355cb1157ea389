"""Job views: a page about many jobs in three statements, whatever the filter."""

from collections.abc import Sequence
from functools import cache
from typing import Final

from sqlalchemy import ColumnElement, TextClause, bindparam, func, select, tuple_

from controlplane.domain.errors import Invalid
from controlplane.domain.ids import JobId
from controlplane.domain.jobs import JobState
from controlplane.store.attempts import Attempts
from controlplane.store.job_rows import COLUMNS, job_of
from controlplane.store.links import Link
from controlplane.store.rows import Row, amounts_of, micros_or_none, moment_or_none
from controlplane.store.schema import ASKS, ATTEMPTS, JOB_LABELS, JOBS, OPEN_JOBS, PROJECTS, QUEUES
from controlplane.store.statements import Statement, bound, is_in, listed
from controlplane.store.views import JobFilter, JobView

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
_PLACE: Final = Statement(select(_C.submitted_at).where(_C.id == bindparam("id")))
_LABELS: Final = Statement(
    select(JOB_LABELS.c.job_id, JOB_LABELS.c.name, JOB_LABELS.c.value)
    .where(is_in(JOB_LABELS.c.job_id, "ids"))
    .order_by(JOB_LABELS.c.job_id, JOB_LABELS.c.name)
)
FEW: Final = frozenset({JobState.HELD, JobState.ACTIVE})
"""States with so few jobs among all that they are better found first and sorted then."""

_FILTERS: Final[dict[str, ColumnElement[bool] | TextClause]] = {
    "project_id": _C.project_id == bindparam("project_id"),
    "project_ids": is_in(_C.project_id, "project_ids"),
    "queue_id": _C.queue_id == bindparam("queue_id"),
    "states": is_in(_C.state, "states"),
    "few": OPEN_JOBS,
    "kind": _C.kind == bindparam("kind"),
    "name": _C.name == bindparam("name"),
    "label_name": _C.id.in_(
        select(JOB_LABELS.c.job_id).where(
            JOB_LABELS.c.name == bindparam("label_name"), JOB_LABELS.c.value == bindparam("label_value")
        )
    ),
    "submitted_after": _C.submitted_at > bound("submitted_after"),
    "after_id": tuple_(_C.submitted_at, _C.id)
    < tuple_(bound("after_at"), bindparam("after_id", type_=_C.id.type)),
}


def view(link: Link, job_id: JobId) -> JobView | None:
    row = link.row(_ONE, {"id": job_id, "ordinal": 0})
    return None if row is None else _views(link, [row])[0]


def page(link: Link, job_filter: JobFilter, after: JobId | None, limit: int) -> list[JobView]:
    params = _filter_params(job_filter) | _after_params(link, after)
    statement = _page(tuple(name for name in _FILTERS if name in params))
    return _views(link, link.rows(statement, params | {"limit": limit, "ordinal": 0}))


@cache
def _page(names: tuple[str, ...]) -> Statement:
    """One text for each set of filters in use."""
    conditions = [_FILTERS[name] for name in names]
    newest_first = (_C.submitted_at.desc(), _C.id.desc())
    return Statement(_VIEW.where(*conditions).order_by(*newest_first).limit(bound("limit")))


def _filter_params(job_filter: JobFilter) -> dict[str, object]:
    """Only what is set: what is absent does not filter."""
    label_name, label_value = job_filter.label or (None, None)
    projects = job_filter.project_ids
    # The one project that most callers may see has an index of its own.
    only = projects[0] if projects is not None and len(projects) == 1 else None
    params = {
        "project_id": only,
        "project_ids": None if projects is None or only is not None else listed(projects),
        "queue_id": job_filter.queue_id,
        "states": listed(job_filter.states) if job_filter.states else None,
        "few": True if job_filter.states and FEW.issuperset(job_filter.states) else None,
        "kind": None if job_filter.kind is None else job_filter.kind.value,
        "name": job_filter.name,
        "label_name": label_name,
        "label_value": label_value,
        "submitted_after": micros_or_none(job_filter.submitted_after),
    }
    return {name: value for name, value in params.items() if value is not None}


def _after_params(link: Link, after: JobId | None) -> dict[str, object]:
    if after is None:
        return {}
    row = link.row(_PLACE, {"id": after})
    if row is None:
        raise Invalid("after is not a job that was listed", field="after", value=after)
    return {"after_id": after, "after_at": row[0]}


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
