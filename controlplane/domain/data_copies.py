"""Copies: what a user asked to have copied between object stores, and how far each object of it is."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from controlplane.domain.ids import CopyId, ProjectId, SecretId
from controlplane.domain.lifecycles import Lifecycle, to


class CopyState(StrEnum):
    PENDING = "pending"
    """Nobody has looked at the source yet."""

    COPYING = "copying"
    DONE = "done"
    """Every object is at the target, whole and compared, and the manifest of a prefix is written."""

    FAILED = "failed"
    """It will not work as it was asked for: what was whole at the target stays there."""

    CANCELLED = "cancelled"


COPY: Final = Lifecycle(
    noun="copy",
    initial=CopyState.PENDING,
    edges={
        CopyState.PENDING: to(CopyState.COPYING, CopyState.FAILED, CopyState.CANCELLED),
        CopyState.COPYING: to(CopyState.DONE, CopyState.FAILED, CopyState.CANCELLED),
        CopyState.DONE: to(),
        CopyState.FAILED: to(),
        CopyState.CANCELLED: to(),
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    id: CopyId
    project_id: ProjectId
    source: str
    """A URI; one that ends with `/` is a prefix, and all below it is copied."""

    target: str
    state: CopyState
    since: datetime
    created_at: datetime
    bytes_per_second: int | None = None
    """None: as fast as it goes."""

    rereads: bool = False
    """Whether each object is read back from the target and compared part by part."""

    cancel_requested_at: datetime | None = None
    failures: int = 0
    """Tries in a row that ended early; each waits longer than the one before."""

    problem: str | None = None
    """Why it failed, or what the last try met."""

    version: int = 1
    came_from: str = "-"

    def move(self, new: CopyState, *, at: datetime) -> Self:
        COPY.check(self.state, new)
        return replace(self, state=new, came_from=str(self.state), since=at, version=self.version + 1)

    def changed(self, **fields: object) -> Self:
        """The next version of it in the same state."""
        # `object`: the keywords are the fields' own.
        return replace(self, version=self.version + 1, **fields)  # type: ignore[arg-type]

    @property
    def is_over(self) -> bool:
        return COPY.is_terminal(self.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedObject:
    """One object of a copy: written down before its upload is begun."""

    copy_id: CopyId
    ordinal: int
    """In the order of keys, from 1."""

    source_key: str
    target_key: str
    size_bytes: int
    source_etag: str
    part_bytes: int
    created_at: datetime
    upload_id: str | None = None
    """None: not begun, or begun by a call whose answer nobody wrote down."""

    etag: str | None = None
    """At the target, once it is there."""

    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedPart:
    """A part that the target has confirmed."""

    copy_id: CopyId
    ordinal: int
    number: int
    size_bytes: int
    sha256: str
    etag: str
    crc64: int | None
    """In the form that the target keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyProgress:
    objects: int
    """Finished ones."""

    size_bytes: int
    """Confirmed by the target, parts of unfinished objects included."""

    known_bytes: int
    """Of all objects that were begun; more may follow below a prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredStore:
    """A bucket, or a prefix in one, that the server may read and write."""

    name: str
    uri: str
    region: str
    created_at: datetime
    endpoint: str | None = None
    """None: the cloud's own for the region."""

    access_key_id: str | None = None
    secret_id: SecretId | None = None
    """None: what the server's machine offers."""

    near: tuple[str, ...] = ()
    """Names of clusters whose attempts keep their checkpoints here."""


def manifest_key(copy: Copy, prefix: str) -> str:
    """Of what a copy of a prefix writes last."""
    return f"{prefix}{copy.id}.manifest.json"
