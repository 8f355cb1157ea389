"""Executions: submitting a pipeline, watching it, holding it up, calling it off, trying it again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from controlplane.domain.errors import Conflict, Invalid, NotFound
from controlplane.domain.events import Event
from controlplane.domain.executions import Execution, ExecutionState, Step, StepArtifact, StepState, step_id
from controlplane.domain.ids import ExecutionId, JobId
from controlplane.domain.pipelines import ArtifactKind, Input, Pipeline, StepKind
from controlplane.domain.projects import Project
from controlplane.domain.schedules import Schedule
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.lookups import project_for, project_names
from controlplane.operations.object_stores import registered_for
from controlplane.operations.pipeline_specs import job_spec, parsed
from controlplane.operations.residency import check_copy
from controlplane.operations.submission import Draft, examine, open_desk
from controlplane.storage.uris import parse
from controlplane.store import Tx
from controlplane.wire.pipelines import PIPELINE_VERSION, PipelineSpec

ARTIFACTS_STORE: Final = "artifacts"
"""The registered store that is used where a pipeline names no place."""

MOST_OPEN: Final = 1000
"""Executions of one project that are not over."""

LONGEST_URI: Final = 512
"""Of an input, as far as can be said before it exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionReport:
    execution: Execution
    project_name: str
    pipeline: Pipeline
    spec_json: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionSummary:
    execution: Execution
    project_name: str
    steps: int
    done: int
    """Of these: succeeded, or cached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """Why there is an execution: somebody submits it, tries it again, or a schedule's time has come."""

    execution_id: ExecutionId
    spec_json: str
    again: tuple[Execution, tuple[Step, ...]] | None = None
    tick: Schedule | None = None
    """With its `next_at` as the tick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Deed:
    """What a user does to an execution that is open."""

    action: Action
    """That the user's role has to allow."""

    event: str
    change: Callable[[Execution, datetime], Execution]
    """The very same execution where there is nothing to change."""


def submit(
    context: Context,
    principal: Principal,
    spec_json: str,
    *,
    once: Once[ExecutionReport] | None = None,
) -> ExecutionReport:
    """Accepted means stored, with all its steps. Raises `Invalid` and the like with nothing written."""
    occasion = Occasion(execution_id=ExecutionId(context.ids.new("execution")), spec_json=spec_json)
    return write_once(context.store, lambda tx: begin(tx, principal, occasion), once)


def begin(tx: Tx, principal: Principal, occasion: Occasion) -> ExecutionReport:
    """Checks everything, then writes the execution and its steps. Raises what `drafted` raises, and `Conflict`."""
    report = drafted(tx, principal, occasion)
    if tx.executions.has_open(report.execution.project_id, MOST_OPEN):
        raise Conflict(
            f"project {report.project_name!r} has {MOST_OPEN} executions that are not over, the most that it may have",
            field="project",
            value=report.project_name,
            limit=MOST_OPEN,
        )
    tx.executions.add(report.execution, spec=occasion.spec_json, schema_version=PIPELINE_VERSION)
    tx.steps.add(report.steps)
    tx.work.poke("execution", report.execution.id)
    return report


def drafted(tx: Tx, principal: Principal, occasion: Occasion) -> ExecutionReport:
    """As it would begin; writes nothing. Raises what is wrong with it."""
    spec, pipeline = parsed(occasion.spec_json)
    project = project_for(tx, principal, spec.project, Action.SUBMIT)
    for kind, action in ((StepKind.PUBLISH, Action.PUBLISH), (StepKind.DEPLOY, Action.DEPLOY)):
        if any(step.kind is kind for step in pipeline.steps):
            authorize(principal, action, project.id)
    old = None if occasion.again is None else occasion.again[0]
    schedule = occasion.tick
    execution = Execution(
        id=occasion.execution_id,
        project_id=project.id,
        name=spec.name,
        token_id=principal.token_id,
        outputs_uri=_outputs_uri(tx, project, spec),
        state=ExecutionState.WAITING,
        since=tx.now,
        created_at=tx.now,
        retry_of=None if old is None else old.id,
        schedule_id=None if schedule is None else schedule.id,
        tick=None if schedule is None else schedule.next_at,
    )
    steps = _born(execution, pipeline, () if occasion.again is None else occasion.again[1])
    _examine_jobs(tx, principal, execution, steps, occasion)
    return ExecutionReport(
        execution=execution,
        project_name=project.name,
        pipeline=pipeline,
        spec_json=occasion.spec_json,
        steps=steps,
    )


