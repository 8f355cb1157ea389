"""`crossdock pipelines schedule`: pipelines that are executed by the clock."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
import yaml

from controlplane.cli.flags import AsJson, InProject, Project
from controlplane.cli.output import Columns, Fact, Output
from controlplane.cli.session import session
from controlplane.cli.text import moment
from controlplane.wire.pipelines import ScheduleDocument

app = typer.Typer(name="schedule", help="Execute pipelines by the clock.", no_args_is_help=True)

COLUMNS: Final[Columns[ScheduleDocument]] = (
    ("NAME", lambda each: f"{each.project}/{each.name}"),
    ("PIPELINE", lambda each: each.pipeline),
    ("CRON", lambda each: each.cron),
    ("ZONE", lambda each: each.zone),
    ("OVERLAP", lambda each: each.overlap),
    ("NEXT", lambda each: "paused" if each.paused_at else moment(each.next_at)),
    ("LAST", lambda each: moment(each.last_at)),
    ("PROBLEM", lambda each: each.problem or "-"),
)

ScheduleName = Annotated[str, typer.Argument(metavar="SCHEDULE", help="Name of the schedule.")]


@app.command("add")
def add(
    *,
    name: ScheduleName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Pipeline as YAML or JSON.")],
    cron: Annotated[
        str, typer.Option("--cron", metavar="FIELDS", help="Minute, hour, day, month, weekday: `0 3 * * *`.")
    ],
    zone: Annotated[
        str, typer.Option("--zone", metavar="ZONE", help="Time zone of the fields, e.g. Europe/Berlin.")
    ] = "UTC",
    overlap: Annotated[
        Literal["skip", "queue"],
        typer.Option("--overlap", help="What a tick does while an earlier execution is not over."),
    ] = "skip",
    as_json: AsJson = False,
) -> None:
    """Add a schedule. Its executions have the rights of your token, and end with it."""
    spec = read(file)
    with session(as_json=as_json) as opened:
        added = opened.client.schedules.add(
            name, spec, cron=cron, zone=zone, overlap=overlap, base=file.parent
        )
        _show(added, opened.output)


@app.command("list")
def list_schedules(*, project: InProject = None, as_json: AsJson = False) -> None:
    """List schedules in the order in which they were added."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.schedules.list(project=project), COLUMNS)


@app.command("show")
def show(*, name: ScheduleName, project: Project = "default", as_json: AsJson = False) -> None:
    """Show a schedule."""
    with session(as_json=as_json) as opened:
        _show(opened.client.schedules.get(name, project=project), opened.output)


@app.command("pause")
def pause(*, name: ScheduleName, project: Project = "default", as_json: AsJson = False) -> None:
    """Let its ticks pass by; executions that it made go on."""
    with session(as_json=as_json) as opened:
        _show(opened.client.schedules.pause(name, project=project), opened.output)


@app.command("resume")
def resume(*, name: ScheduleName, project: Project = "default", as_json: AsJson = False) -> None:
    """Go on from the next tick; those that passed by are not caught up with."""
    with session(as_json=as_json) as opened:
        _show(opened.client.schedules.resume(name, project=project), opened.output)


@app.command("remove")
def remove(*, name: ScheduleName, project: Project = "default", as_json: AsJson = False) -> None:
    """Remove a schedule; executions that it made go on."""
    with session(as_json=as_json) as opened:
        _show(opened.client.schedules.remove(name, project=project), opened.output)


def read(file: Path) -> dict[str, Any]:  # JSON values
    """A pipeline file."""
    try:
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {error}", param_hint="FILE") from error
    if not isinstance(spec, dict):
        raise typer.BadParameter(f"{file} must hold a mapping of pipeline fields", param_hint="FILE")
    return spec


def _show(schedule: ScheduleDocument, output: Output) -> None:
    output.document(schedule, _facts(schedule))


def _facts(schedule: ScheduleDocument) -> list[Fact]:
    return [
        ("name", f"{schedule.project}/{schedule.name}"),
        ("pipeline", schedule.pipeline),
        ("cron", f"{schedule.cron} ({schedule.zone})"),
        ("overlap", schedule.overlap),
        ("next", moment(schedule.next_at)),
        ("last", moment(schedule.last_at)),
        ("problem", schedule.problem or ""),
        ("paused", moment(schedule.paused_at)),
    ]
