"""Holdings: what lies in object stores for a project and is read there later, from all tables that tell of it."""

import json
from collections.abc import Collection
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Text,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    union_all,
)

from controlplane.domain.ids import ProjectId
from controlplane.domain.inputs import InputState
from controlplane.domain.manifests import Manifest, facts_of
from controlplane.store.links import Link
from controlplane.store.schema import ATTEMPTS, CHECKPOINTS
from controlplane.store.schema_copies import COPIES
from controlplane.store.schema_inputs import INPUTS
from controlplane.store.schema_models import MODEL_VERSIONS, MODELS
from controlplane.store.schema_pipelines import EXECUTIONS
from controlplane.store.statements import Statement, fixed, is_in, listed

_PROJECT: Final = bindparam("project_id", type_=Text())
_BELOW: Final = bindparam("below", type_=Text())
_FIRST: Final = literal_column("1", Integer())
_FOLDER: Final = EXECUTIONS.c.outputs_uri + EXECUTIONS.c.id + literal_column("'/'", Text())
_M: Final = MODEL_VERSIONS.c.manifest


def _found(what: str, uri: ColumnElement[str], *conditions: ColumnElement[bool]) -> Select[str]:
    is_below = func.substr(uri, _FIRST, func.length(_BELOW)) == _BELOW
    return select(fixed(what)).where(*conditions, or_(is_in(uri, "above"), is_below))


_OF_OTHERS: Final = Statement(
    union_all(
        _found(
            "a checkpoint",
            CHECKPOINTS.c.uri,
            ATTEMPTS.c.id == CHECKPOINTS.c.attempt_id,
            ATTEMPTS.c.project_id != _PROJECT,
        ),
        _found(
            "the copy of a checkpoint",
            COPIES.c.target,
            COPIES.c.project_id != _PROJECT,
            COPIES.c.source.in_(select(CHECKPOINTS.c.uri)),
        ),
        _found(
            "an input of jobs",
            INPUTS.c.target,
            INPUTS.c.project_id != _PROJECT,
            INPUTS.c.state != fixed(InputState.GONE),
        ),
        _found("outputs of a pipeline", _FOLDER, EXECUTIONS.c.project_id != _PROJECT),
    )
)
_MANIFESTS: Final = Statement(
    select(_M).where(
        MODELS.c.id == MODEL_VERSIONS.c.model_id,
        MODELS.c.project_id != _PROJECT,
        # Not LIKE, which knows no case on SQLite.
        func.replace(_M, bindparam("quoted", type_=Text()), literal_column("''")) != _M,
    )
)


class Holdings:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def of_others(self, project_id: ProjectId, uri: str, above: Collection[str]) -> str | None:
        """What other projects have at the URI, below it or at one of those `above`; None: nothing that is known."""
        bare = uri.rstrip("/")
        below = uri if uri.endswith("/") else f"{uri}/"
        params = {"project_id": project_id, "above": listed({bare, below, *above}), "below": below}
        row = self._link.row(_OF_OTHERS, params)
        if row is not None:
            return str(row[0])
        # The manifest is text, and holds more than the names of artifacts.
        quoted = json.dumps(bare)[:-1]
        for (manifest,) in self._link.rows(_MANIFESTS, {"project_id": project_id, "quoted": quoted}):
            artifacts = facts_of(Manifest(manifest)).artifacts
            if any(each.uri == bare or each.uri.startswith(below) for each in artifacts):
                return "an artifact of a model"
        return None
