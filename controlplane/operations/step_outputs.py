"""Step outputs: what a step left in the object store, read whole, so that equal content can be known again."""

import hashlib
from itertools import islice
from typing import Final

from controlplane.domain.errors import Invalid, TooLarge
from controlplane.domain.executions import StepArtifact
from controlplane.domain.pipelines import ArtifactKind
from controlplane.operations.artifacts import Wanted, read_all
from controlplane.operations.context import Context
from controlplane.operations.object_stores import Located, located
from controlplane.storage.base import ObjectInfo
from controlplane.storage.uris import parse
from controlplane.wire.models import ArtifactGiven

MOST_OBJECTS: Final = 10_000
"""Below one output that is a prefix."""

NOTHING_SHA256: Final = hashlib.sha256(b"").hexdigest()


def inspected(context: Context, name: str, kind: ArtifactKind, uri: str) -> StepArtifact:
    """Raises `NotFound` for what is not there, `Invalid` for what is empty, `TooLarge`, `Conflict` for what changes."""
    parsed = parse(uri)
    with context.store.read() as tx:
        place = located(context, tx, parsed)
    limit_bytes = context.settings.publish_limit_bytes
    if parsed.is_prefix:
        size_bytes, sha256 = _of_prefix(place, uri, limit_bytes)
    else:
        size_bytes, sha256 = _of_object(place, uri, limit_bytes)
    return StepArtifact(name=name, kind=kind, uri=uri, size_bytes=size_bytes, sha256=sha256)


def _of_object(place: Located, uri: str, limit_bytes: int) -> tuple[int, str]:
    (found,) = read_all([_wanted(place, uri)], limit_bytes)
    return found.size_bytes, found.sha256


def _of_prefix(place: Located, uri: str, limit_bytes: int) -> tuple[int, str]:
    infos = list(islice(place.store.entries(place.key), MOST_OBJECTS + 1))
    if not infos:
        raise Invalid(f"there is nothing below {uri}", field="uri", value=uri, limit=1)
    if len(infos) > MOST_OBJECTS:
        raise TooLarge(f"more than {MOST_OBJECTS} objects are below {uri}", field="uri", limit=MOST_OBJECTS)
    wanted = [
        _wanted(Located(store=place.store, key=info.key), _below(uri, place, info))
        for info in infos
        if info.size_bytes
    ]
    digests = {found.uri: found.sha256 for found in read_all(wanted, limit_bytes)}
    lines = []
    for info in infos:
        sha256 = digests.get(_below(uri, place, info), NOTHING_SHA256)
        lines.append(f"{info.key.removeprefix(place.key)} {info.size_bytes} {sha256}\n")
    whole = hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    return sum(info.size_bytes for info in infos), whole


def _wanted(place: Located, uri: str) -> Wanted:
    # The name serves messages alone, and the field is the URI's.
    return Wanted(given=ArtifactGiven(name="output", uri=uri), place=place, field="outputs")


def _below(uri: str, place: Located, info: ObjectInfo) -> str:
    return f"{uri}{info.key.removeprefix(place.key)}"
