"""Schedules: pipelines that are executed again and again, and what is done at each tick."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from controlplane.domain.errors import Conflict, NotFound, StaleWrite, UserError
from controlplane.domain.events import Event
from controlplane.domain.ids import ExecutionId, ScheduleId
from controlplane.domain.schedules import Overlap, Schedule
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations import ticks
from controlplane.operations.acting import principal_for
from controlplane.operations.context import Context
from controlplane.operations.executions import Occasion, begin, drafted
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.lookups import project_for, project_names
from controlplane.reconcilers.schedules import ScheduleDecision, ScheduleView, decide
from controlplane.store import Tx
from controlplane.wire.pipelines import PIPELINE_VERSION, PipelineSpec, ScheduleCreate

MOST_SCHEDULES: Final = 200
"""Of one project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleName:
    """What callers call a schedule."""

    project: str
    name: str

    def __str__(self) -> str:
        return f"{self.project}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleReport:
    schedule: Schedule
    project_name: str
    pipeline_name: str


def create(
    context: Context,
    principal: Principal,
    wanted: ScheduleCreate,
    *,
    once: Once[ScheduleReport] | None = None,
) -> ScheduleReport:
    """Checks the pipeline as if it were submitted now."""
    ticks.check(wanted.cron, wanted.zone)
    schedule_id = ScheduleId(context.ids.new("schedule"))
    spec_json = wanted.pipeline.model_dump_json(exclude_unset=True)

    def unit(tx: Tx) -> ScheduleReport:
        project = project_for(tx, principal, wanted.pipeline.project, Action.SUBMIT)
        if tx.schedules.by_name(project.id, wanted.name) is not None:
            raise Conflict(
                f"project {project.name!r} has a schedule {wanted.name!r} already",
                field="name",
                value=wanted.name,
            )
        if tx.schedules.count(project.id) >= MOST_SCHEDULES:
            raise Conflict(
                f"project {project.name!r} has {MOST_SCHEDULES} schedules, the most that it may have",
                field="project",
                value=project.name,
                limit=MOST_SCHEDULES,
            )
        drafted(tx, principal, Occasion(execution_id=ExecutionId(schedule_id), spec_json=spec_json))
        schedule = Schedule(
            id=schedule_id,
            project_id=project.id,
            name=wanted.name,
            cron=wanted.cron,
            zone=wanted.zone,
            overlap=Overlap(wanted.overlap),
            token_id=principal.token_id,
            created_at=tx.now,
            next_at=ticks.after(wanted.cron, wanted.zone, tx.now),
        )
        tx.schedules.add(schedule, spec=spec_json, schema_version=PIPELINE_VERSION)
        tx.work.poke("schedule", schedule.id, schedule.next_at)
        _tell(tx, schedule, "created", by=principal.name)
        return ScheduleReport(
            schedule=schedule, project_name=project.name, pipeline_name=wanted.pipeline.name
        )

    return write_once(context.store, unit, once)