def get(context: Context, principal: Principal, execution_id: str) -> ExecutionReport:
    with context.store.read() as tx:
        return _report(tx, execution_for(tx, principal, execution_id))


def listed(
    context: Context, principal: Principal, *, project: str | None, before: str | None, limit: int
) -> list[ExecutionSummary]:
    """Newest first, of the projects that the token sees."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        owner = principal.project_id if project is None else project_for(tx, principal, project).id
        found = tx.executions.newest(owner, before, limit)
        counts = tx.steps.counts([each.id for each in found])
        names = project_names(tx, frozenset(each.project_id for each in found))
    return [
        ExecutionSummary(
            execution=each,
            project_name=names[each.project_id],
            steps=counts[each.id].steps,
            done=counts[each.id].done,
        )
        for each in found
    ]


def cancel(
    context: Context, principal: Principal, execution_id: str, *, once: Once[ExecutionReport] | None = None
) -> ExecutionReport:
    """Its jobs are cancelled, and what was not begun never is. Saying it again changes nothing."""

    def change(execution: Execution, at: datetime) -> Execution:
        return execution if execution.cancel_requested_at else execution.request_cancel(at=at)

    deed = _Deed(action=Action.CANCEL, event="cancel_requested", change=change)
    return _done(context, principal, execution_id, deed, once)


def pause(
    context: Context, principal: Principal, execution_id: str, *, once: Once[ExecutionReport] | None = None
) -> ExecutionReport:
    """No step is begun until it is resumed; what runs goes on. Saying it again changes nothing."""

    def change(execution: Execution, at: datetime) -> Execution:
        return execution if execution.paused_at else execution.pause(at=at)

    deed = _Deed(action=Action.CANCEL, event="paused", change=change)
    return _done(context, principal, execution_id, deed, once)


def resume(
    context: Context, principal: Principal, execution_id: str, *, once: Once[ExecutionReport] | None = None
) -> ExecutionReport:
    def change(execution: Execution, _at: datetime) -> Execution:
        return execution.resume() if execution.paused_at else execution

    deed = _Deed(action=Action.SUBMIT, event="resumed", change=change)
    return _done(context, principal, execution_id, deed, once)


def retry(
    context: Context, principal: Principal, execution_id: str, *, once: Once[ExecutionReport] | None = None
) -> ExecutionReport:
    """A new execution, in which the outputs of steps that succeeded are taken, as far as they are still there."""
    new_id = ExecutionId(context.ids.new("execution"))

    def unit(tx: Tx) -> ExecutionReport:
        old = execution_for(tx, principal, execution_id, Action.RETRY)
        if not old.is_over or old.state is ExecutionState.SUCCEEDED:
            raise Conflict(
                f"execution {old.id} is {old.state}: only one that failed or was cancelled is tried again",
                field="state",
                value=str(old.state),
                limit=f"{ExecutionState.FAILED}, {ExecutionState.CANCELLED}",
            )
        spec_json = stored_spec(tx, old.id)
        occasion = Occasion(execution_id=new_id, spec_json=spec_json, again=(old, tx.steps.of(old.id)))
        return begin(tx, principal, occasion)

    return write_once(context.store, unit, once)


def execution_for(tx: Tx, principal: Principal, execution_id: str, action: Action = Action.READ) -> Execution:
    """Raises `NotFound` alike for one that does not exist and for another project's."""
    execution = tx.executions.get(ExecutionId(execution_id))
    if execution is None or not principal.sees(execution.project_id):
        raise NotFound(
            f"there is no execution {execution_id!r}, or not for this token",
            field="execution",
            value=execution_id,
        )
    authorize(principal, action, execution.project_id)
    return execution


