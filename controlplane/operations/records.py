"""Records: the plane's side of the job protocol. Takes what a task says, and answers whether it may go on.

Everything of one batch is kept in one transaction, so the acknowledged seq, the log's offset and the rows they speak
of never disagree. A wrapper sends a batch until it is acknowledged, or drops it when it is refused: what arrives is
in order, twice at times, and may leave out what was dropped.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from pydantic import ValidationError

from controlplane.domain.attempts import COORDINATOR, Attempt, AttemptState
from controlplane.domain.copies import replace
from controlplane.domain.errors import Gone, Invalid, NotFound, Unauthenticated
from controlplane.domain.events import Event
from controlplane.domain.ids import AttemptId
from controlplane.domain.services import Announcement
from controlplane.identity import attempt_tokens
from controlplane.operations import sources
from controlplane.operations.context import Context
from controlplane.operations.specs import grace_seconds
from controlplane.store import CheckpointRow, MetricRow, RankRow, Reporter, Tx
from controlplane.wire.protocol import (
    FACTS,
    MAX_LOG_BYTES,
    Checkpoint,
    Endpoint,
    Exit,
    Fact,
    Hello,
    Metric,
    Progress,
    Record,
    RecordAnswer,
    RecordBatch,
)

KILL_SECONDS: Final = 10.0
"""What a stop may take beyond the grace that was promised: SIGKILL, the rest of the log, the exit record."""

LAST_WORDS_SECONDS: Final = 1.0
"""Lease of a task that has nothing left to run but its own farewell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A record that was checked."""

    seq: int
    at: datetime
    fact: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch that was checked, before anything is looked up."""

    rank: int
    said: tuple[Said, ...]
    log_offset: int
    log: bytes

    @property
    def says_hello(self) -> bool:
        return any(isinstance(each.fact, Hello) for each in self.said)

    @property
    def says_exit(self) -> bool:
        return any(isinstance(each.fact, Exit) for each in self.said)

    def is_known(self, row: RankRow) -> bool:
        """Whether it repeats what is durable. A heartbeat repeats nothing: it asks for more time."""
        end = self.log_offset + len(self.log)
        repeats = bool(self.said or self.log)
        return repeats and end <= row.log_offset and all(each.seq <= row.acked_seq for each in self.said)


def ingest(context: Context, attempt_id: str, token: str | None, batch: RecordBatch) -> RecordAnswer:
    """Raises `Gone` when the task must end at once."""
    own_id = admit(context, attempt_id, token)
    checked = _checked(batch)
    return context.store.write(lambda tx: _take(tx, context, own_id, checked))


def admit(context: Context, attempt_id: str, token: str | None) -> AttemptId:
    """Raises `Unauthenticated` unless the token is this attempt's own. Asks no database."""
    own_id = AttemptId(attempt_id)
    if token is None or not attempt_tokens.opens(context.server_key, own_id, token):
        raise Unauthenticated
    return own_id


def _take(tx: Tx, context: Context, attempt_id: AttemptId, batch: Batch) -> RecordAnswer:
    reporter = tx.records.reporter(attempt_id, batch.rank)
    if reporter is None:
        raise NotFound(f"there is no attempt {attempt_id!r}")
    _check_rank(reporter, batch.rank)
    attempt, row, grace = reporter.attempt, reporter.row, grace_seconds(reporter.spec)
    if not attempt.is_live:
        if not batch.is_known(row):
            raise Gone
        return _answer(row, LAST_WORDS_SECONDS, stop=True, grace=grace)
    lease_seconds = _lease_seconds(context, tx, attempt, batch, grace)
    row = _keep(tx, attempt, batch, row)
    # Before a task has said hello it has no code to run, and no right to it.
    if row.acked_seq and not tx.attempts.extend_lease(attempt_id, tx.now + timedelta(seconds=lease_seconds)):
        raise Gone
    if batch.says_hello or batch.says_exit:
        tx.work.poke("attempt", attempt_id)
    return _answer(row, lease_seconds, stop=attempt.state is AttemptState.STOPPING, grace=grace)


def _lease_seconds(context: Context, tx: Tx, attempt: Attempt, batch: Batch, grace: float) -> float:
    """A task that is being stopped gets no more time than its stop was promised."""
    if attempt.state is not AttemptState.STOPPING:
        return context.settings.lease_seconds
    if batch.says_hello:
        raise Gone
    since = attempt.stop_requested_at or attempt.since
    left = grace + KILL_SECONDS - (tx.now - since).total_seconds()
    if batch.says_exit:
        # Late evidence is better than none.
        return max(LAST_WORDS_SECONDS, min(context.settings.lease_seconds, left))
    if left <= 0:
        raise Gone
    return min(context.settings.lease_seconds, left)


def _keep(tx: Tx, attempt: Attempt, batch: Batch, row: RankRow) -> RankRow:
    """Writes what is new and returns the rank's row as it is then."""
    fresh = [each for each in batch.said if each.seq > row.acked_seq]
    row = replace(
        row,
        acked_seq=max([row.acked_seq, *(each.seq for each in fresh)]),
        log_offset=_keep_log(tx, attempt, batch, row),
        heartbeat_at=tx.now,
    )
    metrics = [
        _metric(attempt, batch.rank, each, each.fact) for each in fresh if isinstance(each.fact, Metric)
    ]
    tx.records.add_metrics(metrics)
    for each in fresh:
        row = _keep_fact(tx, attempt, batch.rank, each, row)
    tx.records.save_rank(attempt.id, batch.rank, row)
    return row


