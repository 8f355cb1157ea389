"""Counts of jobs by bucket, kept by the database's triggers: exact, and never counted over the jobs' table."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from sqlalchemy import BigInteger, Select, Table, bindparam, cast, func, literal_column, select, union_all
from sqlalchemy import delete as delete_from
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from controlplane.domain.ids import ProjectId, QueueId
from controlplane.domain.jobs import JobKind, JobState
from controlplane.store.links import Link
from controlplane.store.rows import Row
from controlplane.store.schema import JOB_COUNT_CHANGES, JOB_COUNTS, JOBS
from controlplane.store.statements import Statement
from controlplane.store.views import Bucket, MiscountedBucket

_KEY: Final = ("project_id", "queue_id", "state", "kind")


def _columns(table: Table) -> Select[Row]:
    return select(*(table.c[name] for name in _KEY), table.c.jobs)


_PARTS: Final = union_all(_columns(JOB_COUNTS), _columns(JOB_COUNT_CHANGES)).subquery("parts")
_P: Final = [_PARTS.c[name] for name in _KEY]
_JOBS: Final = cast(func.sum(_PARTS.c.jobs), BigInteger)
_ALL: Final = Statement(select(*_P, _JOBS).group_by(*_P).having(literal_column("0") != _JOBS).order_by(*_P))
_TRUTH: Final = Statement(
    select(*(JOBS.c[name] for name in _KEY), func.count()).group_by(*(JOBS.c[name] for name in _KEY))
)
_TAKE_CHANGES: Final = Statement(
    delete_from(JOB_COUNT_CHANGES).returning(*JOB_COUNT_CHANGES.c), table=JOB_COUNT_CHANGES
)
_NEW: Final = insert_or_update(JOB_COUNTS).values({column: bindparam(column.name) for column in JOB_COUNTS.c})
_ADD: Final = Statement(
    _NEW.on_conflict_do_update(
        index_elements=list(_KEY), set_={"jobs": JOB_COUNTS.c.jobs + _NEW.excluded.jobs}
    ).inline(),
    table=JOB_COUNTS,
)


class Counts:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def all(self) -> list[Bucket]:
        """Those that hold jobs: one for each project, queue, state and kind."""
        return [_bucket(row) for row in self._link.rows(_ALL)]

    def fold(self) -> int:
        """Adds up the changes since the last time, and says how many; the counts stay what they are.

        Needed on PostgreSQL alone, and never for being right: only so that few rows are added up by `all`.
        """
        changes = self._link.rows(_TAKE_CHANGES, {})
        # In order, so that two that fold at once cannot each wait for the other.
        sums = sorted(_sums(changes).items())
        self._link.change_all(
            _ADD, [dict(zip(_KEY, key, strict=True)) | {"jobs": jobs} for key, jobs in sums if jobs]
        )
        return len(changes)

    def wrong(self) -> list[MiscountedBucket]:
        """What a walk over all jobs counts otherwise; empty unless somebody switched triggers off."""
        counted, truth = _sums(self._link.rows(_ALL)), _sums(self._link.rows(_TRUTH))
        return [
            MiscountedBucket(bucket=_bucket((*key, counted[key])), true_jobs=truth[key])
            for key in sorted({*counted, *truth})
            if counted[key] != truth[key]
        ]


def _sums(rows: Iterable[Row]) -> Counter[tuple[str, ...]]:
    sums: Counter[tuple[str, ...]] = Counter()
    for *key, jobs in rows:
        sums[tuple(key)] += jobs
    return sums


def _bucket(row: Row) -> Bucket:
    project_id, queue_id, state, kind, jobs = row
    return Bucket(
        project_id=ProjectId(project_id),
        queue_id=QueueId(queue_id),
        state=JobState(state),
        kind=JobKind(kind),
        jobs=jobs,
    )
