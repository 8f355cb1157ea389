"""Authentication: from the secret that a request carries to the principal it speaks for."""

import time
from collections.abc import Callable
from typing import Final

from controlplane.domain.errors import Unauthenticated
from controlplane.identity import tokens
from controlplane.identity.principals import Principal, Role
from controlplane.store import Store, Tx

REMEMBERED_SECONDS: Final = 3.0
"""A revoked or expired token is refused by every process after this long at the latest."""

MOST_REMEMBERED: Final = 10_000


class Authenticator:
    """Remembers who was let in for a few seconds, so a busy client costs no query per request. Shared by threads."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[bytes, tuple[Principal, float]] = {}

    def principal(self, secret: str | None) -> Principal:
        """Raises `Unauthenticated`, with one sentence for every cause."""
        if secret is None or not tokens.is_well_formed(secret):
            raise Unauthenticated
        digest = tokens.hash_of(secret)
        now = self._clock()
        known = self._known.get(digest)
        if known is not None and now < known[1]:
            return known[0]
        with self._store.read() as tx:
            principal = _look_up(tx, digest)
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[digest] = (principal, now + REMEMBERED_SECONDS)
        return principal


def _look_up(tx: Tx, digest: bytes) -> Principal:
    row = tx.tokens.by_hash(digest)
    if row is None or not tokens.same(row.hash, digest):
        raise Unauthenticated
    if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= tx.now):
        raise Unauthenticated
    return Principal(token_id=row.id, name=row.name, role=Role(row.role), project_id=row.project_id)
