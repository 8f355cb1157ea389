"""Service specs: what a user may ask for of a model that answers requests. Stored verbatim with each revision."""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from controlplane.wire.base import MAX_INT, Name, Request
from controlplane.wire.jobspec import (
    FUNCTION,
    MAX_TASKS,
    Resources,
    Toleration,
    TopologyRequest,
    sane_environment,
)

MAX_REPLICAS = 1000
MAX_CONFIG_BYTES = 64 * 1024
WHOLE_PERCENT = 100.0

Version = Annotated[
    str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?@([1-9][0-9]{0,17}|production)$")
]


class Replicas(Request):
    """How many replicas there are, and what makes them more or fewer."""

    min: int = Field(
        default=1, ge=0, le=MAX_REPLICAS, description="Always there, at the service's priority. 0: wakes."
    )
    max: int = Field(
        default=1,
        ge=1,
        le=MAX_REPLICAS,
        description="Those beyond `min` come with traffic and may be preempted.",
    )
    target_in_flight: float = Field(
        default=4.0, gt=0, le=100_000, description="Requests under way that each replica should have."
    )
    latency_ms: Annotated[int, Field(ge=1, le=3_600_000)] | None = Field(
        default=None, description="Within this nine requests of ten should end; none = nobody looks."
    )
    stable_seconds: float = Field(
        default=60.0, ge=0, le=86_400, description="Fewer replicas must be enough for this long."
    )
    idle_seconds: float = Field(
        default=300.0, ge=0, le=86_400, description="With `min` 0: the last one goes after this time alone."
    )
    surplus_priority: Annotated[int, Field(ge=-1000, le=1000)] | None = Field(
        default=None, description="Of those beyond `min`; none = 100 below the service's."
    )
    surplus_flavors: list[Name] = Field(
        default_factory=list,
        max_length=32,
        description="Flavors of those beyond `min`; empty = the service's.",
    )

    @model_validator(mode="after")
    def _min_is_not_more(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min is {self.min}, more than max, which is {self.max}")
        return self


class Release(Request):
    """How a new revision takes the traffic from the one before."""

    strategy: Literal["rolling", "canary"] = Field(
        default="rolling", description="`rolling`: as its replicas get ready; `canary`: step by step."
    )
    steps: list[Annotated[float, Field(gt=0, le=WHOLE_PERCENT)]] = Field(
        default=[10.0, 50.0], max_length=20, description="Percent of the traffic of each step of a canary."
    )
    bake_seconds: float = Field(
        default=60.0, ge=0, le=86_400, description="How long each step is watched before the next."
    )
    max_error_percent: float = Field(
        default=5.0, ge=0, le=WHOLE_PERCENT, description="More errors than this roll it back."
    )
    min_requests: int = Field(
        default=20, ge=1, le=1_000_000, description="Fewer requests than this say nothing about errors."
    )

    @model_validator(mode="after")
    def _steps_rise(self) -> Self:
        if any(later <= earlier for earlier, later in pairwise(self.steps)):
            raise ValueError("steps must rise")
        return self


class RequestLimits(Request):
    """What a request to the service may be."""

    request_bytes: int = Field(default=16 * 1024**2, ge=1, le=MAX_INT)
    timeout_seconds: float = Field(default=60.0, gt=0, le=86_400)
    queue_requests: int = Field(
        default=1000, ge=0, le=1_000_000, description="Wait at one gateway for a replica; more get 429."
    )
    requests_per_second: Annotated[float, Field(gt=0, le=1_000_000)] | None = Field(
        default=None, description="Of one caller; none = no bound."
    )
    wake_seconds: float = Field(
        default=60.0, ge=0, le=86_400, description="How long a request waits for the first replica."
    )


class ServiceSpec(Request):
    """A service: a model that answers requests under one name."""

    name: Name = Field(description="Unique inside the project; also the model's name in requests.")
    project: Name = Field(default="default", description="Tenant that the service belongs to.")
    queue: Name = Field(default="default", description="Queue of the project in which its replicas wait.")
    priority: int = Field(
        default=100, ge=-1000, le=1000, description="Of the replicas that are always there."
    )
    model: Version | None = Field(
        default=None,
        description="A model's version in the project: `name@3`, or `name@production` as it is now.",
    )
    import_path: Annotated[str, Field(max_length=512)] | None = Field(
        default=None,
        description="`package.module:Class` in `working_dir`: constructed once with `config`, then called.",
    )
    working_dir: str | None = Field(
        default=None, pattern=r"^sha256:[0-9a-f]{64}$", description="Digest of an uploaded archive."
    )
    config: dict[str, JsonValue] = Field(
        default_factory=dict, max_length=256, description="Keyword arguments of the class."
    )
    environment: dict[str, str] = Field(default_factory=dict, max_length=256)
    resources: Resources = Field(default_factory=Resources, description="Needs of one task of a replica.")
    tasks: int = Field(
        default=1, ge=1, le=MAX_TASKS, description="Tasks of one replica; the first one listens."
    )
    topology: TopologyRequest | None = None
    tolerations: list[Toleration] = Field(default_factory=list, max_length=32)
    flavors: list[Name] = Field(default_factory=list, max_length=32)
    replicas: Replicas = Field(default_factory=Replicas)
    concurrency: int = Field(
        default=8, ge=1, le=100_000, description="Requests that one replica takes at a time."
    )
    limits: RequestLimits = Field(default_factory=RequestLimits)
    release: Release = Field(default_factory=Release)
    is_open: bool = Field(default=False, description="Anybody may call it, without a token.")
    ready_seconds: float = Field(
        default=600.0, gt=0, le=86_400, description="From the start of its first replica to a ready one."
    )
    grace_seconds: float = Field(
        default=30.0, ge=0, le=3600, description="For requests under way when a replica is stopped."
    )

    @field_validator("import_path")
    @classmethod
    def _names_a_class(cls, value: str | None) -> str | None:
        if value is not None and not FUNCTION.match(value):
            raise ValueError("must be like package.module:Class")
        return value

    @field_validator("environment")
    @classmethod
    def _environment_is_sane(cls, value: dict[str, str]) -> dict[str, str]:
        return sane_environment(value)

    @field_validator("config")
    @classmethod
    def _config_is_small(cls, value: dict[str, Any]) -> dict[str, Any]:  # JSON values
        size = len(str(value))
        if size > MAX_CONFIG_BYTES:
            raise ValueError(f"holds {size} characters, the limit is {MAX_CONFIG_BYTES}")
        return value

    @model_validator(mode="after")
    def _serves_one_thing(self) -> Self:
        if self.model is None and self.import_path is None:
            raise ValueError("name a model's version, an import_path, or both")
        if self.import_path is not None and self.working_dir is None:
            raise ValueError("import_path needs the working_dir that it is in")
        return self
