"""Looks at the sources of inputs and at what is kept of them, and deletes what is kept no longer.

Every call may be made twice, by the same replica or another one: nothing here is written down.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from controlplane.domain.data_copies import CopiedObject, Copy, manifest_key
from controlplane.domain.errors import NotFound, Rejected
from controlplane.domain.inputs import FoundObject, Input, address_of
from controlplane.operations.context import Context
from controlplane.operations.nearness import below
from controlplane.operations.object_stores import Located, located, registered_for
from controlplane.operations.staging import FOLDER
from controlplane.storage.uris import ObjectUri, parse
from controlplane.store import Tx

MOST_OBJECTS: Final = 100_000
"""Of one input: they are listed whenever attempts are placed that want it."""

PAGE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is at a source now, and where it is kept."""

    address: str
    target: str
    size_bytes: int
    is_kept: bool
    """Everything is there, as far as a list shows. Who copied it has compared it."""


def look(context: Context, row: Input) -> Sight:
    """Raises what the stores raise, and `NotFound` for a source with nothing in it."""
    uri = parse(row.source)
    with context.store.read() as tx:
        source, home = located(context, tx, uri), _home(tx, uri)
        near = next((each for each in tx.object_stores.all() if each.name == row.store), None)
    if near is None:
        raise NotFound(f"store {row.store!r} is no longer registered", field="store", value=row.store)
    found = tuple(_listed(source, uri))
    if not found:
        raise NotFound(f"there is nothing at {row.source}", field="inputs", value=row.source)
    address = address_of(home, found)
    # For each project apart: none waits for what another brings, or reads it.
    folder = below(near, f"{FOLDER}/{row.project_id}/{address}/")
    with context.store.read() as tx:
        kept = located(context, tx, parse(folder))
    there = {each.key.removeprefix(kept.key): each.size_bytes for each in kept.store.entries(kept.key)}
    return Sight(
        address=address,
        target=folder if uri.is_prefix else f"{folder}{found[0].name}",
        size_bytes=sum(each.size_bytes for each in found),
        is_kept=there == {each.name: each.size_bytes for each in found},
    )


def is_as_seen(context: Context, row: Input, copy: Copy) -> bool:
    """Whether the copy has brought what the address was made of, and not something newer."""
    uri, target = parse(copy.source), parse(copy.target)
    with context.store.read() as tx:
        key, home = located(context, tx, uri).key, _home(tx, uri)
        there = located(context, tx, target)
        copied = [
            FoundObject(
                name=_name(uri, key, each.source_key), size_bytes=each.size_bytes, etag=each.source_etag
            )
            for page in _pages(tx, copy)
            for each in page
        ]
    if uri.is_prefix:
        there.store.delete(manifest_key(copy, there.key))  # code that reads the folder did not ask for it
    return address_of(home, copied) == row.address


def forget(context: Context, row: Input, goes_on: Callable[[], bool]) -> bool:
    """Deletes what is kept; says whether nothing is left."""
    if row.target is None:
        return True
    target = parse(row.target)
    folder = ObjectUri(kind=target.kind, bucket=target.bucket, key=f"{target.key.rpartition('/')[0]}/")
    with context.store.read() as tx:
        kept = located(context, tx, folder)
    for each in kept.store.entries(kept.key):
        if not goes_on():
            return False
        kept.store.delete(each.key)
    return True


def _home(tx: Tx, uri: ObjectUri) -> str:
    registered = registered_for(tx, uri)
    return f"{registered.uri} {registered.endpoint or ''}"


def _listed(source: Located, uri: ObjectUri) -> Iterator[FoundObject]:
    if not uri.is_prefix:
        info = source.store.head(source.key)
        name = _name(uri, source.key, info.key)
        yield FoundObject(name=name, size_bytes=info.size_bytes, etag=info.etag)
        return
    number = 0
    for info in source.store.entries(source.key):
        if info.key.endswith("/"):  # how some tools draw a folder; the copier leaves it out too
            continue
        number += 1
        if number > MOST_OBJECTS:
            raise Rejected(f"{uri} has more than {MOST_OBJECTS} objects: name a part of it, or pack it")
        name = _name(uri, source.key, info.key)
        yield FoundObject(name=name, size_bytes=info.size_bytes, etag=info.etag)


def _name(uri: ObjectUri, top: str, key: str) -> str:
    return key.removeprefix(top) if uri.is_prefix else uri.key.rpartition("/")[2]


def _pages(tx: Tx, copy: Copy) -> Iterator[list[CopiedObject]]:
    after = 0
    while page := tx.copied_objects.of_copy(copy.id, after, PAGE):
        yield page
        after = page[-1].ordinal
