"""Counts of jobs by bucket, kept by the database's triggers: exact, and never counted over the jobs' table."""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Table,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    union_all,
)
from sqlalchemy import delete as delete_from
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from controlplane.domain.ids import ProjectId, QueueId
from controlplane.domain.jobs import JobKind, JobState
from controlplane.store.links import Link
from controlplane.store.rows import Row
from controlplane.store.schema import JOB_COUNT_CHANGES, JOB_COUNTS, JOBS
from controlplane.store.statements import Statement, bound, is_in, listed
from controlplane.store.views import Bucket, JobFilter, MiscountedBucket

EVERYWHERE: Final = JobFilter()
_KEY: Final = ("project_id", "queue_id", "state", "kind")


_TRUTH: Final = Statement(
    select(*(JOBS.c[name] for name in _KEY), func.count()).group_by(*(JOBS.c[name] for name in _KEY))
)
_WAITING: Final = Statement(
    select(func.count()).select_from(
        select(JOB_COUNT_CHANGES.c.jobs).limit(bound("most")).subquery("waiting")
    )
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

    def buckets(self, wanted: JobFilter = EVERYWHERE) -> list[Bucket]:
        """Those that hold jobs: one for each project, queue, state and kind. Not narrowed by name, label and time."""
        given = {
            "project_ids": None if wanted.project_ids is None else listed(wanted.project_ids),
            "queue_id": wanted.queue_id,
            "states": listed(wanted.states) if wanted.states else None,
            "kind": wanted.kind,
            "without": wanted.without,
        }
        params = {name: value for name, value in given.items() if value is not None}
        return [_bucket(row) for row in self._link.rows(_sum(frozenset(params)), params)]

    def changes(self, most: int) -> int:
        """How many changes wait to be folded, not counted further than `most`."""
        row = self._link.row(_WAITING, {"most": most})
        return 0 if row is None else int(row[0])

    def fold(self) -> int:
        """Adds up the changes since the last time, and says how many; the counts stay what they are.

        Needed on PostgreSQL alone, and never for being right: only so that few rows are added up by `buckets`.
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
        counted, truth = _sums(self._link.rows(_sum(frozenset()))), _sums(self._link.rows(_TRUTH))
        return [
            MiscountedBucket(bucket=_bucket((*key, counted[key])), true_jobs=truth[key])
            for key in sorted({*counted, *truth})
            if counted[key] != truth[key]
        ]


@cache
def _sum(narrowed_by: frozenset[str]) -> Statement:
    parts = union_all(*(_part(table, narrowed_by) for table in (JOB_COUNTS, JOB_COUNT_CHANGES))).subquery()
    key = [parts.c[name] for name in _KEY]
    jobs = cast(func.sum(parts.c.jobs), BigInteger)
    return Statement(select(*key, jobs).group_by(*key).having(literal_column("0") != jobs).order_by(*key))


def _part(table: Table, narrowed_by: frozenset[str]) -> Select[Row]:
    conditions: dict[str, ColumnElement[bool]] = {
        "project_ids": is_in(table.c.project_id, "project_ids"),
        "queue_id": table.c.queue_id == bindparam("queue_id"),
        "states": is_in(table.c.state, "states"),
        "kind": table.c.kind == bindparam("kind"),
        "without": table.c.kind != bindparam("without"),
    }
    columns = (*(table.c[name] for name in _KEY), table.c.jobs)
    return select(*columns).where(*(conditions[name] for name in sorted(narrowed_by)))


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
