"""Records' tables: what the ranks of an attempt reported, and their logs."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, case, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from controlplane.domain.errors import Conflict
from controlplane.domain.ids import AttemptId, JobId
from controlplane.store.attempts import COLUMNS as ATTEMPT_COLUMNS
from controlplane.store.attempts import attempt_of
from controlplane.store.links import Link
from controlplane.store.rows import Row, micros, micros_or_none, moment, moment_or_none, packed, unpacked
from controlplane.store.schema import ASKS, ATTEMPTS, CHECKPOINTS, JOBS, LOG_CHUNKS, METRICS, RANKS
from controlplane.store.statements import LAST, Statement, bound, inserted, is_in, listed
from controlplane.store.views import CheckpointRow, MetricRow, NumberedMetric, RankRow, Reporter

_R: Final = RANKS.c
_M: Final = METRICS.c
_P: Final = CHECKPOINTS.c
_L: Final = LOG_CHUNKS.c
_RANK: Final = select(
    _R.rank,
    _R.acked_seq,
    _R.log_offset,
    _R.heartbeat_at,
    _R.exit_code,
    _R.exit_reason,
    _R.exited_at,
    _R.progress,
    _R.progress_message,
)
_REPORTER: Final = Statement(
    select(*ATTEMPT_COLUMNS, ASKS.c.tasks, JOBS.c.spec, *_RANK.selected_columns)
    .select_from(ATTEMPTS)
    .join(ASKS, ASKS.c.id == ATTEMPTS.c.ask_id)
    .join(JOBS, JOBS.c.id == ATTEMPTS.c.job_id)
    .outerjoin(RANKS, and_(_R.attempt_id == ATTEMPTS.c.id, _R.rank == bound("rank")))
    .where(ATTEMPTS.c.id == bindparam("id"))
)
_OF_ATTEMPT: Final = _R.attempt_id == bindparam("attempt_id")
_GET_RANK: Final = Statement(_RANK.where(_OF_ATTEMPT, _R.rank == bound("rank")))
_RANKS: Final = Statement(_RANK.where(_OF_ATTEMPT).order_by(_R.rank))
_RANKS_OF_MANY: Final = Statement(
    _RANK.add_columns(_R.attempt_id).where(is_in(_R.attempt_id, "ids")).order_by(_R.attempt_id, _R.rank)
)
_NEW_RANK: Final = insert_or_update(RANKS).values({column: bindparam(column.name) for column in _R})
_BY_SEQ: Final = ("acked_seq", "progress", "progress_message")
_RISING: Final = ("log_offset", "heartbeat_at")
_OF_THE_EXIT: Final = ("exit_code", "exit_reason", "exited_at")


# `Any`: a column's type parameter says nothing here.
def _merged() -> dict[str, ColumnElement[Any]]:
    """What was read before another transaction wrote the row takes nothing of that back."""
    new = _NEW_RANK.excluded
    return {
        **{name: case((_R.acked_seq > new.acked_seq, _R[name]), else_=new[name]) for name in _BY_SEQ},
        **{
            name: case((_R[name] > new[name], _R[name]), else_=func.coalesce(new[name], _R[name]))
            for name in _RISING
        },
        **{name: case((new.exit_reason.is_(None), _R[name]), else_=new[name]) for name in _OF_THE_EXIT},
    }


_SAVE_RANK: Final = Statement(
    _NEW_RANK.on_conflict_do_update(index_elements=[_R.attempt_id, _R.rank], set_=_merged()).inline(),
    table=RANKS,
)

_ADD_METRIC: Final = inserted(METRICS)
_PLACE: Final = (ATTEMPTS.c.number, _M.rank, _M.seq)
_METRICS: Final = (
    select(ATTEMPTS.c.number, _M.attempt_id, _M.rank, _M.seq, _M.step, _M.at, _M.values_json)
    .join(ATTEMPTS, ATTEMPTS.c.id == _M.attempt_id)
    .where(ATTEMPTS.c.job_id == bindparam("job_id"))
    .order_by(*_PLACE)
    .limit(bound("limit"))
)
_NEWEST_METRICS: Final = Statement(
    select(_M.values_json)
    .join(ATTEMPTS, ATTEMPTS.c.id == _M.attempt_id)
    .where(ATTEMPTS.c.job_id == bindparam("job_id"), _M.step <= bound("until_step"))
    .order_by(ATTEMPTS.c.number.desc(), _M.step.desc(), _M.rank, _M.seq.desc())
    .limit(bound("limit"))
)

_ADD_CHECKPOINT: Final = inserted(CHECKPOINTS)
_CHECKPOINTS: Final = Statement(
    select(_P.attempt_id, ATTEMPTS.c.job_id, _P.rank, _P.seq, _P.step, _P.uri, _P.sha256, _P.at)
    .join(ATTEMPTS, ATTEMPTS.c.id == _P.attempt_id)
    .where(ATTEMPTS.c.job_id == bindparam("job_id"))
    .order_by(ATTEMPTS.c.number.desc(), _P.step.desc(), _P.rank, _P.seq.desc())
)
_NEWEST: Final = (
    select(
        *(_P.attempt_id, ATTEMPTS.c.job_id, _P.rank, _P.seq, _P.step, _P.uri, _P.sha256, _P.at),
        func.row_number()
        .over(
            partition_by=ATTEMPTS.c.job_id,
            order_by=(ATTEMPTS.c.number.desc(), _P.step.desc(), _P.rank, _P.seq.desc()),
        )
        .label("place"),
    )
    .join(ATTEMPTS, ATTEMPTS.c.id == _P.attempt_id)
    .where(is_in(ATTEMPTS.c.job_id, "ids"))
    .subquery("newest")
)
_NEWEST_CHECKPOINTS: Final = Statement(
    select(*(column for column in _NEWEST.c if column.name != "place")).where(
        _NEWEST.c.place == bound("first")
    )
)

_OF_RANK: Final = (_L.attempt_id == bindparam("attempt_id"), _L.rank == bound("rank"))
_LOG_END: Final = Statement(
    select(_L.start + func.length(_L.data)).where(*_OF_RANK).order_by(_L.start.desc()).limit(bound("one"))
)
_APPEND: Final = inserted(LOG_CHUNKS)
_FIRST_START: Final = (
    select(func.max(_L.start)).where(*_OF_RANK, _L.start <= bound("offset")).scalar_subquery()
)
_READ_LOG: Final = Statement(
    select(_L.start, _L.data)
    .where(*_OF_RANK, _L.start >= func.coalesce(_FIRST_START, 0), _L.start < bound("end"))
    .order_by(_L.start)
)


class Records:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def reporter(self, attempt_id: AttemptId, rank: int) -> Reporter | None:
        """None: there is no such attempt. One that never reported has zeros, also if there is no such rank."""
        row = self._link.row(_REPORTER, {"id": attempt_id, "rank": rank})
        if row is None:
            return None
        end = len(ATTEMPT_COLUMNS)
        tasks, spec, *reported = row[end:]
        return Reporter(
            attempt=attempt_of(row[:end]),
            tasks=tasks,
            spec=spec,
            row=RankRow() if reported[0] is None else _rank(tuple(reported)),
        )

    def rank(self, attempt_id: AttemptId, rank: int) -> RankRow:
        """Zeros for one that never reported."""
        row = self._link.row(_GET_RANK, {"attempt_id": attempt_id, "rank": rank})
        return RankRow() if row is None else _rank(row)

    def ranks(self, attempt_id: AttemptId) -> dict[int, RankRow]:
        return {row[0]: _rank(row) for row in self._link.rows(_RANKS, {"attempt_id": attempt_id})}

    def ranks_of(self, attempt_ids: Sequence[AttemptId]) -> dict[AttemptId, dict[int, RankRow]]:
        """Each attempt's; attempts that never reported are left out."""
        found: dict[AttemptId, dict[int, RankRow]] = {}
        for *row, attempt_id in self._link.rows(_RANKS_OF_MANY, {"ids": listed(attempt_ids)}):
            found.setdefault(attempt_id, {})[row[0]] = _rank(tuple(row))
        return found

    def save_rank(self, attempt_id: AttemptId, rank: int, row: RankRow) -> None:
        self.save_ranks([(attempt_id, rank, row)])

    def save_ranks(self, rows: Sequence[tuple[AttemptId, int, RankRow]]) -> None:
        """Each rank at most once. What a row has is kept where the new one is behind it."""
        self._link.change_all(_SAVE_RANK, [_rank_params(*each) for each in rows])

    def add_metrics(self, metrics: Sequence[MetricRow]) -> None:
        self._link.change_all(_ADD_METRIC, [_metric_params(metric) for metric in metrics])

    def metrics(self, job_id: JobId, after: tuple[int, int, int] | None, limit: int) -> list[NumberedMetric]:
        """By (number of the attempt, rank, seq); `after` is the place last seen."""
        number, rank, seq = after or (0, 0, 0)
        params = {"job_id": job_id, "limit": limit, "number": number, "rank": rank, "seq": seq}
        rows = self._link.rows(_metrics(is_continued=after is not None), params)
        return [_metric(row, job_id) for row in rows]

    def newest_metrics(
        self, job_id: JobId, limit: int, *, until_step: int = LAST
    ) -> list[dict[str, float | None]]:
        """What was reported together, the furthest step of the newest attempt first; ranks by number."""
        params = {"job_id": job_id, "until_step": until_step, "limit": limit}
        return [unpacked(row[0]) for row in self._link.rows(_NEWEST_METRICS, params)]

    def add_checkpoint(self, checkpoint: CheckpointRow) -> None:
        params = {
            "attempt_id": checkpoint.attempt_id,
            "rank": checkpoint.rank,
            "seq": checkpoint.seq,
            "step": checkpoint.step,
            "uri": checkpoint.uri,
            "sha256": checkpoint.sha256,
            "at": micros(checkpoint.at),
        }
        self._link.change(_ADD_CHECKPOINT, params)

    def newest_checkpoint(self, job_id: JobId) -> CheckpointRow | None:
        """The furthest step of the newest attempt that has one."""
        row = self._link.row(_CHECKPOINTS, {"job_id": job_id})
        return None if row is None else _checkpoint(row)

    def newest_checkpoints(self, job_ids: Sequence[JobId]) -> dict[JobId, CheckpointRow]:
        """As `newest_checkpoint`; jobs without one are left out."""
        rows = self._link.rows(_NEWEST_CHECKPOINTS, {"ids": listed(job_ids), "first": 1})
        return {each.job_id: each for each in map(_checkpoint, rows)}

    def checkpoints(self, job_id: JobId) -> list[CheckpointRow]:
        """The newest first."""
        return [_checkpoint(row) for row in self._link.rows(_CHECKPOINTS, {"job_id": job_id})]

    def append_log(self, attempt_id: AttemptId, rank: int, offset: int, data: bytes) -> int:
        """Keeps what is new of it and returns where the log ends now; a gap is a `Conflict`."""
        params: dict[str, object] = {"attempt_id": attempt_id, "rank": rank}
        row = self._link.row(_LOG_END, params | {"one": 1})
        end = 0 if row is None else int(row[0])
        if offset > end:
            raise Conflict(
                f"attempt {attempt_id}, rank {rank}: the log ends at {end}, bytes from {offset} leave a gap",
                field="offset",
                value=offset,
                limit=end,
            )
        new = data[end - offset :]
        if new:
            self._link.change(_APPEND, params | {"start": end, "data": new})
        return end + len(new)

    def read_log(self, attempt_id: AttemptId, rank: int, offset: int, limit_bytes: int) -> bytes:
        """Empty at the end, and behind it."""
        params = {"attempt_id": attempt_id, "rank": rank, "offset": offset, "end": offset + limit_bytes}
        chunks = self._link.rows(_READ_LOG, params)
        if not chunks:
            return b""
        skipped = max(0, offset - chunks[0][0])
        return b"".join(bytes(data) for _, data in chunks)[skipped : skipped + limit_bytes]


