"""Logs: a task's output by byte offset, as text."""

import codecs
from collections.abc import Sequence

from controlplane.domain.attempts import Attempt
from controlplane.domain.errors import NotFound
from controlplane.domain.ids import AttemptId
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.lookups import job_for
from controlplane.store import Tx
from controlplane.wire.jobs import LogChunk


def read(
    context: Context,
    principal: Principal,
    job_id: str,
    *,
    attempt_name: str | None = None,
    rank: int = 0,
    offset: int = 0,
    limit_bytes: int,
) -> LogChunk:
    """A piece of the log of one task, of the newest attempt unless another is named."""
    with context.store.read() as tx:
        attempt = chosen(attempts_for(tx, principal, job_id), job_id, attempt_name)
        return chunk(tx, attempt, rank, offset, limit_bytes)


def attempts_for(tx: Tx, principal: Principal, job_id: str) -> Sequence[Attempt]:
    return tx.attempts.of_job(job_for(tx, principal, job_id).id)


def chosen(attempts: Sequence[Attempt], job_id: str, name: str | None) -> Attempt:
    """By id or number; the newest one if there is no name."""
    for attempt in reversed(attempts):
        if name in {None, attempt.id, str(attempt.number)}:
            return attempt
    if name is None:
        raise NotFound(f"job {job_id} has no attempt yet", field="attempt")
    raise NotFound(f"job {job_id} has no attempt {name!r}", field="attempt", value=name)


def chunk(tx: Tx, attempt: Attempt, rank: int, offset: int, limit_bytes: int) -> LogChunk:
    """Ends between two characters, so that pieces can be put together; needs room for one: 4 bytes."""
    kept = tx.records.rank(attempt.id, rank).log_offset
    data = tx.records.read_log(AttemptId(attempt.id), rank, offset, limit_bytes)
    is_last = not attempt.is_live and offset + len(data) >= kept
    text, size = decoded(data, final=is_last)
    return LogChunk(
        attempt_id=attempt.id,
        rank=rank,
        offset=offset,
        next_offset=offset + size,
        data=text,
        complete=is_last,
    )


def decoded(data: bytes, *, final: bool) -> tuple[str, int]:
    """The text, and how many bytes it stands for: a character that has not wholly arrived is left for later."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = decoder.decode(data, final)
    return text, len(data) - len(decoder.getstate()[0])