def stored_spec(tx: Tx, execution_id: ExecutionId) -> str:
    """The pipeline as it was sent."""
    found = tx.executions.specs([execution_id]).get(execution_id)
    if found is None:
        raise NotFound(f"there is no execution {execution_id!r}", field="execution", value=execution_id)
    return found


def _done(
    context: Context,
    principal: Principal,
    execution_id: str,
    deed: _Deed,
    once: Once[ExecutionReport] | None,
) -> ExecutionReport:
    """Raises `Conflict` for an execution that is over."""

    def unit(tx: Tx) -> ExecutionReport:
        old = execution_for(tx, principal, execution_id, deed.action)
        if old.is_over:
            raise Conflict(f"execution {old.id} is already {old.state}", field="state", value=str(old.state))
        new = deed.change(old, tx.now)
        if new is not old:
            _keep(tx, new, deed.event, principal)
        return _report(tx, new)

    return write_once(context.store, unit, once)


def _keep(tx: Tx, execution: Execution, what: str, principal: Principal) -> None:
    tx.executions.save(execution)
    tx.events.add(
        Event(
            kind=f"execution.{what}",
            subject=execution.id,
            at=tx.now,
            project_id=execution.project_id,
            data={"pipeline": execution.name, "by": principal.name},
        )
    )
    tx.work.poke("execution", execution.id)


def _born(execution: Execution, pipeline: Pipeline, earlier: Sequence[Step]) -> tuple[Step, ...]:
    done = {step.position: step.id for step in earlier if step.is_done}
    return tuple(
        Step(
            id=step_id(execution.id, position),
            execution_id=execution.id,
            position=position,
            name=planned.name,
            state=StepState.PENDING,
            since=execution.created_at,
            taken_from=done.get(position),
        )
        for position, planned in enumerate(pipeline.steps)
    )


def _outputs_uri(tx: Tx, project: Project, spec: PipelineSpec) -> str:
    """Raises `Forbidden` for a place that is not registered, or where the project may not be."""
    given = spec.outputs_uri
    if given is None:
        default = next((each for each in tx.object_stores.all() if each.name == ARTIFACTS_STORE), None)
        if default is None:
            raise Invalid(
                "is needed: an administrator registered no store"
                f" that serves all (`crossdock stores add {ARTIFACTS_STORE} URI`)",
                field="outputs_uri",
            )
        given = default.uri
    uri = parse(given)
    store = registered_for(tx, uri)
    check_copy(tx, project.id, store, store)
    return f"{str(uri).rstrip('/')}/"


def _examine_jobs(
    tx: Tx, principal: Principal, execution: Execution, steps: Sequence[Step], occasion: Occasion
) -> None:
    """As if each were submitted now: what can never be begun is refused at once."""
    spec, pipeline = parsed(occasion.spec_json)
    desk = open_desk(tx, principal)
    for step, planned in zip(steps, pipeline.steps, strict=True):
        if planned.kind is StepKind.JOB:
            made = job_spec(spec, execution, step, [(each, _imagined(each)) for each in planned.inputs])
            path = f"steps.{step.position}.job."
            examine(desk, Draft(spec=made, spec_json="", job_id=JobId(step.id), path=path))


def _imagined(given: Input) -> StepArtifact:
    """With a URI as long as one may be, so that what fits now fits then."""
    uri = "file:///".ljust(LONGEST_URI, "x")
    return StepArtifact(name=given.name, kind=ArtifactKind.FILE, uri=uri, size_bytes=0, sha256="")


def _report(tx: Tx, execution: Execution) -> ExecutionReport:
    names = project_names(tx, frozenset({execution.project_id}))
    spec_json = stored_spec(tx, execution.id)
    return ExecutionReport(
        execution=execution,
        project_name=names[execution.project_id],
        pipeline=parsed(spec_json)[1],
        spec_json=spec_json,
        steps=tx.steps.of(execution.id),
    )
