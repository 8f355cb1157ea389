"""Links: where a replica reads its model's files, whatever cloud it is on: its machine needs no keys to their store.

A link is good for one object, for reading, for an hour. It travels like the replica's other secrets.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

from controlplane.domain.errors import UserError
from controlplane.operations.context import Context
from controlplane.operations.object_stores import Located, located, registered_for
from controlplane.storage.base import Presigns, Verb
from controlplane.storage.uris import Kind, parse
from controlplane.store import Tx

VALIDITY: Final = timedelta(hours=1)
"""From the order on, so that it covers the start of the whole Ray job."""


def links(context: Context, uris: Iterable[str]) -> Mapping[str, str]:
    """By URI. What no keys of the server's open has none: the replica's own machine has to find a way."""
    with context.store.read() as tx:
        places = {uri: place for uri in uris if (place := _place(context, tx, uri)) is not None}
    found = {}
    for uri, place in places.items():
        if isinstance(place.store, Presigns):
            found[uri] = place.store.presign(place.key, Verb.GET, VALIDITY)
    return found


def _place(context: Context, tx: Tx, uri: str) -> Located | None:
    try:
        wanted = parse(uri)
        store = registered_for(tx, wanted)
    except UserError:
        return None
    if wanted.kind is Kind.FILE or store.secret_id is None:
        return None
    return located(context, tx, wanted)