def _keep_fact(tx: Tx, attempt: Attempt, rank: int, said: Said, row: RankRow) -> RankRow:
    match said.fact:
        case Checkpoint() as checkpoint:
            _keep_checkpoint(tx, attempt, rank, said, checkpoint)
        case Progress(fraction=fraction, message=message):
            return replace(row, progress=fraction, progress_message=message or None)
        case Endpoint() as endpoint:
            _keep_endpoint(tx, attempt, endpoint)
        case Exit(code=code, reason=reason, final=final):
            if final and rank != COORDINATOR:
                whole = tx.records.rank(attempt.id, COORDINATOR)
                ended = replace(whole, exit_code=code, exit_reason=reason, exited_at=said.at)
                tx.records.save_rank(attempt.id, COORDINATOR, ended)
            return replace(row, exit_code=code, exit_reason=reason, exited_at=said.at)
        case _:
            pass
    return row


def _keep_log(tx: Tx, attempt: Attempt, batch: Batch, row: RankRow) -> int:
    """Appends what lies beyond the durable bytes. A piece behind a gap waits until the gap is sent."""
    new = batch.log[max(0, row.log_offset - batch.log_offset) :]
    if batch.log_offset > row.log_offset or not new:
        return row.log_offset
    tx.records.append_log(attempt.id, batch.rank, row.log_offset, new)
    return row.log_offset + len(new)


def _keep_checkpoint(tx: Tx, attempt: Attempt, rank: int, said: Said, checkpoint: Checkpoint) -> None:
    tx.records.add_checkpoint(
        CheckpointRow(
            attempt_id=attempt.id,
            job_id=attempt.job_id,
            rank=rank,
            seq=said.seq,
            step=checkpoint.step,
            uri=checkpoint.uri,
            sha256=checkpoint.sha256,
            at=said.at,
        )
    )
    tx.events.add(
        Event(
            kind="checkpoint.committed",
            subject=attempt.id,
            at=tx.now,
            project_id=attempt.project_id,
            job_id=attempt.job_id,
            data={"rank": rank, "step": checkpoint.step, "uri": checkpoint.uri},
        )
    )
    sources.follow(tx, [attempt.job_id])


def _keep_endpoint(tx: Tx, attempt: Attempt, endpoint: Endpoint) -> None:
    """Of a replica; nobody asks other jobs, wherever they listen."""
    service_id = tx.replicas.services_of([attempt.job_id]).get(attempt.job_id)
    if service_id is None:
        return
    tx.replicas.announce(
        Announcement(
            attempt_id=attempt.id,
            url=endpoint.url,
            grpc=endpoint.grpc,
            is_ready=endpoint.ready,
            at=tx.now,
            ready_at=tx.now if endpoint.ready else None,
        )
    )
    tx.work.poke("service", service_id)


def _metric(attempt: Attempt, rank: int, said: Said, metric: Metric) -> MetricRow:
    return MetricRow(
        attempt_id=attempt.id,
        job_id=attempt.job_id,
        rank=rank,
        seq=said.seq,
        step=metric.step,
        at=said.at,
        values=metric.values,
    )


def _answer(row: RankRow, lease_seconds: float, *, stop: bool, grace: float) -> RecordAnswer:
    return RecordAnswer(
        acked_seq=row.acked_seq,
        log_offset=row.log_offset,
        lease_seconds=lease_seconds,
        stop=stop,
        grace_seconds=grace,
    )


def _check_rank(reporter: Reporter, rank: int) -> None:
    highest = reporter.tasks - 1
    if rank > highest:
        raise Invalid(f"the attempt has no rank {rank}", field="rank", value=rank, limit=highest)


def _checked(batch: RecordBatch) -> Batch:
    said = tuple(_said(record, position) for position, record in enumerate(batch.records))
    for before, after in pairwise(said):
        if after.seq <= before.seq:
            raise Invalid(
                "must rise from record to record", field="records.seq", value=after.seq, limit=before.seq + 1
            )
    log = b"" if batch.log is None else _decoded(batch.log.data)
    return Batch(rank=batch.rank, said=said, log_offset=batch.log.offset if batch.log else 0, log=log)


def _said(record: Record, position: int) -> Said:
    try:
        at = _moment(record.at)
        fact = FACTS[record.kind].model_validate(record.fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in ("records", position, *first["loc"]))
        raise Invalid(f"{record.kind}: {first['msg']}", field=field, value=first["input"]) from error
    except (ValueError, OverflowError) as error:
        raise Invalid(
            "is not an ISO 8601 moment with its offset from UTC",
            field=f"records.{position}.at",
            value=record.at,
        ) from error
    return Said(seq=record.seq, at=at, fact=fact)


def _moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError
    return at.astimezone(UTC)


def _decoded(data: str) -> bytes:
    try:
        log = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid("is not base64", field="log.data") from error
    if len(log) > MAX_LOG_BYTES:
        raise Invalid(f"holds {len(log)} bytes", field="log.data", value=len(log), limit=MAX_LOG_BYTES)
    return log
