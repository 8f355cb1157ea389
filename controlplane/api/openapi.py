"""OpenAPI: the document that describes the API, made from the app itself."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from controlplane.wire.admin import ClusterCreate, ClusterSecret, ProjectCreate, QueueCreate, TokenCreate
from controlplane.wire.base import Problem
from controlplane.wire.capacity import ClaimCreate
from controlplane.wire.costs import BudgetRemove, BudgetSet, RateSet
from controlplane.wire.data import CopyCreate, StoreCreate
from controlplane.wire.jobs import JobBatch, JobBulk
from controlplane.wire.jobspec import JobSpec
from controlplane.wire.machines import CheckInRequest
from controlplane.wire.models import GateRemove, GateSet, ModelCreate, Promotion, VersionPublish
from controlplane.wire.pipelines import PipelineSpec, ScheduleCreate
from controlplane.wire.protocol import FACTS, RecordBatch
from controlplane.wire.quotas import FlavorRemove, FlavorSet, QuotaRemove, QuotaSet
from controlplane.wire.residency import ResidencySet
from controlplane.wire.services import Rollback, Scale
from controlplane.wire.servicespec import ServiceSpec

# `Any`: JSON of many shapes.
Json = dict[str, Any]

REFERENCE: Final = "#/components/schemas/{model}"
BODIES: Final[tuple[type[BaseModel], ...]] = (
    BudgetRemove,
    BudgetSet,
    CheckInRequest,
    ClaimCreate,
    ClusterCreate,
    ClusterSecret,
    FlavorRemove,
    FlavorSet,
    CopyCreate,
    GateRemove,
    GateSet,
    JobBatch,
    JobBulk,
    JobSpec,
    ModelCreate,
    PipelineSpec,
    Problem,
    ProjectCreate,
    Promotion,
    QueueCreate,
    QuotaRemove,
    QuotaSet,
    RateSet,
    RecordBatch,
    ResidencySet,
    Rollback,
    Scale,
    ScheduleCreate,
    ServiceSpec,
    StoreCreate,
    TokenCreate,
    VersionPublish,
    *FACTS.values(),
)
"""Models that the app parses or renders itself, so FastAPI does not know them."""

KEY_PARAMETER: Final[Json] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same request is done once; the answer to the first is given again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
PROBLEMS: Final[Mapping[int | str, Json]] = {
    "4XX": {
        "description": "Refused; says which field, value and limit",
        "content": {"application/problem+json": {"schema": {"$ref": REFERENCE.format(model="Problem")}}},
    }
}
EVENT_STREAM: Final[Mapping[int | str, Json]] = {
    200: {
        "description": "Server-sent events; `id` is good as Last-Event-ID",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


def takes(model: type[BaseModel] | None = None) -> Json:
    """What FastAPI cannot see of a POST: its body and its key."""
    extra: Json = {"parameters": [KEY_PARAMETER]}
    if model is not None:
        schema = {"$ref": REFERENCE.format(model=model.__name__)}
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return extra


def document(app: FastAPI) -> Json:
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    _, bodies = models_json_schema([(model, "validation") for model in BODIES], ref_template=REFERENCE)
    schemas: Json = made.setdefault("components", {}).setdefault("schemas", {})
    schemas.update({name: schema for name, schema in bodies["$defs"].items() if name not in schemas})
    made["components"]["schemas"] = dict(sorted(schemas.items()))
    made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    made["security"] = [{"token": []}]
    return made
