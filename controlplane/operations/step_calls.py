"""Step calls: what an execution has to find out, or to have done, outside of any transaction."""

from controlplane.domain.errors import (
    Ambiguous,
    ControlPlaneError,
    PluginError,
    StaleWrite,
    Throttled,
    Transient,
    Unavailable,
    UserError,
)
from controlplane.domain.executions import Step, StepArtifact, StepState
from controlplane.domain.ids import ProjectId
from controlplane.domain.pipelines import ArtifactKind
from controlplane.operations.context import Context
from controlplane.operations.object_stores import registered_for
from controlplane.operations.pipeline_specs import outputs_folder
from controlplane.operations.residency import check_copy
from controlplane.operations.step_deployments import is_serving
from controlplane.operations.step_outputs import inspected
from controlplane.operations.step_publications import published, version_is_there
from controlplane.reconcilers.executions import (
    Call,
    CallKind,
    ExecutionView,
    Finding,
    Made,
    NoAnswer,
    NothingKept,
    Recalled,
    Refused,
)
from controlplane.storage.uris import parse
from controlplane.store import Tx

PAUSE_SECONDS = 5.0
"""Before somebody who is away is asked again."""


def answer(context: Context, view: ExecutionView, call: Call) -> Finding:
    """Every call may be made twice. Raises nothing that the control plane knows."""
    try:
        match call.kind:
            case CallKind.RECALL:
                return _recalled(context, view, call.step)
            case CallKind.INSPECT:
                return _left_behind(context, view, call.step)
            case CallKind.PUBLISH:
                return Made(outputs=(published(context, view, call.step),))
            case CallKind.DEPLOY:
                return _deployed(context, view, call.step)
    except (Transient, Ambiguous, Unavailable, StaleWrite) as away:
        return NoAnswer(reason=away.message, seconds=_pause_seconds(away))
    except (UserError, PluginError) as refused:
        return Refused(reason=refused.message)


def _recalled(context: Context, view: ExecutionView, step: Step) -> Finding:
    """What is gone or has changed is as good as never made."""
    with context.store.read() as tx:
        earlier = _own_earlier(tx, view, step) or tx.steps.kept(
            view.execution.project_id, step.cache_key or ""
        )
        job_id = None if earlier is None else earlier.job_id
        if earlier is None or (job_id is not None and tx.jobs.get(job_id) is None):
            return NothingKept()
    project_id = view.execution.project_id
    try:
        is_there = all(_is_there(context, project_id, each) for each in earlier.outputs)
    except UserError:
        return NothingKept()
    if not is_there:
        return NothingKept()
    maker = earlier.taken_from if earlier.state is StepState.CACHED else None
    return Recalled(taken_from=maker or earlier.id, job_id=job_id, outputs=earlier.outputs)


def _own_earlier(tx: Tx, view: ExecutionView, step: Step) -> Step | None:
    """In a retry: its earlier self, if that came after the same content as this one would.

    A step before it may have been begun anew and have made something else; its outputs of then beside those of now
    would be of two executions.
    """
    earlier = None if step.taken_from is None else tx.steps.get(step.taken_from)
    if earlier is None:
        return None
    then = {each.name: each for each in tx.steps.of(earlier.execution_id)}
    now = {each.name: each for each in view.steps}
    needs = view.pipeline.steps[step.position].needs
    return earlier if all(_is_as_before(then.get(name), now[name]) for name in needs) else None


def _is_as_before(then: Step | None, now: Step) -> bool:
    if then is None:
        return False
    if not now.outputs:
        return now.state is StepState.CACHED  # of what it did beside outputs, nobody knows
    made_then, made_now = ({(each.name, each.sha256) for each in step.outputs} for step in (then, now))
    return made_then == made_now


def _deployed(context: Context, view: ExecutionView, step: Step) -> Finding:
    if is_serving(context, view, step):
        return Made(outputs=())
    return NoAnswer(reason="the revision is not ready yet", seconds=PAUSE_SECONDS)


def _is_there(context: Context, project_id: ProjectId, artifact: StepArtifact) -> bool:
    """Raises `Forbidden` for what lies where the project may no longer be."""
    if artifact.kind is ArtifactKind.VERSION:
        return version_is_there(context, artifact.uri)
    with context.store.read() as tx:
        home = registered_for(tx, parse(artifact.uri))
        check_copy(tx, project_id, home, home)
    return inspected(context, artifact.name, artifact.kind, artifact.uri) == artifact


def _left_behind(context: Context, view: ExecutionView, step: Step) -> Finding:
    folder = outputs_folder(view.execution, step)
    planned = view.pipeline.steps[step.position]
    return Made(
        outputs=tuple(
            inspected(context, each.name, each.kind, f"{folder}{each.path.removeprefix('./')}")
            for each in planned.outputs
        )
    )


def _pause_seconds(away: ControlPlaneError) -> float:
    return max(PAUSE_SECONDS, away.retry_after_seconds) if isinstance(away, Throttled) else PAUSE_SECONDS
