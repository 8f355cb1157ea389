"""Models' table, and the gates before their production."""

from functools import cache
from typing import Final

from sqlalchemy import BigInteger, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from controlplane.domain.gates import Comparison, Gate
from controlplane.domain.ids import ModelId, ProjectId
from controlplane.domain.models import Model
from controlplane.store.links import Link
from controlplane.store.moves import stale
from controlplane.store.rows import Row, micros, moment
from controlplane.store.schema_models import MODEL_GATES, MODELS
from controlplane.store.statements import Statement, bound, inserted

_M: Final = MODELS.c
_G: Final = MODEL_GATES.c
_MODEL: Final = select(
    _M.id, _M.project_id, _M.name, _M.description, _M.created_at, _M.last_number, _M.version
)
_ADD: Final = inserted(MODELS)
_BY_NAME: Final = Statement(
    _MODEL.where(_M.project_id == bindparam("project_id"), _M.name == bindparam("name"))
)
_SAVE: Final = Statement(
    update(MODELS)
    .where(_M.id == bindparam("id"), _M.version == bindparam("old_version", type_=BigInteger))
    .values({column: bindparam(column.name) for column in (_M.last_number, _M.version)}),
    table=MODELS,
)
_NEW_GATE: Final = insert_or_update(MODEL_GATES).values({column: bindparam(column.name) for column in _G})
_PUT_GATE: Final = Statement(
    _NEW_GATE.on_conflict_do_update(
        index_elements=[_G.model_id, _G.name],
        set_={name: _NEW_GATE.excluded[name] for name in ("metric", "comparison", "bound", "slack")},
    ).inline(),
    table=MODEL_GATES,
)
_REMOVE_GATE: Final = Statement(
    delete(MODEL_GATES).where(_G.model_id == bindparam("model_id"), _G.name == bindparam("name")),
    table=MODEL_GATES,
)
_GATES: Final = Statement(
    select(_G.name, _G.metric, _G.comparison, _G.bound, _G.slack)
    .where(_G.model_id == bindparam("model_id"))
    .order_by(_G.name)
)


class Models:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, model: Model) -> None:
        """A second one of the same name in the project is a `Conflict`."""
        self._link.change(_ADD, _params(model))

    def save(self, model: Model) -> None:
        """Raises `StaleWrite` unless the row is one version behind."""
        if not self._link.change(_SAVE, _params(model) | {"old_version": model.version - 1}):
            raise stale("model", model.id)

    def by_name(self, project_id: ProjectId, name: str) -> Model | None:
        row = self._link.row(_BY_NAME, {"project_id": project_id, "name": name})
        return None if row is None else _model(row)

    def list(self, project_id: ProjectId | None, after: str, limit: int) -> list[Model]:
        """By id; `after` is the id last seen."""
        params = {"project_id": project_id, "after": after, "limit": limit}
        rows = self._link.rows(_page(of_a_project=project_id is not None), params)
        return [_model(row) for row in rows]

    def put_gate(self, model_id: ModelId, gate: Gate) -> None:
        """Inserts or replaces."""
        self._link.change(
            _PUT_GATE,
            {
                "model_id": model_id,
                "name": gate.name,
                "metric": gate.metric,
                "comparison": gate.comparison.value,
                "bound": gate.limit,
                "slack": gate.slack,
            },
        )

    def remove_gate(self, model_id: ModelId, name: str) -> None:
        self._link.change(_REMOVE_GATE, {"model_id": model_id, "name": name})

    def gates(self, model_id: ModelId) -> tuple[Gate, ...]:
        """By name; there are few."""
        return tuple(_gate(row) for row in self._link.rows(_GATES, {"model_id": model_id}))


@cache
def _page(*, of_a_project: bool) -> Statement:
    page = _MODEL.where(_M.id > bindparam("after")).order_by(_M.id).limit(bound("limit"))
    return Statement(page.where(_M.project_id == bindparam("project_id")) if of_a_project else page)


def _params(model: Model) -> dict[str, object]:
    return {
        "id": model.id,
        "project_id": model.project_id,
        "name": model.name,
        "description": model.description,
        "created_at": micros(model.created_at),
        "last_number": model.last_number,
        "version": model.version,
    }


def _model(row: Row) -> Model:
    (id_, project_id, name, description, created_at, last_number, version) = row
    return Model(
        id=ModelId(id_),
        project_id=ProjectId(project_id),
        name=name,
        description=description,
        created_at=moment(created_at),
        last_number=last_number,
        version=version,
    )


def _gate(row: Row) -> Gate:
    (name, metric, comparison, limit, slack) = row
    return Gate(name=name, metric=metric, comparison=Comparison(comparison), limit=limit, slack=slack)
