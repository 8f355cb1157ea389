"""Artifacts: objects in registered stores, compared with what is said of them."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO, Final

from controlplane.domain.errors import Invalid, NotFound, TooLarge, Transient
from controlplane.domain.manifests import Artifact
from controlplane.operations.context import Context
from controlplane.operations.object_stores import Located, located
from controlplane.storage.base import ObjectInfo
from controlplane.storage.uris import parse
from controlplane.store import Tx
from controlplane.wire.models import ArtifactGiven

PIECE_BYTES: Final = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An object to be looked at, and the field of the request that names it."""

    given: ArtifactGiven
    place: Located
    field: str


def wanted_of(context: Context, tx: Tx, given: ArtifactGiven, field: str) -> Wanted:
    """Raises `Invalid` for a prefix, `Forbidden` outside of all registered stores."""
    uri = parse(given.uri)
    if uri.is_prefix:
        raise Invalid(f"{given.uri} is a prefix: name one object", field=f"{field}.uri", value=given.uri)
    return Wanted(given=given, place=located(context, tx, uri), field=field)


def read_all(wanted: Sequence[Wanted], limit_bytes: int) -> list[Artifact]:
    """Reads each of them once, in order. Raises `NotFound`, `Invalid`, `TooLarge`, or `Conflict` for what changes.

    All sizes first: what is too much is refused before hours are spent on it.
    """
    found = [_head(each) for each in wanted]
    total = sum(info.size_bytes for info in found)
    if total > limit_bytes:
        raise TooLarge(f"the artifacts hold {total} bytes", field="artifacts", value=total, limit=limit_bytes)
    return [_checked(each, info) for each, info in zip(wanted, found, strict=True)]


def _head(wanted: Wanted) -> ObjectInfo:
    uri = wanted.given.uri
    try:
        info = wanted.place.store.head(wanted.place.key)
    except NotFound as error:
        raise NotFound(f"there is no object {uri}", field=f"{wanted.field}.uri", value=uri) from error
    if info.size_bytes < 1:
        raise Invalid(f"{uri} is empty", field=f"{wanted.field}.uri", value=uri, limit=1)
    if wanted.given.size_bytes not in {None, info.size_bytes}:
        raise Invalid(
            f"{uri} holds {info.size_bytes} bytes, not {wanted.given.size_bytes}",
            field=f"{wanted.field}.size_bytes",
            value=wanted.given.size_bytes,
            limit=info.size_bytes,
        )
    return info


def _checked(wanted: Wanted, info: ObjectInfo) -> Artifact:
    """Raises `Conflict` if it is replaced while it is read."""
    given, store = wanted.given, wanted.place.store
    with closing(store.read(wanted.place.key, 0, info.size_bytes, if_match=info.etag)) as stream:
        digest, size_bytes = hashlib.sha256(), 0
        for piece in _pieces(stream):
            digest.update(piece)
            size_bytes += len(piece)
    if size_bytes != info.size_bytes:
        raise Transient(f"{given.uri}: {size_bytes} of {info.size_bytes} bytes arrived")
    sha256 = digest.hexdigest()
    if given.sha256 not in {None, sha256}:
        raise Invalid(
            f"{given.uri} has the SHA-256 {sha256}, not {given.sha256}",
            field=f"{wanted.field}.sha256",
            value=given.sha256,
            limit=sha256,
        )
    return Artifact(name=given.name, uri=given.uri, size_bytes=size_bytes, sha256=sha256)


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(PIECE_BYTES):
        yield piece
