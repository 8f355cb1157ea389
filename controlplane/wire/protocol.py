"""Job protocol v1: what wrappers push and what they are told (docs/job-protocol.md)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from controlplane.wire.base import MAX_INT, Answer, Request

MAX_RECORDS = 500
MAX_LOG_BYTES = 256 * 1024


class Record(Request):
    """One fact of one task, in order."""

    model_config = ConfigDict(
        extra="allow", strict=False
    )  # the kinds differ in their fields: checked per kind

    seq: int = Field(ge=1, le=MAX_INT)
    kind: Literal["hello", "metric", "checkpoint", "progress", "endpoint", "exit"]
    at: Annotated[str, Field(max_length=40)]

    @property
    def fields(self) -> dict[str, Any]:  # JSON values of the kind
        return self.__pydantic_extra__ or {}


class LogPiece(Request):
    """Bytes of a task's output."""

    offset: int = Field(ge=0, le=MAX_INT)
    data: str = Field(description="Base64.", max_length=MAX_LOG_BYTES * 4 // 3 + 8)


class RecordBatch(Request):
    """What one task has to say; an empty batch is a heartbeat."""

    rank: int = Field(ge=-1, le=100_000, description="-1 is the coordinator of a gang.")
    records: list[Record] = Field(default_factory=list, max_length=MAX_RECORDS)
    log: LogPiece | None = None


class RecordAnswer(Answer):
    """What is durable by now, and whether the task may go on."""

    acked_seq: int
    log_offset: int
    lease_seconds: float
    stop: bool
    grace_seconds: float


class Fact(Request):
    """What a record says, by kind. A newer wrapper may say more."""

    model_config = ConfigDict(extra="ignore")


class Hello(Fact):
    """A task is there and asks whether it may start user code."""

    host: str = Field(max_length=256)
    pid: int = Field(ge=0, le=MAX_INT)


class Metric(Fact):
    """Numbers that user code reported at a step; null stands for what is no finite number."""

    step: int = Field(ge=0, lt=2**63)
    values: dict[Annotated[str, Field(max_length=128)], float | None] = Field(max_length=64)


class Checkpoint(Fact):
    """A checkpoint that user code says is durable."""

    uri: str = Field(min_length=1, max_length=2048)
    step: int = Field(ge=0, lt=2**63)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None


class Progress(Fact):
    """How far user code believes to be."""

    fraction: float = Field(ge=0, le=1)
    message: str = Field(default="", max_length=4096)


class Endpoint(Fact):
    """Where user code listens, and whether it wants to be asked."""

    url: str = Field(pattern=r"^https?://[^/\s@?#]+$", max_length=512)
    grpc: Annotated[str, Field(pattern=r"^[^/\s@?#]+:[0-9]{1,5}$", max_length=512)] | None = None
    ready: bool


class Exit(Fact):
    """A task has ended."""

    code: int = Field(ge=-(2**31), lt=2**31)
    reason: Literal["completed", "failed", "stopped", "lease_lost", "start_timeout", "fenced"]
    signal: int | None = Field(default=None, ge=0, le=255)
    final: bool = Field(default=False, description="No user code of the whole attempt runs any more.")
    log_bytes: int = Field(default=0, ge=0, le=MAX_INT)
    ranks: dict[str, int] = Field(default_factory=dict, description="Rank -> code, sent by a coordinator.")


FACTS: Mapping[str, type[Fact]] = {
    "hello": Hello,
    "metric": Metric,
    "checkpoint": Checkpoint,
    "progress": Progress,
    "endpoint": Endpoint,
    "exit": Exit,
}
