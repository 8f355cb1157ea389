"""Step deployments: a step's revision of a service, made once however often it is asked for, and whether it serves.

The id of the revision follows from the step's and the number of the try, so that whoever looks again, however much
later, finds the one that was made.
"""

from controlplane.domain.errors import Bug, Conflict, StaleWrite
from controlplane.domain.executions import Step
from controlplane.domain.ids import RevisionId
from controlplane.domain.revisions import Revision, RevisionState
from controlplane.identity.principals import Principal
from controlplane.operations import deployments
from controlplane.operations.acting import principal_for
from controlplane.operations.context import Context
from controlplane.operations.executions import stored_spec
from controlplane.operations.pipeline_specs import parsed
from controlplane.reconcilers.executions import ExecutionView
from controlplane.wire.servicespec import ServiceSpec


def is_serving(context: Context, view: ExecutionView, step: Step) -> bool:
    """Deploys it when asked for the first time. Raises `Conflict` for a revision that will not serve."""
    with context.store.read() as tx:
        principal = principal_for(tx, view.execution.token_id)
        spec = parsed(stored_spec(tx, view.execution.id))[0]
        revision = tx.revisions.get(revision_id(step))
    wanted = spec.steps[step.position].deploy
    if wanted is None:
        raise Bug(f"step {step.id} deploys nothing")
    if revision is not None:
        return _is_ready(revision)
    (given,) = view.pipeline.steps[step.position].inputs
    version = next(each for each in view.steps if each.name == given.step).output(given.output)
    *_, model, number = version.uri.split("/")
    service = wanted.spec(f"{model}@{number}", spec.project)
    try:
        _deploy(context, principal, service, step)
    except StaleWrite:
        raise
    except Conflict:
        # Whoever was faster made the service, whose next revision this is, or this very revision.
        _deploy(context, principal, service, step)
    return False


def revision_id(step: Step) -> RevisionId:
    """Of the newest try."""
    return RevisionId(f"revision_{step.id.removeprefix('execution_')}.{step.number}")


def _deploy(context: Context, principal: Principal, spec: ServiceSpec, step: Step) -> None:
    made = revision_id(step)
    spec_json = spec.model_dump_json(exclude_unset=True)
    with context.store.read() as tx:
        project = tx.projects.by_name(spec.project)
        service = None if project is None else tx.services.by_name(project.id, spec.name)
        is_made = tx.revisions.get(made) is not None
    if is_made:
        return
    if service is None:
        deployments.deploy(context, principal, spec, spec_json, revision_id=made)
    else:
        deployments.revise(context, principal, service.id, spec, spec_json, revision_id=made)


def _is_ready(revision: Revision) -> bool:
    match revision.state:
        case RevisionState.READY:
            return True
        case RevisionState.PENDING | RevisionState.DEPLOYING:
            return False
        case _:
            why = f": {revision.reason}" if revision.reason else ""
            raise Conflict(
                f"revision {revision.number} of the service is {revision.state}{why}",
                field="service",
                value=str(revision.state),
                limit=str(RevisionState.READY),
            )
