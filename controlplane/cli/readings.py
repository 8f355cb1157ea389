"""What a job has to say: logs, metrics, attempts, checkpoints, and the reason for where it is."""

from typing import Annotated, Final

import typer

from controlplane.cli.flags import AsJson, JobId
from controlplane.cli.output import Columns, Output
from controlplane.cli.session import session
from controlplane.cli.text import moment, number, printable
from controlplane.sdk import Job
from controlplane.wire.jobs import AttemptDocument, CheckpointDocument, MetricPoint

Rank = Annotated[
    int | None,
    typer.Option("--rank", min=-1, metavar="RANK", help="Only of this task; -1 is a gang's coordinator."),
]
AttemptNumber = Annotated[
    int | None,
    typer.Option("--attempt", min=1, metavar="NUMBER", help="Of this attempt; default: the newest."),
]


def _progress(attempt: AttemptDocument) -> str:
    if attempt.progress is None:
        return "-"
    return " ".join(filter(None, (f"{attempt.progress:.0%}", attempt.progress_message)))


def _values(point: MetricPoint) -> str:
    return " ".join(
        f"{name}={'-' if value is None else number(value)}" for name, value in point.values.items()
    )


ATTEMPT_COLUMNS: Final[Columns[AttemptDocument]] = (
    ("NUMBER", lambda each: str(each.number)),
    ("ID", lambda each: each.id),
    ("CLUSTER", lambda each: each.cluster),
    ("STATE", lambda each: each.outcome or each.state),
    ("EXIT", lambda each: "-" if each.exit_code is None else str(each.exit_code)),
    ("PROGRESS", _progress),
    ("PLACED", lambda each: moment(each.placed_at)),
    ("ENDED", lambda each: moment(each.ended_at)),
    ("NODES", lambda each: ",".join(dict.fromkeys(s.node for s in each.seats))),
    ("REASON", lambda each: each.reason or "-"),
)
CHECKPOINT_COLUMNS: Final[Columns[CheckpointDocument]] = (
    ("STEP", lambda each: str(each.step)),
    ("RANK", lambda each: str(each.rank)),
    ("AT", lambda each: moment(each.at)),
    ("URI", lambda each: each.uri),
)
METRIC_COLUMNS: Final[Columns[MetricPoint]] = (
    ("ATTEMPT", lambda each: str(each.attempt_number)),
    ("RANK", lambda each: str(each.rank)),
    ("STEP", lambda each: str(each.step)),
    ("AT", lambda each: moment(each.at)),
    ("VALUES", _values),
)


def logs(
    *,
    job_id: JobId,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="Go on until the job has finished, across restarts of the server."
        ),
    ] = False,
    rank: Rank = None,
    attempt: AttemptNumber = None,
    as_json: AsJson = False,
) -> None:
    """Print a job's output; lines of a gang begin with their task's rank."""
    with session(as_json=as_json) as opened:
        print_logs(opened.client.jobs.get(job_id), opened.output, follow=follow, rank=rank, attempt=attempt)


def metrics(*, job_id: JobId, as_json: AsJson = False) -> None:
    """Print what a job's code measured: one line per report."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.jobs.get(job_id).metrics(), METRIC_COLUMNS)


def attempts(*, job_id: JobId, as_json: AsJson = False) -> None:
    """List a job's tries: where each ran and how it ended."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.jobs.get(job_id).attempts(), ATTEMPT_COLUMNS)


def checkpoints(*, job_id: JobId, as_json: AsJson = False) -> None:
    """List a job's durable checkpoints; the next attempt resumes from the newest."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.jobs.get(job_id).checkpoints(), CHECKPOINT_COLUMNS)


def explain(*, job_id: JobId, as_json: AsJson = False) -> None:
    """Say why a job is where it is, and what would change that."""
    with session(as_json=as_json) as opened:
        told = opened.client.jobs.get(job_id).explain()
        if as_json:
            opened.output.json(told)
            return
        opened.output.line(f"{told.phase} ({told.code}): {printable(told.sentence)}")
        if told.remedy:
            opened.output.line(f"what would help: {printable(told.remedy)}")
        if told.unused_fields:
            opened.output.line(f"stored, but not used by any decision yet: {', '.join(told.unused_fields)}")
        opened.output.line(f"as of {moment(told.as_of)}")


def print_logs(
    job: Job, output: Output, *, follow: bool = False, rank: int | None = None, attempt: int | None = None
) -> None:
    """Raw, colours and all, as `tail` would; JSON comes in the server's pieces."""
    if output.as_json:
        for chunk in job.log_chunks(follow=follow, rank=rank, attempt=attempt):
            output.json(chunk)
        return
    is_gang = job.document.tasks > 1 and rank is None
    for line in job.log_lines(follow=follow, rank=rank, attempt=attempt):
        output.line(f"[{line.rank}] {line.text}" if is_gang else line.text)
