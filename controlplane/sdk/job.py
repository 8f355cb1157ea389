"""A job's handle: the document that the server sent last, and what can be done with the job."""

import time
from collections.abc import Iterator
from typing import Final, Self

from controlplane.sdk import streams
from controlplane.sdk.errors import JobFailed, NotFound, Timeout, Unreachable
from controlplane.sdk.logs import LogLine, lines, seamless
from controlplane.sdk.metrics import MetricTail
from controlplane.sdk.patience import Patience
from controlplane.sdk.transport import Params, Transport, parse
from controlplane.wire.base import Page, Problem
from controlplane.wire.jobs import (
    AttemptDocument,
    CheckpointDocument,
    Explanation,
    JobDocument,
    JobStateName,
    LogChunk,
    MetricPoint,
)

FINISHED: Final = frozenset({"succeeded", "failed", "cancelled"})
PATIENCE_SECONDS: Final = 300.0
"""How long a wait outlasts a server that does not answer."""

METRICS_AT_ONCE: Final = 1000
FIRST_LOOK_SECONDS: Final = 0.1
RAREST_LOOK_SECONDS: Final = 2.0


class Job:
    """Refreshed by `refresh`, `wait`, `watch` and `cancel`; the document itself never changes."""

    __slots__ = ("_document", "_transport")

    def __init__(self, transport: Transport, document: JobDocument) -> None:
        self._transport = transport
        self._document = document

    def __repr__(self) -> str:
        return f"Job({self.id!r}, name={self._document.name!r}, state={self.state!r})"

    @property
    def document(self) -> JobDocument:
        return self._document

    @property
    def id(self) -> str:
        return self._document.id

    @property
    def state(self) -> JobStateName:
        return self._document.state

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED

    def refresh(self) -> Self:
        """Asks the server how it stands now."""
        self._look(patience_seconds=None)
        return self

    def wait(
        self,
        *,
        timeout_seconds: float | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
        check: bool = False,
    ) -> Self:
        """Returns when the job has finished, whatever its outcome.

        With `check`, raises `JobFailed` unless it succeeded. Raises `Timeout` after `timeout_seconds`
        (default: none), and `Unreachable` when no server answered for `patience_seconds`; a restart of
        the server in between is not noticed.
        """
        for _ in self.watch(timeout_seconds=timeout_seconds, patience_seconds=patience_seconds):
            pass
        if check and self.state != "succeeded":
            raise JobFailed(self._document)
        return self

    def watch(
        self, *, timeout_seconds: float | None = None, patience_seconds: float = PATIENCE_SECONDS
    ) -> Iterator[Self]:
        """Yields after every look at the server, the last time when the job has finished. Raises like `wait`."""
        ends_at = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        patience = Patience(patience_seconds)
        interval_seconds = FIRST_LOOK_SECONDS
        while True:
            version = self._document.version
            try:
                self._look(patience_seconds=0)
            except Unreachable as failure:
                self._in_time(ends_at)
                patience.pause(failure)
                continue
            patience.reset()
            yield self
            if self.is_finished:
                return
            quiet = version == self._document.version
            interval_seconds = (
                min(interval_seconds * 1.3, RAREST_LOOK_SECONDS) if quiet else FIRST_LOOK_SECONDS
            )
            left_seconds = self._in_time(ends_at)
            time.sleep(min(interval_seconds, left_seconds))

    def logs(
        self, *, follow: bool = False, rank: int | None = None, attempt: int | None = None
    ) -> Iterator[str]:
        """Lines of the output, without line ends; `log_lines` also says whose they are."""
        return (line.text for line in self.log_lines(follow=follow, rank=rank, attempt=attempt))

    def log_lines(
        self, *, follow: bool = False, rank: int | None = None, attempt: int | None = None
    ) -> Iterator[LogLine]:
        """Lines of one task or of all (`rank` None), of one attempt (by number) or the newest.

        With `follow` they go on, into later attempts too unless one was asked for, until the job has
        finished; a restart of the server leaves neither hole nor duplicate.
        """
        return lines(self.log_chunks(follow=follow, rank=rank, attempt=attempt))

    def log_chunks(
        self, *, follow: bool = False, rank: int | None = None, attempt: int | None = None
    ) -> Iterator[LogChunk]:
        """The pieces that `log_lines` is made of, as the server sends them."""
        if follow:
            return seamless(self._followed(rank=rank, attempt=attempt), self._log_from)
        return self._logs_so_far(rank=rank, attempt=attempt)

    def metrics(self) -> Iterator[MetricPoint]:
        """Everything that the tasks reported so far, by attempt, rank and order of reporting."""
        return self._transport.items(
            f"{self._path}/metrics", Page[MetricPoint], params={"limit": METRICS_AT_ONCE}
        )

    def metric_tail(self) -> MetricTail:
        """For looking at the metrics again and again while the job runs."""
        return MetricTail(self._transport, f"{self._path}/metrics")

    def checkpoints(self) -> list[CheckpointDocument]:
        """What the code says is durable."""
        return list(self._transport.items(f"{self._path}/checkpoints", Page[CheckpointDocument]))

    def attempts(self) -> list[AttemptDocument]:
        """Every try so far, oldest first."""
        return list(self._transport.items(f"{self._path}/attempts", Page[AttemptDocument]))

    def explain(self) -> Explanation:
        """Why it is where it is, and what would change that."""
        return parse(Explanation, self._transport.get(f"{self._path}/explain"))

    def cancel(self) -> Self:
        """Asks for its end: a waiting job is cancelled at once, a running one is stopped within its grace time."""
        self._document = parse(JobDocument, self._transport.post(f"{self._path}/cancel"))
        return self

    def retry(self) -> "Job":
        """Submits the same spec as a new job, which is returned. Only for finished jobs."""
        return Job(self._transport, parse(JobDocument, self._transport.post(f"{self._path}/retry")))

    @property
    def _path(self) -> str:
        return f"/v1/jobs/{self.id}"

    def _look(self, *, patience_seconds: float | None) -> None:
        answer = self._transport.get(self._path, patience_seconds=patience_seconds)
        self._document = parse(JobDocument, answer)

    def _in_time(self, ends_at: float | None) -> float:
        """Seconds left; raises `Timeout` when there are none."""
        left_seconds = float("inf") if ends_at is None else ends_at - time.monotonic()
        if left_seconds <= 0:
            raise Timeout(f"job {self.id} is still {self._document.phase}")
        return left_seconds

    def _followed(self, *, rank: int | None, attempt: int | None) -> Iterator[LogChunk]:
        messages = streams.follow(
            self._transport,
            f"{self._path}/logs/stream",
            params={"rank": rank, "attempt": attempt},
            patience_seconds=PATIENCE_SECONDS,
            is_over=lambda: self.refresh().is_finished,
        )
        return (LogChunk.model_validate_json(message.data) for message in messages)

    def _logs_so_far(self, *, rank: int | None, attempt: int | None) -> Iterator[LogChunk]:
        for tried in self.attempts()[-1:] if attempt is None else [self._attempt(attempt)]:
            for each in self._ranks(tried) if rank is None else (rank,):
                yield from self._log_from(tried.id, each, 0)

    def _attempt(self, number: int) -> AttemptDocument:
        for each in self.attempts():
            if each.number == number:
                return each
        raise NotFound(
            Problem(
                type="/problems/not_found",
                title="There is no such object",
                status=404,
                detail=f"job {self.id} has no attempt {number}",
                code="not_found",
            )
        )

    def _ranks(self, attempt: AttemptDocument) -> tuple[int, ...]:
        if self._document.spec.get("launch") == "driver":
            return (0,)  # the others' seats are used by what it starts
        return tuple(sorted(seat.rank for seat in attempt.seats))

    def _log_from(self, attempt_id: str, rank: int, offset: int) -> Iterator[LogChunk]:
        """What the server has from `offset` on."""
        while True:
            params: Params = {"attempt": attempt_id, "rank": rank, "offset": offset}
            chunk = parse(LogChunk, self._transport.get(f"{self._path}/logs", params=params))
            if chunk.next_offset == offset:
                return
            yield chunk
            if chunk.complete:
                return
            offset = chunk.next_offset
