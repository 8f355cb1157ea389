"""The ObjectStore port: bytes under keys, written once and whole; re-exports all that a plugin needs.

Every call ends within the store's deadline. Errors come from one table per plugin: `NotFound` and `Conflict` as
answers, else `Transient` (`Throttled`), `Ambiguous`, `Rejected`, `AuthFailed` or `QuotaExceeded`. What only some
stores can do is a Protocol of one method below.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import BinaryIO, Final, NewType, Protocol, runtime_checkable

from controlplane.domain.errors import Invalid
from controlplane.storage.checksums import Crc64

LONGEST_KEY: Final = 1024

UploadId = NewType("UploadId", str)


class ServerSide(StrEnum):
    """Who encrypts at rest, with which key."""

    STORE = "store"
    """The store, with a key of its own (AES-256)."""

    SERVICE = "service"
    """The store, with a key in the cloud's key service; `Encryption.key_id` names it, or the account's default."""

    CUSTOMER = "customer"
    """The store, with a key that we send along on every call and that it forgets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    by: ServerSide
    key_id: str | None = None
    customer_key: bytes | None = field(default=None, repr=False)
    """32 bytes, for `CUSTOMER` alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    access_key_id: str
    secret: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a bucket is and how to come in: what a plugin's class takes."""

    bucket: str
    region: str
    endpoint: str | None = None
    """Absent: the cloud's own for the region."""

    credentials: Credentials | None = None
    """Absent: what the machine's environment offers."""

    encryption: Encryption | None = None
    has_crc64: bool | None = None
    """Whether the store keeps a CRC-64 of the whole. None: as its cloud does, and unknown stores do not."""

    connect_seconds: float = 10
    answer_seconds: float = 60
    """How long one read or write on the connection may take."""

    attempts: int = 3
    """How often a call that may be repeated is tried; one that may not is tried once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    smallest_part_bytes: int
    """Of every part but the last."""

    most_parts: int
    crc64: Crc64 | None
    """The form in which the store reports checksums; None: it reports none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    key: str
    size_bytes: int
    etag: str
    """Changes with the content; means nothing on another store."""

    modified_at: datetime
    version: str | None = None
    """On a store that keeps old versions. Lists leave it out."""

    crc64: int | None = None
    """Of the whole, in the form that `Limits.crc64` names. Lists leave it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What `put_part` sends. `data` can be sought; from its start to its end it is `size_bytes` long."""

    number: int
    """From 1."""

    data: BinaryIO = field(repr=False)
    size_bytes: int
    md5: bytes
    """The one digest that every store checks before it accepts a part."""

    crc64: int | None = None
    """In the form that `Limits.crc64` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartReceipt:
    """What the store says it holds."""

    number: int
    size_bytes: int
    etag: str
    crc64: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenUpload:
    key: str
    upload_id: UploadId
    begun_at: datetime


class Blobs(Protocol):
    """Keys are `/`-separated. A key is either absent or whole; a crash in the middle of a put leaves it as it was."""

    def put(self, key: str, data: BinaryIO, *, if_absent: bool = False) -> int:
        """Stores and returns the size in bytes. Replaces what is there, or with `if_absent` raises `Conflict`.

        A conditional put whose answer is lost raises `Ambiguous`: the key may hold it now.
        """

    def get(self, key: str) -> BinaryIO:
        """Opens for reading; the caller closes. Raises `NotFound`; a read that is cut short raises `Transient`."""

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[str]:
        """Yields keys in order of their UTF-8."""

    def delete(self, key: str) -> None:
        """Absent keys are fine."""


class Objects(Blobs, Protocol):
    """Blobs whose size is known and whose middle can be read."""

    def read(self, key: str, offset: int, length: int, *, if_match: str | None = None) -> BinaryIO:
        """As `get`, but only these bytes, fewer at the end. Raises `Conflict` if the etag is no longer `if_match`."""

    def head(self, key: str) -> ObjectInfo:
        """Raises `NotFound`."""

    def entries(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Yields what the keys beyond `after` hold, in the order of `list`."""


class ObjectStore(Objects, Protocol):
    """Objects that can be sent in parts, by several hands and over several lives of the sender."""

    @property
    def limits(self) -> Limits: ...

    def begin_parts(self, key: str) -> UploadId:
        """Nothing shows under the key before `complete_parts`. A lost answer leaves an upload for the sweep."""

    def put_part(self, key: str, upload_id: UploadId, part: Part) -> PartReceipt:
        """Raises `Transient` if what arrived is not what was sent. The same number again replaces the part."""

    def list_parts(self, key: str, upload_id: UploadId) -> Sequence[PartReceipt]:
        """In order of numbers. Raises `NotFound` if the upload was completed or aborted."""

    def complete_parts(
        self, key: str, upload_id: UploadId, parts: Sequence[PartReceipt], *, if_absent: bool = False
    ) -> ObjectInfo:
        """Makes the object of exactly these parts. Raises `Ambiguous` on a lost answer: look with `head`."""

    def abort_parts(self, key: str, upload_id: UploadId) -> None:
        """Absent uploads are fine."""

    def list_uploads(self, prefix: str) -> Iterator[OpenUpload]:
        """Yields uploads that were begun and neither completed nor aborted, for the sweep."""


class Verb(StrEnum):
    GET = "GET"
    PUT = "PUT"


@runtime_checkable
class Presigns(Protocol):
    def presign(self, key: str, verb: Verb, expires: timedelta) -> str:
        """A URL that does this once or often until it expires, without credentials."""


class Replaces(Protocol):
    def replace(self, key: str, data: BinaryIO, *, if_match: str) -> int:
        """As `put`, but raises `Conflict` unless the key holds the object with this etag."""


def check_key(key: str) -> None:
    """Raises `Invalid`. A key is a key on every store, so that objects can be moved between them."""
    if (
        len(key.encode(errors="replace")) > LONGEST_KEY
        or "\0" in key
        or "\\" in key
        or not {"", ".", ".."}.isdisjoint(key.split("/"))
    ):
        raise Invalid(
            f"{key!r} is not a key: parts joined by '/', none empty, '.' or '..', {LONGEST_KEY} bytes in all",
            field="key",
            value=key,
        )


def check_range(offset: int, length: int) -> None:
    """Raises `Invalid`."""
    if offset < 0 or length < 1:
        raise Invalid(f"bytes {offset}+{length} are no range", field="range", value=(offset, length))
