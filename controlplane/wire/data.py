"""Data: object stores that are registered, what is in them, and copies between them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from controlplane.wire.base import MAX_INT, Answer, Name, Request

Uri = Annotated[
    str, Field(min_length=1, max_length=2048, description="s3://bucket/key, oss://bucket/key or file:///path")
]


class StoreCreate(Request):
    """A bucket, or a prefix in one, that the server may use from now on."""

    name: Name
    uri: Uri
    region: Annotated[str, Field(max_length=63)] = Field(
        default="", description="Empty: us-east-1 for S3, cn-hangzhou for OSS."
    )
    endpoint: Annotated[str, Field(max_length=2048)] | None = Field(
        default=None, description="Absent: the cloud's own for the region."
    )
    access_key_id: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    secret: Annotated[SecretStr, Field(min_length=1, max_length=1024)] | None = Field(
        default=None, description="Stored encrypted, never shown. Absent: what the server's machine offers."
    )
    near: list[Name] = Field(
        default_factory=list,
        max_length=64,
        description="Clusters whose jobs keep their checkpoints here: those of jobs that come from elsewhere are "
        "copied here before they resume.",
    )


class StoreDocument(Answer):
    """A registered store, without its secret."""

    name: str
    uri: str
    region: str
    endpoint: str | None = None
    access_key_id: str | None = None
    near: list[str] = Field(default_factory=list)
    created_at: datetime


class ObjectDocument(Answer):
    """An object in a store."""

    key: str = Field(description="Below the bucket, or below the registered folder.")
    size_bytes: int
    etag: str
    modified_at: datetime


class CopyCreate(Request):
    """A copy to be made."""

    project: Name
    source: Uri = Field(description="An object, or with `/` at the end all below it.")
    target: Uri = Field(description="With `/` at the end, an object keeps its last part.")
    bytes_per_second: Annotated[int, Field(ge=1, le=MAX_INT)] | None = Field(
        default=None, description="Absent: as fast as it goes."
    )
    rereads: bool = Field(default=False, description="Read every object back and compare it part by part.")


class CopyDocument(Answer):
    """A copy, and how far it is."""

    id: str
    project: str
    source: str
    target: str
    state: Literal["pending", "copying", "done", "failed", "cancelled"]
    since: datetime
    created_at: datetime
    bytes_per_second: int | None = None
    rereads: bool
    cancel_requested_at: datetime | None = None
    problem: str | None = None
    objects: int = Field(description="Finished ones.")
    size_bytes: int = Field(description="Confirmed by the target.")
    known_bytes: int = Field(description="Of all objects begun; more may follow below a prefix.")
    version: int


class CheckedDocument(Answer):
    """An object at the target of a copy."""

    key: str
    size_bytes: int = Field(description="As it was copied.")
    found: Literal["whole", "changed", "missing"]
