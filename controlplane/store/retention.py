"""Retention: what is old enough to be put away, as rows that can be archived, and its removal."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import takewhile
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    bindparam,
    delete,
    func,
    or_,
    select,
    tuple_,
    union,
    update,
)
from sqlalchemy.orm import aliased

from controlplane.domain.clusters import ClusterState
from controlplane.domain.ids import JobId
from controlplane.domain.jobs import JOB, JobState
from controlplane.store import feed_floor
from controlplane.store.links import Link
from controlplane.store.rows import Row, micros, moment
from controlplane.store.schema import (
    ASKS,
    ATTEMPTS,
    CHECKPOINTS,
    CLUSTERS,
    DEPENDENCIES,
    EVENTS,
    JOB_LABELS,
    JOBS,
    LEASES,
    LOG_CHUNKS,
    METRICS,
    NODES,
    OPEN_JOBS,
    RANKS,
    SEATS,
    WORK,
)
from controlplane.store.schema_inputs import ATTEMPT_INPUTS
from controlplane.store.schema_services import ANNOUNCEMENTS, REPLICAS
from controlplane.store.statements import WHOLE_FEED, Statement, bound, fixed, in_feed, is_in, listed
from controlplane.store.views import JobPlace, OldJob

_C: Final = JOBS.c
_WALK: Final = Statement(
    select(_C.submitted_at, _C.id, _C.state, _C.since, _C.version)
    .where(
        tuple_(_C.submitted_at, _C.id) > tuple_(bound("after_at"), bindparam("after_id", type_=_C.id.type)),
        _C.submitted_at < bound("before"),
    )
    .order_by(_C.submitted_at, _C.id)
    .limit(bound("limit"))
)
_NEEDED: Final = Statement(
    union(
        select(DEPENDENCIES.c.needs_id)
        .join(JOBS, _C.id == DEPENDENCIES.c.job_id)
        .where(is_in(DEPENDENCIES.c.needs_id, "ids"), OPEN_JOBS),
        select(_C.retry_of).where(is_in(_C.retry_of, "ids")),
    )
)
_VERSIONS: Final = Statement(select(_C.id, _C.version).where(is_in(_C.id, "ids")).with_for_update())
_OF_JOBS: Final = select(ATTEMPTS.c.id).where(is_in(ATTEMPTS.c.job_id, "ids"))
_LOGGED: Final = Statement(
    select(ATTEMPTS.c.job_id)
    .join(RANKS, RANKS.c.attempt_id == ATTEMPTS.c.id)
    .where(is_in(ATTEMPTS.c.job_id, "ids"), RANKS.c.log_offset > bound("none"))
    .distinct()
)
_DROP_LOGS: Final = Statement(
    delete(LOG_CHUNKS).where(LOG_CHUNKS.c.attempt_id.in_(_OF_JOBS)), table=LOG_CHUNKS
)
_FORGET_OFFSETS: Final = Statement(
    update(RANKS).where(RANKS.c.attempt_id.in_(_OF_JOBS)).values(log_offset=bound("none")), table=RANKS
)

OF_ATTEMPTS: Final = (ATTEMPT_INPUTS, ANNOUNCEMENTS, LOG_CHUNKS, METRICS, CHECKPOINTS, RANKS, SEATS)
OF_JOBS: Final = (ATTEMPTS, JOB_LABELS, DEPENDENCIES, REPLICAS, ASKS)
ARCHIVED: Final = (JOBS, *reversed(OF_JOBS), *reversed(OF_ATTEMPTS), EVENTS)
"""In an order in which each row finds those that it refers to."""

# Held or released: an heir that is over claims nothing any more, and its victim's job may outlive it by far.
_DISINHERIT: Final = Statement(
    update(SEATS)
    .where(SEATS.c.heir.in_(select(ASKS.c.id).where(is_in(ASKS.c.job_id, "ids"))))
    .values(heir=None),
    table=SEATS,
)
_EVENTS_HEAD: Final = Statement(
    select(EVENTS.c.xid, EVENTS.c.seq, EVENTS.c.at)
    .where(in_feed(EVENTS.c.xid, EVENTS.c.seq))
    .order_by(EVENTS.c.xid, EVENTS.c.seq)
    .limit(bound("limit"))
)
_DROP_EVENTS: Final = Statement(
    delete(EVENTS).where(in_feed(EVENTS.c.xid, EVENTS.c.seq)),
    table=EVENTS,
)
_NEWER: Final = aliased(LEASES)
_DROP_LEASES: Final = Statement(
    delete(LEASES).where(
        LEASES.c.state != fixed("held"),
        LEASES.c.until < bound("before"),
        # The newest one stays: its token is what the next one grows from.
        LEASES.c.token
        < select(func.max(_NEWER.c.token)).where(_NEWER.c.name == LEASES.c.name).scalar_subquery(),
    ),
    table=LEASES,
)
_DROP_NODES: Final = Statement(
    delete(NODES).where(
        NODES.c.id.in_(
            select(NODES.c.id)
            .join(CLUSTERS, CLUSTERS.c.id == NODES.c.cluster_id)
            .where(
                or_(
                    NODES.c.gone_at < bound("before"),
                    (CLUSTERS.c.state == fixed(ClusterState.DETACHED)) & (CLUSTERS.c.since < bound("before")),
                ),
                ~select(SEATS.c.node_id).where(SEATS.c.node_id == NODES.c.id).exists(),
            )
            .limit(bound("limit"))
        )
    ),
    table=NODES,
)


class Retention:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def walk(self, after: JobPlace | None, before: datetime, limit: int) -> list[OldJob]:
        """Jobs submitted before that moment, in any state, the oldest first."""
        params = {
            "after_at": -1 if after is None else after.submitted_us,
            "after_id": "" if after is None else after.job_id,
            "before": micros(before),
            "limit": limit,
        }
        return [_old_job(row) for row in self._link.rows(_WALK, params)]

    def needed(self, job_ids: Sequence[JobId]) -> frozenset[JobId]:
        """Those that an unfinished job depends on, or that were retried by a job that is still there."""
        return frozenset(JobId(row[0]) for row in self._link.rows(_NEEDED, {"ids": listed(job_ids)}))

    def rows(self, job_ids: Sequence[JobId]) -> Iterator[tuple[str, dict[str, object]]]:
        """Everything about the jobs, row by row: the table's name, and its columns as JSON has them."""
        for table in ARCHIVED:
            names = [column.name for column in table.c]
            for row in self._link.each(_all_of(table), {"ids": listed(job_ids)}):
                yield table.name, dict(zip(names, map(_as_json, row), strict=True))

    def remove(self, jobs: Mapping[JobId, int]) -> list[JobId]:
        """Removes the jobs that still have these versions and are not needed; says which those were.

        Their events stay until the feed is pruned: it has no holes.
        """
        ids = listed(jobs)
        same = {JobId(row[0]) for row in self._link.rows(_VERSIONS, {"ids": ids}) if jobs[row[0]] == row[1]}
        going = sorted(same - self.needed(list(jobs)))
        params = {"ids": listed(going)}
        for statement in _removals():
            self._link.change(statement, params)
        return going

    def logged(self, job_ids: Sequence[JobId]) -> list[JobId]:
        """Those that have kept output."""
        return [JobId(row[0]) for row in self._link.rows(_LOGGED, {"ids": listed(job_ids), "none": 0})]

    def drop_logs(self, job_ids: Sequence[JobId]) -> None:
        """Their logs read as empty and complete from then on."""
        params = {"ids": listed(job_ids), "none": 0}
        self._link.change(_DROP_LOGS, params)
        self._link.change(_FORGET_OFFSETS, params)

    def prune_events(self, before: datetime, limit: int) -> int:
        """Takes events off the old end of the feed, never the newest one; says how many."""
        oldest = self._link.rows(_EVENTS_HEAD, {"limit": limit + 1, **WHOLE_FEED})
        # In the feed's order, which is not quite that of the moments: up to the first that is too new.
        old = list(takewhile(lambda row: row[2] < micros(before), oldest[:-1]))
        if not old:
            return 0
        xid, seq, _ = old[-1]
        feed_floor.rise(self._link, xid=xid, seq=seq)
        return self._link.change(_DROP_EVENTS, {**WHOLE_FEED, "head_xid": xid, "head_seq": seq})

    def prune_leases(self, before: datetime) -> int:
        """Removes ended ones but for the newest of each name; says how many."""
        return self._link.change(_DROP_LEASES, {"before": micros(before)})

    def prune_nodes(self, before: datetime, limit: int) -> int:
        """Removes those that went, or whose cluster was detached, and that no kept attempt sat on."""
        return self._link.change(_DROP_NODES, {"before": micros(before), "limit": limit})


