"""Models: making them, looking at them, and the gates before their production."""

from dataclasses import dataclass

from controlplane.domain.errors import Conflict, NotFound
from controlplane.domain.events import Event
from controlplane.domain.gates import Comparison, Gate
from controlplane.domain.ids import ModelId
from controlplane.domain.models import Model
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.lookups import project_for, project_names
from controlplane.store import Tx
from controlplane.wire.models import GateSet, ModelCreate


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelName:
    """What callers call a model."""

    project: str
    name: str

    def __str__(self) -> str:
        return f"{self.project}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    model: Model
    project_name: str
    gates: tuple[Gate, ...]
    production: int | None
    """Number of the version that serves."""


def create(
    context: Context, principal: Principal, wanted: ModelCreate, *, once: Once[ModelView] | None = None
) -> ModelView:
    model_id = ModelId(context.ids.new("model"))

    def unit(tx: Tx) -> ModelView:
        project = project_for(tx, principal, wanted.project, Action.PUBLISH)
        if tx.models.by_name(project.id, wanted.name) is not None:
            raise Conflict(
                f"project {project.name!r} has a model {wanted.name!r} already",
                field="name",
                value=wanted.name,
            )
        model = Model(
            id=model_id,
            project_id=project.id,
            name=wanted.name,
            description=wanted.description,
            created_at=tx.now,
        )
        tx.models.add(model)
        _tell(tx, model, "model.created", principal)
        return _view(tx, model, project.name)

    return write_once(context.store, unit, once)


def get(context: Context, principal: Principal, name: ModelName) -> ModelView:
    with context.store.read() as tx:
        return _view(tx, model_for(tx, principal, name), name.project)


def listed(
    context: Context, principal: Principal, *, project: str | None, after: str, limit: int
) -> list[ModelView]:
    """By id, from behind the id `after`."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        owner = principal.project_id if project is None else project_for(tx, principal, project).id
        found = tx.models.list(owner, after, limit)
        names = project_names(tx, frozenset(model.project_id for model in found))
        return [_view(tx, model, names[model.project_id]) for model in found]


def set_gate(
    context: Context,
    principal: Principal,
    name: ModelName,
    wanted: GateSet,
    *,
    once: Once[ModelView] | None = None,
) -> ModelView:
    """One of the same name is replaced. Versions stay at their stages, also where it would keep them out."""
    gate = Gate(
        name=wanted.name,
        metric=wanted.metric,
        comparison=Comparison(wanted.comparison),
        limit=wanted.limit,
        slack=wanted.slack,
    )

    def unit(tx: Tx) -> ModelView:
        # Saved: a promotion that is being judged by the old gates is judged again.
        model = model_for(tx, principal, name, Action.EDIT_GATES).changed()
        tx.models.save(model)
        tx.models.put_gate(model.id, gate)
        _tell(tx, model, "model.gate_set", principal, gate=gate.name)
        return _view(tx, model, name.project)

    return write_once(context.store, unit, once)


def remove_gate(
    context: Context,
    principal: Principal,
    name: ModelName,
    gate: str,
    *,
    once: Once[ModelView] | None = None,
) -> ModelView:
    def unit(tx: Tx) -> ModelView:
        model = model_for(tx, principal, name, Action.EDIT_GATES).changed()
        if all(each.name != gate for each in tx.models.gates(model.id)):
            raise NotFound(f"model {name} has no gate {gate!r}", field="name", value=gate)
        tx.models.save(model)
        tx.models.remove_gate(model.id, gate)
        _tell(tx, model, "model.gate_removed", principal, gate=gate)
        return _view(tx, model, name.project)

    return write_once(context.store, unit, once)


def model_for(tx: Tx, principal: Principal, name: ModelName, action: Action = Action.READ) -> Model:
    """Raises `NotFound` alike for a model that does not exist and for another project's."""
    project = project_for(tx, principal, name.project, action)
    model = tx.models.by_name(project.id, name.name)
    if model is None:
        raise NotFound(f"project {project.name!r} has no model {name.name!r}", field="model", value=name.name)
    return model


def _view(tx: Tx, model: Model, project_name: str) -> ModelView:
    serving = tx.model_versions.in_production(model.id)
    return ModelView(
        model=model,
        project_name=project_name,
        gates=tx.models.gates(model.id),
        production=None if serving is None else serving.number,
    )


def _tell(tx: Tx, model: Model, kind: str, principal: Principal, **data: str) -> None:
    tx.events.add(
        Event(
            kind=kind,
            subject=model.id,
            at=tx.now,
            data={"model": model.name, "by": principal.name, **data},
            project_id=model.project_id,
        )
    )
