"""Following: what a stream of logs or events has sent, and what is new since then."""

from dataclasses import dataclass, field
from typing import Final

from controlplane.api import documents
from controlplane.api.calls import Call
from controlplane.api.streams import Told
from controlplane.domain.attempts import Attempt
from controlplane.domain.errors import Invalid
from controlplane.domain.ids import JobId
from controlplane.operations import events, logs
from controlplane.operations.lookups import job_for
from controlplane.store import Tx
from controlplane.wire.jobs import LogChunk

PIECE_BYTES: Final = 64 * 1024
PIECE_EVENTS: Final = 200
MOST_RANKS: Final = 256
"""A message's id says how far each task was read, so it grows with them."""


@dataclass(slots=True, kw_only=True)
class LogFollower:
    """One reader's place: an attempt, and an offset for each of its tasks."""

    call: Call
    job_id: str
    attempt_name: str | None
    rank: int | None
    number: int | None = None
    """Of the attempt that is being read."""

    offsets: dict[int, int] = field(default_factory=dict)

    def begin(self, last_event_id: str | None) -> None:
        """Raises for what cannot be followed, while the answer can still be a problem."""
        who = self.call.principal()
        place = _place(self.call, "logs", last_event_id)
        if place is not None:
            self.number = place[0]
            self.offsets = dict(zip(place[1::2], place[2::2], strict=True))
        with self.call.context.store.read() as tx:
            found = logs.attempts_for(tx, who, self.job_id)
            ask = tx.asks.of_job(JobId(self.job_id))
            if self.rank is None and ask is not None and ask.tasks > MOST_RANKS:
                raise Invalid(
                    "name one: there are too many tasks to follow all", field="rank", limit=MOST_RANKS
                )
            if self.attempt_name is not None:
                self.number = logs.chosen(found, self.job_id, self.attempt_name).number

    def look(self) -> Told:
        who = self.call.principal()
        with self.call.context.store.read() as tx:
            job = job_for(tx, who, self.job_id)
            attempt = self._current(tx.attempts.of_job(job.id))
            if attempt is None:
                return Told(is_over=job.is_finished)
            chunks = self._chunks(tx, attempt)
            messages = tuple(self._message(chunk) for chunk in chunks)
            if chunks or attempt.is_live:
                return Told(messages=messages, has_more=bool(chunks))
            return self._next_attempt(tx, attempt, is_finished=job.is_finished)

    def _current(self, attempts: list[Attempt]) -> Attempt | None:
        """The newest one when a reader comes without a place; from then on one after the other."""
        if self.number is None and attempts:
            self.number = attempts[-1].number
        return next((each for each in attempts if each.number == self.number), None)

    def _chunks(self, tx: Tx, attempt: Attempt) -> list[LogChunk]:
        kept = {rank: row.log_offset for rank, row in sorted(tx.records.ranks(attempt.id).items())}
        wanted = [rank for rank in kept if self.rank in {None, rank}]
        behind = [rank for rank in wanted if self.offsets.get(rank, 0) < kept[rank]]
        chunks = [logs.chunk(tx, attempt, rank, self.offsets.get(rank, 0), PIECE_BYTES) for rank in behind]
        return [chunk for chunk in chunks if chunk.next_offset > chunk.offset]

    def _message(self, chunk: LogChunk) -> tuple[str, str]:
        self.offsets[chunk.rank] = chunk.next_offset
        flat = [number for pair in sorted(self.offsets.items()) for number in pair]
        return self.call.site.cursors.write("logs", (self.number or 0, *flat)), chunk.model_dump_json()

    def _next_attempt(self, tx: Tx, attempt: Attempt, *, is_finished: bool) -> Told:
        if self.attempt_name is not None:
            return Told(is_over=True)
        numbers = [each.number for each in tx.attempts.of_job(attempt.job_id)]
        if attempt.number < max(numbers):
            self.number, self.offsets = attempt.number + 1, {}
            return Told(has_more=True)
        return Told(is_over=is_finished)


@dataclass(slots=True, kw_only=True)
class EventFollower:
    """One reader's place in the change feed."""

    call: Call
    job_id: str | None
    cursor: str | None

    def begin(self) -> None:
        events.after(self.call.context, self.call.principal(), self.cursor, limit=1, job_id=self.job_id)

    def look(self) -> Told:
        found, self.cursor = events.after(
            self.call.context, self.call.principal(), self.cursor, limit=PIECE_EVENTS, job_id=self.job_id
        )
        messages = tuple(
            (cursor, documents.event(cursor, event).model_dump_json()) for cursor, event in found
        )
        return Told(messages=messages, has_more=len(found) == PIECE_EVENTS)


def _place(call: Call, noun: str, last_event_id: str | None) -> list[int] | None:
    """Raises `Invalid` for an id that no message of ours carried."""
    try:
        place = call.site.cursors.read(noun, last_event_id)
    except Invalid as error:
        raise Invalid(error.message, field="Last-Event-ID", value=last_event_id) from error
    return None if place is None else [int(each) for each in place]