@cache
def _removals() -> tuple[Statement, ...]:
    """Children first."""
    work = (WORK.c.noun == fixed("job")) & is_in(WORK.c.id, "ids")
    work_of_attempts = (WORK.c.noun == fixed("attempt")) & WORK.c.id.in_(_OF_JOBS)
    return (
        _removal(WORK, or_(work, work_of_attempts)),
        *(_removal(table, table.c.attempt_id.in_(_OF_JOBS)) for table in OF_ATTEMPTS),
        _removal(DEPENDENCIES, is_in(DEPENDENCIES.c.needs_id, "ids")),
        _DISINHERIT,
        *(_removal(table, is_in(table.c.job_id, "ids")) for table in OF_JOBS),
        _removal(JOBS, is_in(_C.id, "ids")),
    )


def _removal(table: Table, condition: ColumnElement[bool]) -> Statement:
    return Statement(delete(table).where(condition), table=table)


@cache
def _all_of(table: Table) -> Statement:
    return Statement(_chosen(table).order_by(*table.primary_key.columns))


def _chosen(table: Table) -> Select[Row]:
    mine: ColumnElement[bool] = (
        table.c.attempt_id.in_(_OF_JOBS) if table in OF_ATTEMPTS else is_in(_key_of(table), "ids")
    )
    return select(*table.c).where(mine)


# `Any`: a column's type parameter says nothing here.
def _key_of(table: Table) -> ColumnElement[Any]:
    return table.c.id if table is JOBS else table.c.job_id


def _old_job(row: Row) -> OldJob:
    submitted_us, job_id, state, since, version = row
    return OldJob(
        place=JobPlace(submitted_us=submitted_us, job_id=JobId(job_id)),
        is_finished=JOB.is_terminal(JobState(state)),
        since=moment(since),
        version=version,
    )


def _as_json(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