def listed(
    context: Context, principal: Principal, *, project: str | None, after: str, limit: int
) -> list[ScheduleReport]:
    """By id, from behind the id `after`."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        owner = principal.project_id if project is None else project_for(tx, principal, project).id
        found = tx.schedules.page(owner, after, limit)
        names = project_names(tx, frozenset(each.project_id for each in found))
        return [_report(tx, each, names[each.project_id]) for each in found]


def get(context: Context, principal: Principal, name: ScheduleName) -> ScheduleReport:
    with context.store.read() as tx:
        return _report(tx, _schedule_for(tx, principal, name), name.project)


def pause(
    context: Context, principal: Principal, name: ScheduleName, *, once: Once[ScheduleReport] | None = None
) -> ScheduleReport:
    """Its ticks pass by; executions that it made go on. Saying it again changes nothing."""

    def change(tx: Tx, schedule: Schedule) -> Schedule:
        if schedule.paused_at is not None:
            return schedule
        return schedule.changed(paused_at=tx.now)

    return _change(context, principal, name, change, once)


def resume(
    context: Context, principal: Principal, name: ScheduleName, *, once: Once[ScheduleReport] | None = None
) -> ScheduleReport:
    """From the next tick on: those that passed by are not caught up with."""

    def change(tx: Tx, schedule: Schedule) -> Schedule:
        if schedule.paused_at is None:
            return schedule
        return schedule.changed(paused_at=None, next_at=ticks.after(schedule.cron, schedule.zone, tx.now))

    return _change(context, principal, name, change, once)


def remove(
    context: Context, principal: Principal, name: ScheduleName, *, once: Once[ScheduleReport] | None = None
) -> ScheduleReport:
    """Executions that it made go on."""

    def unit(tx: Tx) -> ScheduleReport:
        schedule = _schedule_for(tx, principal, name, Action.CANCEL)
        report = _report(tx, schedule, name.project)
        tx.schedules.remove(schedule.id)
        _tell(tx, schedule, "removed", by=principal.name)
        return report

    return write_once(context.store, unit, once)


def look(context: Context, tx: Tx, schedule: Schedule) -> ScheduleDecision:
    """Does what is due, in the caller's transaction; a tick makes one execution, whoever looks and however often."""
    newest = ticks.newest(schedule.cron, schedule.zone, tx.now)
    decision = decide(
        ScheduleView(
            schedule=schedule,
            newest_tick=newest if newest >= schedule.next_at else None,
            following_tick=ticks.after(schedule.cron, schedule.zone, tx.now),
            open_executions=len(tx.executions.open_of(schedule.id)),
            now=tx.now,
        )
    )
    moved = decision.schedule
    if moved is None:
        return decision
    if decision.tick is not None:
        refused = _execute(context, tx, schedule.changed(next_at=decision.tick))
        moved = replace(moved, problem=refused)
    tx.schedules.save(moved)
    if moved.problem is not None:
        _tell(tx, moved, "skipped", reason=moved.problem)
    return decision


def _execute(context: Context, tx: Tx, schedule: Schedule) -> str | None:
    """Why not; None: it was begun."""
    found = tx.schedules.spec(schedule.id)
    if found is None:
        return "the schedule is gone"
    occasion = Occasion(
        execution_id=ExecutionId(context.ids.new("execution")), spec_json=found[0], tick=schedule
    )
    try:
        with tx.savepoint():
            begin(tx, principal_for(tx, schedule.token_id), occasion)
    except StaleWrite:
        raise
    except UserError as refused:
        return refused.message
    return None


def _change(
    context: Context,
    principal: Principal,
    name: ScheduleName,
    change: Callable[[Tx, Schedule], Schedule],
    once: Once[ScheduleReport] | None,
) -> ScheduleReport:
    def unit(tx: Tx) -> ScheduleReport:
        old = _schedule_for(tx, principal, name, Action.SUBMIT)
        new = change(tx, old)
        if new != old:
            tx.schedules.save(new)
            tx.work.poke("schedule", new.id)
            _tell(tx, new, "resumed" if new.paused_at is None else "paused", by=principal.name)
        return _report(tx, new, name.project)

    return write_once(context.store, unit, once)


def _schedule_for(tx: Tx, principal: Principal, name: ScheduleName, action: Action = Action.READ) -> Schedule:
    """Raises `NotFound` alike for one that does not exist and for another project's."""
    project = project_for(tx, principal, name.project, action)
    schedule = tx.schedules.by_name(project.id, name.name)
    if schedule is None:
        raise NotFound(
            f"project {project.name!r} has no schedule {name.name!r}", field="schedule", value=name.name
        )
    return schedule


def _report(tx: Tx, schedule: Schedule, project_name: str) -> ScheduleReport:
    found = tx.schedules.spec(schedule.id)
    spec = None if found is None else PipelineSpec.model_validate_json(found[0])
    return ScheduleReport(
        schedule=schedule, project_name=project_name, pipeline_name="" if spec is None else spec.name
    )


def _tell(tx: Tx, schedule: Schedule, what: str, **data: str) -> None:
    tx.events.add(
        Event(
            kind=f"schedule.{what}",
            subject=schedule.id,
            at=tx.now,
            project_id=schedule.project_id,
            data={"schedule": schedule.name, **data},
        )
    )
