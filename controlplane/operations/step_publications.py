"""Step publications: a step's model version, published once however often it is tried."""

import hashlib
import json
from typing import Final

from controlplane.domain.errors import Bug, Conflict, NotFound
from controlplane.domain.executions import Step, StepArtifact
from controlplane.domain.models import Stage
from controlplane.domain.pipelines import PUBLISHED, ArtifactKind
from controlplane.identity.principals import Principal
from controlplane.operations import model_versions, models, publications
from controlplane.operations.acting import principal_for
from controlplane.operations.context import Context
from controlplane.operations.executions import stored_spec
from controlplane.operations.idempotency import Once, Replay
from controlplane.operations.model_versions import VersionView
from controlplane.operations.models import ModelName
from controlplane.operations.pipeline_specs import parsed
from controlplane.reconcilers.executions import ExecutionView
from controlplane.wire.models import ArtifactGiven, ModelCreate, VersionPublish
from controlplane.wire.pipelines import StepPublish

SCHEME: Final = "model://"


def published(context: Context, view: ExecutionView, step: Step) -> StepArtifact:
    """Raises what publishing and promoting raise. The model is made if there is none."""
    with context.store.read() as tx:
        principal = principal_for(tx, view.execution.token_id)
        spec = parsed(stored_spec(tx, view.execution.id))[0]
    wanted = spec.steps[step.position].publish
    if wanted is None:
        raise Bug(f"step {step.id} publishes nothing")
    name = ModelName(project=spec.project, name=wanted.model)
    _make_model(context, principal, name)
    number, sha256 = _publish_once(context, principal, name, _version(view, wanted), step)
    if wanted.stage is not None:
        model_versions.promote(context, principal, name, str(number), Stage(wanted.stage))
    return StepArtifact(
        name=PUBLISHED,
        kind=ArtifactKind.VERSION,
        uri=f"{SCHEME}{name}/{number}",
        size_bytes=0,
        sha256=sha256,
    )


def version_is_there(context: Context, uri: str) -> bool:
    """Raises `NotFound` where the model or its project is gone."""
    project_name, model_name, number = uri.removeprefix(SCHEME).split("/")
    with context.store.read() as tx:
        project = tx.projects.by_name(project_name)
        model = None if project is None else tx.models.by_name(project.id, model_name)
        return model is not None and tx.model_versions.by_number(model.id, int(number)) is not None


def _make_model(context: Context, principal: Principal, name: ModelName) -> None:
    try:
        models.get(context, principal, name)
    except NotFound:
        try:
            models.create(context, principal, ModelCreate(project=name.project, name=name.name))
        except Conflict:
            models.get(context, principal, name)  # somebody else was faster


def _version(view: ExecutionView, wanted: StepPublish) -> VersionPublish:
    by_name = {each.name: each for each in view.steps}
    found = {name: _output(by_name, reference) for name, reference in wanted.artifacts.items()}
    maker = by_name[next(iter(wanted.artifacts.values())).split(".", 2)[1]]
    evaluating = None if wanted.evaluated_by is None else by_name[wanted.evaluated_by].job_id
    return VersionPublish(
        job=maker.job_id,
        artifacts=[
            ArtifactGiven(name=name, uri=each.uri, sha256=each.sha256, size_bytes=each.size_bytes)
            for name, each in found.items()
        ],
        evaluated_by=evaluating,
        data=None if wanted.data is None else _output(by_name, wanted.data).uri,
    )


def _output(by_name: dict[str, Step], reference: str) -> StepArtifact:
    _, step, _, output = reference.split(".", 3)
    return by_name[step].output(output)


def _publish_once(
    context: Context, principal: Principal, name: ModelName, wanted: VersionPublish, step: Step
) -> tuple[int, str]:
    """Number, and SHA-256 of the manifest; of the version that an earlier call made, if its answer got lost."""
    once: Once[VersionView] = Once(
        token_id=principal.token_id,
        key=f"{step.id}/{step.number}",
        request_hash=hashlib.sha256(step.id.encode()).digest(),
        code=201,
        render=_rendered,
    )
    try:
        said = _rendered(publications.publish(context, principal, name, wanted, once=once))
    except Replay as before:
        said = before.remembered.body
    number, sha256 = json.loads(said)
    return int(number), str(sha256)


def _rendered(found: VersionView) -> str:
    digest = hashlib.sha256(found.version.manifest.encode()).hexdigest()
    return json.dumps([found.version.number, digest])
