"""Idempotency keys' table: what a request was answered, for when it is sent again."""

from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, select

from controlplane.domain.ids import TokenId
from controlplane.store.links import Link
from controlplane.store.rows import micros
from controlplane.store.schema import IDEMPOTENCY
from controlplane.store.statements import Statement, bound, inserted
from controlplane.store.views import Remembered

_C: Final = IDEMPOTENCY.c
_PUT: Final = inserted(IDEMPOTENCY)
_GET: Final = Statement(
    select(_C.request_hash, _C.code, _C.body).where(
        _C.token_id == bindparam("token_id"), _C.key == bindparam("key")
    )
)
_PRUNE: Final = Statement(delete(IDEMPOTENCY).where(_C.created_at < bound("before")), table=IDEMPOTENCY)


class Idempotency:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def get(self, token_id: TokenId, key: str) -> Remembered | None:
        row = self._link.row(_GET, {"token_id": token_id, "key": key})
        return None if row is None else Remembered(request_hash=row[0], code=row[1], body=row[2])

    def put(self, token_id: TokenId, key: str, remembered: Remembered) -> None:
        """In the unit that does what is remembered. `Conflict` when another request with this key was first."""
        params = {
            "token_id": token_id,
            "key": key,
            "request_hash": remembered.request_hash,
            "code": remembered.code,
            "body": remembered.body,
            "created_at": self._link.now_us,
        }
        self._link.change(_PUT, params)

    def prune(self, before: datetime) -> int:
        """Forgets the older ones; returns how many."""
        return self._link.change(_PRUNE, {"before": micros(before)})
