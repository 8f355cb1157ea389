"""Services, their revisions and replicas, as the API takes and shows them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from controlplane.wire.base import MAX_INT, Answer, Request
from controlplane.wire.servicespec import MAX_REPLICAS

PhaseName = Literal["deploying", "ready", "rolling", "asleep", "unavailable", "failed", "deleting"]
RevisionStateName = Literal["pending", "deploying", "ready", "failed", "retiring", "retired"]


class Scale(Request):
    """Bounds that hold until the next revision, which brings its own."""

    min: int = Field(ge=0, le=MAX_REPLICAS)
    max: int = Field(ge=1, le=MAX_REPLICAS)


class Rollback(Request):
    """Which revision's spec is deployed again."""

    number: Annotated[int, Field(ge=1, le=MAX_INT)] | None = Field(
        default=None,
        description="Absent: takes a release that is under way back; else the newest earlier one that was ready.",
    )


class RevisionDocument(Answer):
    """One immutable version of a service."""

    id: str
    service_id: str
    number: int
    state: RevisionStateName
    since: datetime
    created_at: datetime
    created_by: str = Field(description="Name of the token.")
    weight_percent: float = Field(description="Its share of the service's traffic.")
    ready_at: datetime | None = None
    reason: str | None = Field(default=None, description="Why it is where it is.")
    spec: dict[str, Any] = Field(description="As it was submitted.")  # JSON
    version: int = Field(description="Rises with every change; also the ETag.")


class ServiceDocument(Answer):
    """A service."""

    id: str
    project: str
    queue: str
    name: str
    phase: PhaseName
    created_at: datetime
    min_replicas: int
    max_replicas: int
    desired: int = Field(description="How many replicas its traffic asks for.")
    replicas: int = Field(description="Those that are there or on their way.")
    ready: int = Field(description="Those that answer.")
    revisions: list[RevisionDocument] = Field(
        description="Those that are not over, by number; else the newest."
    )
    version: int = Field(description="Rises with every change; also the ETag.")


class ReplicaDocument(Answer):
    """A replica: a job of kind `replica`, whose logs and costs are found under its id."""

    job_id: str
    revision: int = Field(description="Number of its revision.")
    ordinal: int = Field(description="Its place among the revision's replicas.")
    is_surplus: bool = Field(description="Beyond the fewest: others may take its seats.")
    state: Literal["held", "queued", "active", "succeeded", "failed", "cancelled"] = Field(
        description="Of its job."
    )
    is_ready: bool
    is_leaving: bool = Field(description="It ends what it has, and gets nothing new.")
    attempt_id: str | None = None
    url: str | None = Field(default=None, description="Where it listens, for gateways alone.")
    reason: str | None = None
    created_at: datetime