@cache
def _metrics(*, is_continued: bool) -> Statement:
    place = tuple_(bound("number"), bound("rank"), bound("seq"))
    return Statement(_METRICS.where(tuple_(*_PLACE) > place) if is_continued else _METRICS)


def _rank_params(attempt_id: AttemptId, rank: int, row: RankRow) -> dict[str, object]:
    return {
        "attempt_id": attempt_id,
        "rank": rank,
        "acked_seq": row.acked_seq,
        "log_offset": row.log_offset,
        "heartbeat_at": micros_or_none(row.heartbeat_at),
        "exit_code": row.exit_code,
        "exit_reason": row.exit_reason,
        "exited_at": micros_or_none(row.exited_at),
        "progress": row.progress,
        "progress_message": row.progress_message,
    }


def _rank(row: Row) -> RankRow:
    (_, acked_seq, log_offset, heartbeat_at, exit_code, exit_reason, exited_at, progress, message) = row
    return RankRow(
        acked_seq=acked_seq,
        log_offset=log_offset,
        heartbeat_at=moment_or_none(heartbeat_at),
        exit_code=exit_code,
        exit_reason=exit_reason,
        exited_at=moment_or_none(exited_at),
        progress=progress,
        progress_message=message,
    )


def _metric_params(metric: MetricRow) -> dict[str, object]:
    return {
        "attempt_id": metric.attempt_id,
        "rank": metric.rank,
        "seq": metric.seq,
        "step": metric.step,
        "at": micros(metric.at),
        "values_json": packed(dict(metric.values)),
    }


def _metric(row: Row, job_id: JobId) -> NumberedMetric:
    number, attempt_id, rank, seq, step, at, values = row
    metric = MetricRow(
        attempt_id=AttemptId(attempt_id),
        job_id=job_id,
        rank=rank,
        seq=seq,
        step=step,
        at=moment(at),
        values=unpacked(values),
    )
    return NumberedMetric(number=number, metric=metric)


def _checkpoint(row: Row) -> CheckpointRow:
    attempt_id, job_id, rank, seq, step, uri, sha256, at = row
    return CheckpointRow(
        attempt_id=AttemptId(attempt_id),
        job_id=JobId(job_id),
        rank=rank,
        seq=seq,
        step=step,
        uri=uri,
        sha256=sha256,
        at=moment(at),
    )
