"""What a waiting person sees: one moving line on a terminal, one line per change elsewhere."""

import time
from contextlib import suppress

from rich.text import Text

from controlplane.cli.output import STYLES, Output
from controlplane.cli.text import duration, number, printable
from controlplane.sdk import Job, Unreachable
from controlplane.sdk.metrics import MetricTail
from controlplane.wire.jobs import AttemptDocument, JobDocument, MetricPoint

SHOWN_METRICS = 3
DETAILS_EVERY_SECONDS = 1.0


def wait(job: Job, output: Output, *, timeout_seconds: float | None = None) -> None:
    """Returns when the job has finished; its last line is left to the caller."""
    if output.as_json:
        job.wait(timeout_seconds=timeout_seconds)
    elif output.console.is_terminal:
        _moving_line(job, output, timeout_seconds=timeout_seconds)
    else:
        _line_per_change(job, output, timeout_seconds=timeout_seconds)


def summary(document: JobDocument) -> str:
    """`job_1 digits: succeeded`, with the reason where there is one."""
    why = f" ({printable(document.reason)})" if document.reason else ""
    return f"{document.id} {document.name}: {document.phase}{why}"


def _line_per_change(job: Job, output: Output, *, timeout_seconds: float | None) -> None:
    said = ""
    for _ in job.watch(timeout_seconds=timeout_seconds):
        document = job.document
        attempt = f", attempt {document.attempts}" if document.attempts else ""
        text = f"{document.id} {document.name}: {document.phase}{attempt}"
        if text != said and not job.is_finished:
            output.line(text)
            said = text


def _moving_line(job: Job, output: Output, *, timeout_seconds: float | None) -> None:
    display = _Display(job)
    with output.console.status(display.text()) as line:
        for _ in job.watch(timeout_seconds=timeout_seconds):
            line.update(display.text())


class _Display:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._began = time.monotonic()
        self._looked_at = float("-inf")
        self._attempt: AttemptDocument | None = None
        self._metrics: MetricTail = job.metric_tail()
        self._newest: MetricPoint | None = None

    def text(self) -> Text:
        document = self._job.document
        if document.state == "active" and time.monotonic() - self._looked_at > DETAILS_EVERY_SECONDS:
            self._look()
        parts = [*_of_attempt(self._attempt), *_of_metric(self._newest)] if document.attempts else []
        line = Text(f"{document.name}  ")
        line.append(document.phase, style=STYLES.get(document.phase, ""))
        for part in (*parts, duration(time.monotonic() - self._began)):
            line.append(f"  {printable(part)}")
        return line

    def _look(self) -> None:
        with suppress(Unreachable):  # the wait itself is more patient than this ornament
            self._attempt = next(reversed(self._job.attempts()), None)
            self._newest = next(reversed(self._metrics.read()), self._newest)
        self._looked_at = time.monotonic()


def _of_attempt(attempt: AttemptDocument | None) -> list[str]:
    if attempt is None:
        return []
    parts = [f"attempt {attempt.number} on {attempt.cluster}"]
    if attempt.progress is not None:
        parts.append(f"{attempt.progress:.0%}")
    if attempt.progress_message:
        parts.append(attempt.progress_message)
    return parts


def _of_metric(point: MetricPoint | None) -> list[str]:
    if point is None:
        return []
    shown = list(point.values.items())[:SHOWN_METRICS]
    values = (f"{name} {'-' if value is None else number(value)}" for name, value in shown)
    return [f"step {point.step}", *values]
