"""Job protocol v1: what wrappers push and what they are told (docs/job-protocol.md)."""

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
    kind: Literal["hello", "metric", "checkpoint", "progress", "exit"]
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
