"""Callers: whose tokens open services, for a way in that cannot ask about each one."""

from collections.abc import Iterator, Mapping
from typing import Final

from controlplane.identity.policy import ALLOWED, Action
from controlplane.identity.principals import Role
from controlplane.operations.context import Context
from controlplane.store import Tx
from controlplane.store.views import TokenRow

PAGE: Final = 1000
EVERY_PROJECT: Final = "*"


def digests(context: Context) -> Mapping[str, str]:
    """By the SHA-256 of each token that opens services now, in capital hex digits: its project's id, or `*`."""
    with context.store.read() as tx:
        return {
            row.hash.hex().upper(): row.project_id or EVERY_PROJECT
            for row in _all(tx)
            if row.revoked_at is None
            and (row.expires_at is None or row.expires_at > tx.now)
            and Action.INVOKE in ALLOWED[Role(row.role)]
        }


def _all(tx: Tx) -> Iterator[TokenRow]:
    after = None
    while page := tx.tokens.list(after, PAGE):
        yield from page
        after = page[-1].id
