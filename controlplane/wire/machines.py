"""Machine protocol v1: what bought machines say and what they are told (docs/machine-protocol.md)."""

from typing import Literal

from pydantic import ConfigDict, Field

from controlplane.wire.base import Answer, Moment, Request

Role = Literal["head", "node", "wait"]

LONGEST_ID = 128


class Notice(Request):
    """The provider is about to take the machine away."""

    model_config = ConfigDict(extra="ignore", strict=False)

    kind: Literal["spot", "maintenance", "shutdown"]
    at: Moment | None = None


class CheckInRequest(Request):
    """Also the machine's heartbeat."""

    model_config = ConfigDict(extra="ignore", strict=False)  # a newer machine may say more

    claim_id: str = Field(max_length=LONGEST_ID)
    launch_id: str = Field(max_length=LONGEST_ID)
    machine: str = Field(min_length=1, max_length=LONGEST_ID, description="The provider's name of it.")
    host: str = Field(min_length=1, max_length=255, description="Its private address.")
    phase: Literal["booting", "up", "leaving"]
    notice: Notice | None = None
    problem: str | None = Field(default=None, max_length=2048)


class HeadTls(Answer):
    """What the head's proxy shows to whoever dials it."""

    certificate_pem: str
    key_pem: str = Field(repr=False)


class CheckInAnswer(Answer):
    """What the machine is to do."""

    role: Role
    head_host: str | None = None
    ray_token: str | None = Field(default=None, repr=False)
    tls: HeadTls | None = None
    tls_port: int
    gcs_port: int
    labels: dict[str, str]
    again_after_seconds: float
    dead_man_seconds: float
