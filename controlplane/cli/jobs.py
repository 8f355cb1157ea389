"""`crossdock jobs`: submit work, follow it, end it."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import typer

from controlplane.cli import jobfile, progress, readings
from controlplane.cli.flags import AsJson, InProject, JobId
from controlplane.cli.output import Columns, Fact, Output
from controlplane.cli.session import REFUSED, session
from controlplane.cli.text import amounts, moment
from controlplane.sdk import Job
from controlplane.wire.jobs import JobDocument, JobStateName

app = typer.Typer(
    name="jobs", help="Submit jobs, follow them, and ask why they are where they are.", no_args_is_help=True
)

STATES: Final[tuple[JobStateName, ...]] = get_args(JobStateName)
COLUMNS: Final[Columns[JobDocument]] = (
    ("ID", lambda job: job.id),
    ("NAME", lambda job: job.name),
    ("QUEUE", lambda job: f"{job.project}/{job.queue}"),
    ("PHASE", lambda job: job.phase),
    ("TASKS", lambda job: str(job.tasks)),
    ("ATTEMPTS", lambda job: str(job.attempts)),
    ("SUBMITTED", lambda job: moment(job.submitted_at)),
)


@app.command("submit")
def submit(
    *,
    job_file: Annotated[
        Path, typer.Argument(metavar="JOB_FILE", help="Job as YAML or JSON; `-` reads standard input.")
    ],
    working_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Local folder to start in, uploaded unless the server has it (limit 256 MiB zipped); "
            "default: the file's `working_dir`, relative to the file.",
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end; exit code 1 unless it succeeded.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Like --wait, and print the logs meanwhile.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Submit a job. Accepted means stored: it survives whatever happens to the server after that."""
    spec, named_folder = jobfile.read(job_file)
    with session(as_json=as_json) as opened:
        job = opened.client.jobs.submit(spec, working_dir=working_dir or named_folder)
        if not (wait or follow):
            _tell(job, opened.output)
            return
        if follow:
            readings.print_logs(job, opened.output, follow=True)
        _finish(job, opened.output)


@app.command("list")
def list_jobs(
    *,
    project: InProject = None,
    queue: Annotated[
        str | None, typer.Option("--queue", "-q", metavar="NAME", help="Only of this queue.")
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            "-s",
            metavar="STATE",
            help=f"Only in this state: {', '.join(STATES)}. Repeat for several.",
        ),
    ] = None,
    kind: Annotated[
        Literal["training", "batch", "command", "replica"] | None,
        typer.Option("--kind", help="Only of this kind."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Only with exactly this name.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="Only with exactly this label.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, metavar="COUNT", help="Show so many at most.")
    ] = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with session(as_json=as_json) as opened:
        jobs = opened.client.jobs.list(
            project=project, queue=queue, state=_states(state), kind=kind, name=name, label=_label(label)
        )
        shown: Iterable[JobDocument] = (job.document for job in itertools.islice(jobs, limit))
        opened.output.rows(shown, COLUMNS)


@app.command("get")
def get(*, job_id: JobId, as_json: AsJson = False) -> None:
    """Show one job."""
    with session(as_json=as_json) as opened:
        document = opened.client.jobs.get(job_id).document
        opened.output.document(document, _facts(document))


@app.command("cancel")
def cancel(*, job_id: JobId, as_json: AsJson = False) -> None:
    """Cancel a job: at once while it waits, within its grace time when it runs."""
    with session(as_json=as_json) as opened:
        _tell(opened.client.jobs.get(job_id).cancel(), opened.output)


@app.command("retry")
def retry(*, job_id: JobId, as_json: AsJson = False) -> None:
    """Submit a finished job's spec again, as a new job."""
    with session(as_json=as_json) as opened:
        _tell(opened.client.jobs.get(job_id).retry(), opened.output)


@app.command("wait")
def wait_for(
    *,
    job_id: JobId,
    timeout_seconds: Annotated[
        float | None,
        typer.Option("--timeout", min=0, metavar="SECONDS", help="Give up after so long; default: never."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Wait for a job's end, across restarts of the server; exit code 1 unless it succeeded."""
    with session(as_json=as_json) as opened:
        _finish(opened.client.jobs.get(job_id), opened.output, timeout_seconds=timeout_seconds)


app.command("logs")(readings.logs)
app.command("metrics")(readings.metrics)
app.command("attempts")(readings.attempts)
app.command("checkpoints")(readings.checkpoints)
app.command("explain")(readings.explain)


def _tell(job: Job, output: Output) -> None:
    if output.as_json:
        output.json(job.document)
    else:
        output.line(progress.summary(job.document))


def _finish(job: Job, output: Output, *, timeout_seconds: float | None = None) -> None:
    progress.wait(job, output, timeout_seconds=timeout_seconds)
    _tell(job, output)
    if job.state != "succeeded":
        raise typer.Exit(REFUSED)


def _states(given: list[str] | None) -> list[JobStateName] | None:
    if given is not None and (unknown := [each for each in given if each not in STATES]):
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(STATES)}", param_hint="--state")
    return None if given is None else [each for each in STATES if each in given]


def _label(given: str | None) -> tuple[str, str] | None:
    if given is None:
        return None
    key, equals, value = given.partition("=")
    if not (key and equals):
        raise typer.BadParameter("write KEY=VALUE", param_hint="--label")
    return key, value


def _facts(job: JobDocument) -> list[Fact]:
    return [
        ("id", job.id),
        ("name", job.name),
        ("kind", job.kind),
        ("queue", f"{job.project}/{job.queue}"),
        ("phase", job.phase),
        ("reason", job.reason or ""),
        ("priority", str(job.priority)),
        ("tasks", _tasks(job)),
        ("attempts", str(job.attempts)),
        ("submitted", moment(job.submitted_at)),
        ("since", moment(job.since)),
        ("cancel asked", moment(job.cancel_requested_at)),
        ("depends on", ", ".join(job.depends_on)),
        ("retry of", job.retry_of or ""),
        ("labels", ", ".join(f"{key}={value}" for key, value in job.labels.items())),
        ("entrypoint", str(job.spec.get("entrypoint", ""))),
    ]


def _tasks(job: JobDocument) -> str:
    """`4 x (gpus 1)`; in roles `server 1 x (cpus 8), worker 4 x (gpus 1)`."""
    if roles := job.spec.get("roles"):
        told = [f"{role['name']} {role.get('tasks', 1)} x ({_needs(role)})" for role in roles]
        return ", ".join(told)
    return f"{job.tasks} x ({_needs(job.spec)})"


def _needs(spec: dict[str, Any]) -> str:  # JSON object
    """Of one task, as the spec says it: `cpus 2, gpus 1, memory 2GiB`. A newer server's fields are shown as well."""
    asked = {"cpus": 1.0, **spec.get("resources", {})}
    asked |= asked.pop("custom", {})
    counted = {name: value for name, value in asked.items() if isinstance(value, int | float)}
    named = [f"{name} {value}" for name, value in asked.items() if isinstance(value, str)]
    return ", ".join([amounts(counted), *named])
