"""Jobs' table, with the labels and dependencies that hang on it."""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import bindparam, exists, or_, select

from controlplane.domain.errors import NotFound
from controlplane.domain.ids import JobId
from controlplane.domain.jobs import Ask, Job, JobState
from controlplane.store import job_rows, job_views
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.moves import Moves
from controlplane.store.new_jobs import NewJob, NewRows, rows_of
from controlplane.store.schema import (
    ASKS,
    ATTEMPTS,
    CHECKPOINTS,
    DEPENDENCIES,
    JOB_LABELS,
    JOBS,
    OPEN_JOBS,
    WORK,
)
from controlplane.store.statements import Statement, bound, fixed, inserted, is_in, listed
from controlplane.store.views import JobFilter, JobPage, JobPlace, JobView

_C: Final = JOBS.c
_JOB: Final = select(*job_rows.COLUMNS)
_GIVEN_ONCE: Final = frozenset(
    {
        "project_id",
        "queue_id",
        "name",
        "kind",
        "submitted_at",
        "depends_on",
        "retry_of",
        "spec",
        "schema_version",
    }
)

_MOVES: Final = Moves("job", JOBS, fixed_columns=_GIVEN_ONCE)
_ADD: Final = inserted(JOBS)
_ADD_ASK: Final = inserted(ASKS)
_ADD_LABEL: Final = inserted(JOB_LABELS)
_ADD_DEPENDENCY: Final = inserted(DEPENDENCIES)
_GET: Final = Statement(_JOB.where(_C.id == bindparam("id")))
_MANY: Final = Statement(_JOB.where(is_in(_C.id, "ids")))
_SPECS: Final = Statement(select(_C.id, _C.spec).where(is_in(_C.id, "ids")))
_SPEC: Final = Statement(select(_C.spec, _C.schema_version).where(_C.id == bindparam("id")))
_HELD_ON: Final = Statement(
    select(_C.id)
    .distinct()
    .join(DEPENDENCIES, DEPENDENCIES.c.job_id == _C.id)
    .where(is_in(DEPENDENCIES.c.needs_id, "ids"), _C.state == fixed(JobState.HELD))
    .order_by(_C.id)
)
_IS_UNSETTLED: Final = (
    _C.state.in_([fixed(state) for state in (JobState.HELD, JobState.QUEUED, JobState.ACTIVE)]),
    or_(_C.state != fixed(JobState.QUEUED), _C.cancel_requested_at.is_not(None)),
)
_UNSETTLED: Final = Statement(select(_C.id).where(*_IS_UNSETTLED).order_by(_C.id))
_UNWATCHED: Final = Statement(
    select(_C.id)
    .where(
        *_IS_UNSETTLED,
        _C.id > bindparam("after"),
        ~exists().where(WORK.c.noun == fixed("job"), WORK.c.id == _C.id),
    )
    .order_by(_C.id)
    .limit(bound("limit"))
)
_OF_AN_OBJECT: Final = "%://%"
"""Nothing that is no URI of an object has this in it, and of the many that name none the text alone is read."""

_READING: Final = Statement(
    select(_C.id)
    .where(
        OPEN_JOBS,
        _C.id > bindparam("after"),
        or_(
            _C.spec.like(bindparam("pattern")),
            exists()
            .where(CHECKPOINTS.c.attempt_id == ATTEMPTS.c.id, ATTEMPTS.c.job_id == _C.id)
            .correlate(JOBS),
        ),
    )
    .order_by(_C.id)
    .limit(bound("limit"))
)


class Jobs:
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def add(self, job: Job, ask: Ask, *, spec: str, schema_version: int, labels: Mapping[str, str]) -> None:
        """Together with its ask, labels, dependencies and the event of its birth."""
        new = NewJob(job=job, ask=ask, spec=spec, schema_version=schema_version, labels=labels)
        self.add_many(rows_of((new,)))

    def add_many(self, rows: NewRows) -> None:
        """One statement per table, however many they are. The jobs may depend on each other."""
        link = self._link
        link.change_all(_ADD, rows.jobs)
        link.change_all(_ADD_ASK, rows.asks)
        link.change_all(_ADD_LABEL, rows.labels)
        link.change_all(_ADD_DEPENDENCY, rows.dependencies)
        self._events.add(*rows.births)

    def get(self, job_id: JobId) -> Job | None:
        row = self._link.row(_GET, {"id": job_id})
        return None if row is None else job_rows.job_of(row)

    def many(self, job_ids: Sequence[JobId]) -> list[Job]:
        """In the order asked for; unknown ones are left out."""
        found = {
            job.id: job for job in map(job_rows.job_of, self._link.rows(_MANY, {"ids": listed(job_ids)}))
        }
        return [found[job_id] for job_id in job_ids if job_id in found]

    def save(self, job: Job) -> None:
        """Raises `StaleWrite` unless the row is one version behind."""
        self.save_many([job])

    def save_many(self, jobs: Sequence[Job]) -> None:
        """All or, raising `StaleWrite`, none that may be kept."""
        origins = _MOVES.save_many(self._link, [job_rows.params(job) for job in jobs])
        moved = zip(jobs, origins, strict=True)
        self._events.add(
            *(job_rows.event(job, came_from=origin) for job, origin in moved if origin is not None)
        )

    def spec(self, job_id: JobId) -> tuple[str, int]:
        """As submitted, and the version of its schema. Raises `NotFound`."""
        row = self._link.row(_SPEC, {"id": job_id})
        if row is None:
            raise NotFound(f"there is no job {job_id}")
        return row[0], row[1]

    def specs(self, job_ids: Sequence[JobId]) -> dict[JobId, str]:
        """As submitted; unknown jobs are left out."""
        return {JobId(row[0]): row[1] for row in self._link.rows(_SPECS, {"ids": listed(job_ids)})}

    def view(self, job_id: JobId) -> JobView | None:
        return job_views.view(self._link, job_id)

    def held_on(self, job_id: JobId) -> list[JobId]:
        """Held jobs that depend on it."""
        return self.held_on_any([job_id])

    def held_on_any(self, job_ids: Sequence[JobId]) -> list[JobId]:
        """Held jobs that depend on some of them."""
        return [JobId(row[0]) for row in self._link.rows(_HELD_ON, {"ids": listed(job_ids)})]

    def unsettled(self) -> list[JobId]:
        """Held and active ones, and the queued ones that somebody wants cancelled."""
        return [JobId(row[0]) for row in self._link.rows(_UNSETTLED)]

    def unwatched(self, after: str, limit: int) -> list[JobId]:
        """Those of the unsettled that no loop will ever look at, by id; `after` is the id last seen."""
        return [JobId(row[0]) for row in self._link.rows(_UNWATCHED, {"after": after, "limit": limit})]

    def reading(self, after: str, limit: int) -> list[JobId]:
        """Those that are not over and may read objects, by id; `after` is the id last seen."""
        params = {"after": after, "pattern": _OF_AN_OBJECT, "limit": limit}
        return [JobId(row[0]) for row in self._link.rows(_READING, params)]

    def list(self, job_filter: JobFilter, after: JobPlace | None, limit: int) -> JobPage:
        """Newest first, from behind `after`."""
        return job_views.page(self._link, job_filter, after, limit)
