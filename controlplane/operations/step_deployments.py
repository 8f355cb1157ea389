"""Step deployments: a step's revision of a service, made once however often it is asked for, and whether it serves."""

import hashlib
import json

from controlplane.domain.errors import Bug, Conflict
from controlplane.domain.executions import Step
from controlplane.domain.ids import ServiceId
from controlplane.domain.revisions import RevisionState
from controlplane.identity.principals import Principal
from controlplane.operations import deployments
from controlplane.operations.acting import principal_for
from controlplane.operations.context import Context
from controlplane.operations.executions import stored_spec
from controlplane.operations.idempotency import Once, Replay
from controlplane.operations.pipeline_specs import parsed
from controlplane.operations.services import ServiceView
from controlplane.reconcilers.executions import ExecutionView
from controlplane.wire.servicespec import ServiceSpec


def is_serving(context: Context, view: ExecutionView, step: Step) -> bool:
    """Deploys it when asked for the first time. Raises `Conflict` for a revision that will not serve."""
    with context.store.read() as tx:
        principal = principal_for(tx, view.execution.token_id)
        spec = parsed(stored_spec(tx, view.execution.id))[0]
        before = tx.idempotency.get(principal.token_id, _key(step))
    wanted = spec.steps[step.position].deploy
    if wanted is None:
        raise Bug(f"step {step.id} deploys nothing")
    if before is not None:
        return _is_ready(context, before.body)
    (given,) = view.pipeline.steps[step.position].inputs
    version = next(each for each in view.steps if each.name == given.step).output(given.output)
    *_, model, number = version.uri.split("/")
    return _is_ready(
        context, _deploy(context, principal, wanted.spec(f"{model}@{number}", spec.project), step)
    )


def _deploy(context: Context, principal: Principal, spec: ServiceSpec, step: Step) -> str:
    """Id of the service and number of the revision, as JSON; of those that an earlier call made, if there are."""
    once: Once[ServiceView] = Once(
        token_id=principal.token_id,
        key=_key(step),
        request_hash=hashlib.sha256(step.id.encode()).digest(),
        code=201,
        render=_rendered,
    )
    spec_json = spec.model_dump_json(exclude_unset=True)
    with context.store.read() as tx:
        project = tx.projects.by_name(spec.project)
        service = None if project is None else tx.services.by_name(project.id, spec.name)
    try:
        if service is None:
            return _rendered(deployments.deploy(context, principal, spec, spec_json, once=once))
        return _rendered(deployments.revise(context, principal, service.id, spec, spec_json, once=once))
    except Replay as before:
        return before.remembered.body


def _is_ready(context: Context, said: str) -> bool:
    service_id, number = json.loads(said)
    with context.store.read() as tx:
        revision = tx.revisions.by_number(ServiceId(service_id), number)
    if revision is None:
        raise Conflict(f"revision {number} of the service is gone", field="service", value=service_id)
    match revision.state:
        case RevisionState.READY:
            return True
        case RevisionState.PENDING | RevisionState.DEPLOYING:
            return False
        case _:
            why = f": {revision.reason}" if revision.reason else ""
            raise Conflict(
                f"revision {number} of the service is {revision.state}{why}",
                field="service",
                value=str(revision.state),
                limit=str(RevisionState.READY),
            )


def _key(step: Step) -> str:
    return f"{step.id}/{step.number}"


def _rendered(found: ServiceView) -> str:
    return json.dumps([found.service.id, found.service.last_number])
