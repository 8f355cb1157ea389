"""Projects, queues, clusters, nodes and tokens, as the API takes and shows them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from controlplane.wire.base import Answer, Moment, Name, Request

Role = Literal["viewer", "submitter", "admin"]


MOST_SECRET_CHARS = 256 * 1024

Secret = Annotated[SecretStr, Field(min_length=1, max_length=MOST_SECRET_CHARS)]


class ProjectCreate(Request):
    """A new tenant. Comes with a queue named `default`."""

    name: Name


class ProjectDocument(Answer):
    """A tenant."""

    id: str
    name: str
    created_at: datetime


class QueueCreate(Request):
    """A new queue of a project."""

    project: Name
    name: Name


class QueueDocument(Answer):
    """Where jobs of one project wait."""

    id: str
    project: str
    name: str
    created_at: datetime


class ClusterCreate(Request):
    """A cluster to register."""

    name: Name
    adapter: Name = Field(
        description="Capacity plugin: `ray` for an existing Ray cluster, `kubernetes`, `aws`, `alibaba`, `local` "
        "for an embedded Ray cluster, or what else is installed."
    )
    url: Annotated[str, Field(max_length=2048, pattern=r"^https?://")] | None = Field(
        default=None,
        description="Ray's dashboard address, for `ray`. Plain http only on loopback; never a metadata service.",
    )
    token: SecretStr | None = Field(
        default=None, strict=False, description="Ray's token, with a url; stored encrypted, never shown."
    )
    secret: Secret | None = Field(
        default=None,
        strict=False,
        description="Without a url: a kubeconfig, or a JSON object of keys; stored encrypted, never shown. None: "
        "what the server's surroundings grant.",
    )
    gpu_resource: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        default="GPU", description="The Ray resource that counts GPUs there."
    )
    settings: dict[Name, Annotated[str, Field(max_length=4096)]] = Field(
        default_factory=dict, max_length=32, description="The plugin's own options, e.g. `nodes` of `local`."
    )


class ClusterSecret(Request):
    """What opens a cluster from now on."""

    secret: Secret = Field(
        strict=False,
        description="Ray's token where the cluster has a url; else a kubeconfig or a JSON object.",
    )


class ClusterDocument(Answer):
    """A cluster."""

    id: str
    name: str
    adapter: str
    state: Literal["pending", "ready", "unreachable", "draining", "detached"]
    since: datetime
    url: str | None = None
    cordoned_at: datetime | None = None
    last_seen_at: datetime | None = None
    problem: str | None = Field(default=None, description="What the last call said when it failed.")
    warnings: list[str] = Field(
        default_factory=list, description="What we may not see or do there, naming the missing permission."
    )
    nodes: int = Field(description="Present nodes.")
    capacity: dict[str, float] = Field(
        default_factory=dict, description="Sum over present nodes: cpus, gpus, memory..."
    )
    booked: dict[str, float] = Field(default_factory=dict, description="Held by seats of live attempts.")
    foreign: dict[str, float] = Field(default_factory=dict, description="Used by work that is not ours.")
    offers_listed_at: datetime | None = Field(
        default=None, description="When its cloud last said what it sells."
    )
    offers_problem: str | None = Field(default=None, description="Why it did not say so since.")
    version: int


class NodeDocument(Answer):
    """A machine of a cluster."""

    id: str
    cluster_id: str
    cluster: str
    name: str
    host: str
    accelerator: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    allocatable: dict[str, float]
    foreign: dict[str, float] = Field(description="Used by work that is not ours.")
    booked: dict[str, float]
    seen_at: datetime
    gone_at: datetime | None = None


class TokenCreate(Request):
    """A new token."""

    name: Name
    role: Role
    project: Name | None = Field(
        default=None, description="The project that it is good for; none = all projects."
    )
    expires_at: Moment | None = Field(default=None, strict=False)


class TokenDocument(Answer):
    """A token, without its secret."""

    id: str
    name: str
    role: Role
    project: str | None = None
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class TokenCreated(TokenDocument):
    """A token with its secret: shown once, stored only as a hash."""

    secret: str


class MeDocument(Answer):
    """The token that asks."""

    name: str
    role: Role
    project: str | None = Field(
        default=None, description="The project that it is good for; none = all projects."
    )


class Health(Answer):
    """Alive."""

    ok: bool
    version: str


class Readiness(Answer):
    """Whether requests can be served and jobs are being moved."""

    ready: bool
    checks: dict[str, str] = Field(description="Part -> `ok`, or what is wrong.")
