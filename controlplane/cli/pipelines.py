"""`crossdock pipelines`: submit graphs of steps, watch them, hold them up, try them again."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from controlplane.cli import schedules
from controlplane.cli.flags import AsJson, InProject
from controlplane.cli.output import STYLES, Columns, Fact, Output
from controlplane.cli.session import REFUSED, Session, session
from controlplane.cli.text import duration, moment, printable, size
from controlplane.wire.pipelines import ExecutionDocument, ExecutionHead, ExecutionSummary, StepDocument

app = typer.Typer(
    name="pipelines",
    help="Execute graphs of steps whose artifacts are handed from one to the next.",
    no_args_is_help=True,
)
app.add_typer(schedules.app)

DONE: Final = frozenset({"succeeded", "cached"})
OVER: Final = DONE | {"failed", "skipped", "cancelled"}


def standing(execution: ExecutionHead) -> str:
    """`running`, `paused`, `cancelling`, or how it ended."""
    if execution.state not in {"waiting", "running"}:
        return execution.state
    if execution.cancel_requested_at is not None:
        return "cancelling"
    return execution.state if execution.paused_at is None else "paused"


def took(step: StepDocument) -> str:
    """Of a step that is over, from when it was first begun."""
    if step.begun_at is None or step.state not in OVER:
        return "-"
    return duration((step.since - step.begun_at).total_seconds())


EXECUTION_COLUMNS: Final[Columns[ExecutionSummary]] = (
    ("ID", lambda each: each.id),
    ("PIPELINE", lambda each: f"{each.project}/{each.pipeline}"),
    ("STATE", standing),
    ("STEPS", lambda each: f"{each.done}/{each.steps}"),
    ("CREATED", lambda each: moment(each.created_at)),
)
STEP_COLUMNS: Final[Columns[StepDocument]] = (
    ("STEP", lambda step: step.name),
    ("STATE", lambda step: step.state),
    ("TRIES", lambda step: str(step.number)),
    ("TOOK", took),
    ("JOB", lambda step: step.job_id or "-"),
    (
        "OUTPUTS",
        lambda step: ", ".join(f"{each.name} {size(each.size_bytes)}" for each in step.outputs) or "-",
    ),
    ("REASON", lambda step: step.reason or "-"),
)
ExecutionId = Annotated[str, typer.Argument(metavar="EXECUTION", help="Id, as `pipelines list` shows it.")]
PipelineFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="Pipeline as YAML or JSON; folders that its jobs name as `working_dir` are relative to it.",
    ),
]


@app.command("submit")
def submit(
    *,
    file: PipelineFile,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit a pipeline. Accepted means stored: it goes on whatever happens to the server or to this command."""
    spec = schedules.read(file)
    with session(as_json=as_json) as opened:
        document = opened.client.pipelines.submit(spec, base=file.parent)
        if detach:
            _show(document, opened.output)
            return
        _follow(opened, document.id)


@app.command("list")
def list_executions(
    *,
    project: InProject = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, metavar="COUNT", help="Show so many at most.")
    ] = 50,
    as_json: AsJson = False,
) -> None:
    """List executions of pipelines, newest first."""
    with session(as_json=as_json) as opened:
        found = opened.client.pipelines.list(project=project)
        opened.output.rows(itertools.islice(found, limit), EXECUTION_COLUMNS)


@app.command("show")
def show(*, execution: ExecutionId, as_json: AsJson = False) -> None:
    """Show an execution and its steps."""
    with session(as_json=as_json) as opened:
        _show(opened.client.pipelines.get(execution), opened.output)


@app.command("watch")
def watch(*, execution: ExecutionId, as_json: AsJson = False) -> None:
    """Follow an execution to its end, across restarts of the server; exit code 1 unless it succeeded."""
    with session(as_json=as_json) as opened:
        _follow(opened, execution)


@app.command("cancel")
def cancel(*, execution: ExecutionId, as_json: AsJson = False) -> None:
    """Cancel its jobs, and begin no more."""
    with session(as_json=as_json) as opened:
        _show(opened.client.pipelines.cancel(execution), opened.output)


@app.command("pause")
def pause(*, execution: ExecutionId, as_json: AsJson = False) -> None:
    """Begin no step until it is resumed; what runs goes on."""
    with session(as_json=as_json) as opened:
        _show(opened.client.pipelines.pause(execution), opened.output)


@app.command("resume")
def resume(*, execution: ExecutionId, as_json: AsJson = False) -> None:
    """Go on with what was paused."""
    with session(as_json=as_json) as opened:
        _show(opened.client.pipelines.resume(execution), opened.output)


@app.command("retry")
def retry(
    *,
    execution: ExecutionId,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Try again what failed or was cancelled, as a new execution; what succeeded is taken if it is still there."""
    with session(as_json=as_json) as opened:
        document = opened.client.pipelines.retry(execution)
        if detach:
            _show(document, opened.output)
            return
        _follow(opened, document.id)


def _follow(opened: Session, execution_id: str) -> None:
    output, watched = opened.output, opened.client.pipelines.watch(execution_id)
    if output.as_json:
        *_, last = watched
        output.json(last)
    elif output.console.is_terminal:
        last = _live(watched, output)
    else:
        last = _line_per_change(watched, output)
        _show(last, output)
    if last.state != "succeeded":
        raise typer.Exit(REFUSED)


def _live(watched: Iterator[ExecutionDocument], output: Output) -> ExecutionDocument:
    last = next(watched)
    with Live(_table(last), console=output.console, refresh_per_second=4) as live:
        for last in watched:
            live.update(_table(last))
    return last


def _table(execution: ExecutionDocument) -> Table:
    title = f"{execution.id}  {execution.pipeline}  {standing(execution)}"
    titles = [name for name, _ in STEP_COLUMNS]
    table = Table(*titles, title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for step in execution.steps:
        cells = [printable(cell(step)) for _, cell in STEP_COLUMNS]
        table.add_row(*(Text(cell, style=STYLES.get(cell, ""), overflow="fold") for cell in cells))
    return table


def _line_per_change(watched: Iterator[ExecutionDocument], output: Output) -> ExecutionDocument:
    said: dict[str, str] = {}
    last = None
    for last in watched:
        for step in last.steps:
            text = f"{step.name}: {step.state}"
            if said.get(step.name, f"{step.name}: pending") != text:
                output.line(f"{last.id} {text}")
            said[step.name] = text
    if last is None:
        raise typer.Exit(REFUSED)
    return last


def _show(execution: ExecutionDocument, output: Output) -> None:
    if output.as_json:
        output.json(execution)
        return
    output.document(execution, _facts(execution))
    output.line("")
    output.rows(execution.steps, STEP_COLUMNS)


def _facts(execution: ExecutionDocument) -> list[Fact]:
    return [
        ("id", execution.id),
        ("pipeline", f"{execution.project}/{execution.pipeline}"),
        ("state", standing(execution)),
        ("reason", execution.reason or ""),
        ("created", moment(execution.created_at)),
        ("since", moment(execution.since)),
        ("retry of", execution.retry_of or ""),
        ("schedule", execution.schedule or ""),
        ("tick", moment(execution.tick)),
        ("outputs", f"{execution.outputs_uri}{execution.id}/"),
    ]
