"""Model versions: looking at them, and moving them from stage to stage past the gates."""

from dataclasses import dataclass
from typing import Final

from controlplane.domain.errors import Conflict, GateNotPassed, Invalid, NotFound
from controlplane.domain.gates import obstacles
from controlplane.domain.manifests import Facts, facts_of
from controlplane.domain.models import MODEL_VERSION, Model, ModelVersion, Stage
from controlplane.identity.policy import Action
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.models import ModelName, model_for
from controlplane.store import Tx

MOST_DIGITS: Final = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionView:
    version: ModelVersion
    facts: Facts


def get(context: Context, principal: Principal, name: ModelName, which: str) -> VersionView:
    """`which` is a number, or `production` for the one that serves."""
    with context.store.read() as tx:
        return view(_version_for(tx, model_for(tx, principal, name), name, which))


def listed(
    context: Context, principal: Principal, name: ModelName, *, before: int | None, limit: int
) -> list[VersionView]:
    """Newest first."""
    with context.store.read() as tx:
        model = model_for(tx, principal, name)
        return [view(each) for each in tx.model_versions.newest(model.id, before, limit)]


def promote(
    context: Context,
    principal: Principal,
    name: ModelName,
    which: str,
    stage: Stage,
    *,
    once: Once[VersionView] | None = None,
) -> VersionView:
    """To staging, or past all gates to production, from where the version that served goes back to staging.

    Raises `GateNotPassed`, or `Conflict` for an archived version. Saying it again changes nothing.
    """

    def unit(tx: Tx) -> VersionView:
        model = model_for(tx, principal, name, Action.PUBLISH)
        version = _version_for(tx, model, name, which)
        if version.state is stage:
            return view(version)
        _require_edge(version, name, stage)
        # First of all: who promotes another version at once waits here, and then judges against this one.
        tx.models.save(model.changed())
        if stage is Stage.PRODUCTION:
            _make_room(tx, model, version, principal)
        return _moved(tx, model, version, stage, principal)

    return write_once(context.store, unit, once)


def archive(
    context: Context,
    principal: Principal,
    name: ModelName,
    which: str,
    *,
    once: Once[VersionView] | None = None,
) -> VersionView:
    """For good. Its objects stay where they are. Saying it again changes nothing."""

    def unit(tx: Tx) -> VersionView:
        model = model_for(tx, principal, name, Action.PUBLISH)
        version = _version_for(tx, model, name, which)
        if version.state is Stage.ARCHIVED:
            return view(version)
        tx.models.save(model.changed())
        return _moved(tx, model, version, Stage.ARCHIVED, principal)

    return write_once(context.store, unit, once)


def view(version: ModelVersion) -> VersionView:
    return VersionView(version=version, facts=facts_of(version.manifest))


def _version_for(tx: Tx, model: Model, name: ModelName, which: str) -> ModelVersion:
    if which == Stage.PRODUCTION:
        found = tx.model_versions.in_production(model.id)
        sentence = f"model {name} has no version in production"
    elif which.isascii() and which.isdecimal():
        found = tx.model_versions.by_number(model.id, int(which)) if len(which) <= MOST_DIGITS else None
        sentence = f"model {name} has no version {which}"
    else:
        raise Invalid("is a number, or `production`", field="version", value=which)
    if found is None:
        raise NotFound(sentence, field="version", value=which, limit=model.last_number)
    return found


def _require_edge(version: ModelVersion, name: ModelName, stage: Stage) -> None:
    if stage in MODEL_VERSION.edges[version.state]:
        return
    raise Conflict(
        f"version {version.number} of {name} is {version.state} and cannot go to {stage}",
        field="stage",
        value=str(version.state),
        limit=", ".join(sorted(old for old, edges in MODEL_VERSION.edges.items() if stage in edges)),
    )


def _make_room(tx: Tx, model: Model, version: ModelVersion, principal: Principal) -> None:
    """Judges the version, then takes the one that serves back: the database lets only one be there."""
    serving = tx.model_versions.in_production(model.id)
    # Who was there before is called back on purpose, often because the newer one is better on paper alone.
    compared = None if serving is None or version.promoted_at else facts_of(serving.manifest).metrics
    for obstacle in obstacles(tx.models.gates(model.id), facts_of(version.manifest).metrics, compared):
        raise GateNotPassed(
            f"gate {obstacle.gate.name!r}: {obstacle.sentence}",
            field=f"gates.{obstacle.gate.name}",
            value=obstacle.value,
            limit=obstacle.limit,
        )
    if serving is not None:
        tx.model_versions.save(model, serving.move(Stage.STAGING, at=tx.now), by=principal.name)


def _moved(tx: Tx, model: Model, version: ModelVersion, stage: Stage, principal: Principal) -> VersionView:
    moved = version.move(stage, at=tx.now)
    tx.model_versions.save(model, moved, by=principal.name)
    return view(moved)
