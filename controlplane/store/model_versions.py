"""Model versions' table: what was published, and at which stage it is."""

from functools import cache
from typing import Final

from sqlalchemy import bindparam, select

from controlplane.domain.events import Event
from controlplane.domain.ids import ModelId, ModelVersionId
from controlplane.domain.manifests import Manifest
from controlplane.domain.models import Model, ModelVersion, Stage
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.moves import Moves
from controlplane.store.rows import Row, micros, micros_or_none, moment, moment_or_none
from controlplane.store.schema_models import MODEL_VERSIONS
from controlplane.store.statements import Statement, bound, fixed, inserted

_C: Final = MODEL_VERSIONS.c
_VERSION: Final = select(
    _C.id,
    _C.model_id,
    _C.number,
    _C.state,
    _C.since,
    _C.created_at,
    _C.manifest,
    _C.signature,
    _C.key_id,
    _C.promoted_at,
    _C.version,
    _C.came_from,
)
_GIVEN_ONCE: Final = frozenset({"model_id", "number", "created_at", "manifest", "signature", "key_id"})
_MOVES: Final = Moves("model_version", MODEL_VERSIONS, fixed_columns=_GIVEN_ONCE)
_ADD: Final = inserted(MODEL_VERSIONS)
_OF_MODEL: Final = _C.model_id == bindparam("model_id")
_BY_NUMBER: Final = Statement(_VERSION.where(_OF_MODEL, _C.number == bound("number")))
_SERVING: Final = Statement(_VERSION.where(_OF_MODEL, _C.state == fixed(Stage.PRODUCTION)))


class ModelVersions:
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def add(self, model: Model, version: ModelVersion, *, by: str) -> None:
        """A second one of the same number is a `Conflict`."""
        self._link.change(_ADD, _params(version) | {"came_from": version.came_from})
        self._events.add(_event(model, version, came_from=version.came_from, by=by))

    def save(self, model: Model, version: ModelVersion, *, by: str) -> None:
        """Raises `StaleWrite` unless the row is one version behind; a second one in production is a `Conflict`."""
        came_from = _MOVES.save(self._link, _params(version))
        if came_from is not None:
            self._events.add(_event(model, version, came_from=came_from, by=by))

    def by_number(self, model_id: ModelId, number: int) -> ModelVersion | None:
        row = self._link.row(_BY_NUMBER, {"model_id": model_id, "number": number})
        return None if row is None else _version(row)

    def in_production(self, model_id: ModelId) -> ModelVersion | None:
        row = self._link.row(_SERVING, {"model_id": model_id})
        return None if row is None else _version(row)

    def newest(self, model_id: ModelId, before: int | None, limit: int) -> list[ModelVersion]:
        """Highest number first; `before` is the number last seen."""
        params = {"model_id": model_id, "before": before, "limit": limit}
        return [_version(row) for row in self._link.rows(_page(is_first=before is None), params)]


@cache
def _page(*, is_first: bool) -> Statement:
    page = _VERSION.where(_OF_MODEL).order_by(_C.number.desc()).limit(bound("limit"))
    return Statement(page if is_first else page.where(_C.number < bound("before")))


def _event(model: Model, version: ModelVersion, *, came_from: str, by: str) -> Event:
    return Event(
        kind=f"model_version.{version.state}",
        subject=version.id,
        at=version.since,
        data={"from": came_from, "model": model.name, "number": version.number, "by": by},
        project_id=model.project_id,
    )


def _params(version: ModelVersion) -> dict[str, object]:
    return {
        "id": version.id,
        "model_id": version.model_id,
        "number": version.number,
        "state": version.state.value,
        "since": micros(version.since),
        "created_at": micros(version.created_at),
        "manifest": version.manifest,
        "signature": version.signature,
        "key_id": version.key_id,
        "promoted_at": micros_or_none(version.promoted_at),
        "version": version.version,
    }


def _version(row: Row) -> ModelVersion:
    (id_, model_id, number, state, since, created_at, manifest, *rest) = row
    (signature, key_id, promoted_at, version, came_from) = rest
    return ModelVersion(
        id=ModelVersionId(id_),
        model_id=ModelId(model_id),
        number=number,
        state=Stage(state),
        since=moment(since),
        created_at=moment(created_at),
        manifest=Manifest(manifest),
        signature=signature,
        key_id=key_id,
        promoted_at=moment_or_none(promoted_at),
        version=version,
        came_from=came_from,
    )
