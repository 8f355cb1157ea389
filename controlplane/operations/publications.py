"""Publications: a model version is written down once all that is said of it was found to be so, or not at all."""

from dataclasses import dataclass, replace

from controlplane.domain.errors import NotFound
from controlplane.domain.ids import ModelVersionId
from controlplane.domain.manifests import Facts, manifest_of
from controlplane.domain.models import Model, ModelVersion, Stage
from controlplane.identity.policy import Action
from controlplane.identity.principals import Principal
from controlplane.operations.artifacts import Wanted, read_all, wanted_of
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.model_versions import VersionView, view
from controlplane.operations.models import ModelName, model_for
from controlplane.operations.object_stores import registered_for
from controlplane.operations.origins import (
    Origin,
    as_reported,
    evaluation_of,
    lineage_of,
    metrics_of,
    newest_checkpoint,
    origin_of,
    source_of,
)
from controlplane.operations.residency import check_copy
from controlplane.operations.signing import signing_key
from controlplane.secrets.signing import SigningKey
from controlplane.storage.uris import parse
from controlplane.store import Tx
from controlplane.wire.models import ArtifactGiven, VersionPublish


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is known before anything was read."""

    origin: Origin | None
    evaluation: dict[str, float | None]
    objects: tuple[Wanted, ...]
    """The artifacts and, if there is one, the object that names the data."""


def publish(
    context: Context,
    principal: Principal,
    name: ModelName,
    wanted: VersionPublish,
    *,
    once: Once[VersionView] | None = None,
) -> VersionView:
    """Reads every object once. Raises `NotFound`, `Conflict` or `Invalid` for what is not as it was said to be."""
    with context.store.read() as tx:
        draft = _draft(context, tx, principal, name, wanted)
    objects = read_all(draft.objects, context.settings.publish_limit_bytes)
    data = objects.pop() if wanted.data is not None else None
    source = source_of(draft.origin, objects)
    with context.store.read() as tx:
        metrics = metrics_of(tx, draft.origin, source) | draft.evaluation
    lineage = replace(
        lineage_of(draft.origin, source),
        evaluation_job_id=wanted.evaluated_by,
        data_uri=wanted.data,
        data_sha256=None if data is None else data.sha256,
        parent=wanted.parent,
    )
    key, version_id = signing_key(context), ModelVersionId(context.ids.new("version"))

    def unit(tx: Tx) -> VersionView:
        model = model_for(tx, principal, name, Action.PUBLISH).with_another()
        tx.models.save(model)
        facts = Facts(
            project=name.project,
            model=name.name,
            number=model.last_number,
            created_at=tx.now,
            created_by=principal.name,
            artifacts=tuple(objects),
            lineage=lineage,
            metrics=metrics,
        )
        version = _signed(version_id, model, facts, key)
        tx.model_versions.add(model, version, by=principal.name)
        return view(version)

    return write_once(context.store, unit, once)


def _signed(version_id: ModelVersionId, model: Model, facts: Facts, key: SigningKey) -> ModelVersion:
    manifest = manifest_of(facts)
    return ModelVersion(
        id=version_id,
        model_id=model.id,
        number=facts.number,
        state=Stage.CANDIDATE,
        since=facts.created_at,
        created_at=facts.created_at,
        manifest=manifest,
        signature=key.sign(manifest),
        key_id=key.key_id,
    )


def _draft(context: Context, tx: Tx, principal: Principal, name: ModelName, wanted: VersionPublish) -> Draft:
    model = model_for(tx, principal, name, Action.PUBLISH)
    if wanted.parent is not None and tx.model_versions.by_number(model.id, wanted.parent) is None:
        raise NotFound(
            f"model {name} has no version {wanted.parent}",
            field="parent",
            value=wanted.parent,
            limit=model.last_number,
        )
    origin = None if wanted.job is None else origin_of(tx, principal, model, wanted.job)
    objects = [
        wanted_of(context, tx, given, f"artifacts.{position}")
        for position, given in enumerate(_given(origin, wanted))
    ]
    for each in objects:
        # A model is its project's data: where that may not be, none of it serves.
        store = registered_for(tx, parse(each.given.uri))
        check_copy(tx, model.project_id, store, store)
    if wanted.data is not None:
        objects.append(wanted_of(context, tx, ArtifactGiven(name="data", uri=wanted.data), "data"))
    return Draft(
        origin=origin,
        evaluation=evaluation_of(tx, principal, model, wanted.evaluated_by),
        objects=tuple(objects),
    )


def _given(origin: Origin | None, wanted: VersionPublish) -> list[ArtifactGiven]:
    if origin is None:
        return wanted.artifacts
    return [as_reported(origin, each) for each in wanted.artifacts or [newest_checkpoint(origin)]]
