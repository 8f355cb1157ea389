"""Tokens' table: hashes of what opens the API, never what was hashed."""

from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, func, select, update

from controlplane.domain.ids import ProjectId, TokenId
from controlplane.store.links import Link
from controlplane.store.rows import Row, micros, micros_or_none, moment, moment_or_none
from controlplane.store.schema import TOKENS
from controlplane.store.statements import Statement, bound, inserted
from controlplane.store.views import TokenRow

_C: Final = TOKENS.c
_TOKEN: Final = select(
    _C.id, _C.name, _C.role, _C.project_id, _C.hash, _C.created_at, _C.expires_at, _C.revoked_at
)
_ADD: Final = inserted(TOKENS)
_GET: Final = Statement(_TOKEN.where(_C.id == bindparam("id")))
_BY_HASH: Final = Statement(_TOKEN.where(_C.hash == bindparam("hash")))
_PAGE: Final = Statement(_TOKEN.where(_C.id > bindparam("after")).order_by(_C.id).limit(bound("limit")))
_REVOKE: Final = Statement(
    update(TOKENS)
    .where(_C.id == bindparam("id"))
    .values(revoked_at=func.coalesce(_C.revoked_at, bound("revoked_at"))),
    table=TOKENS,
)


class Tokens:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, token: TokenRow) -> None:
        params = {
            "id": token.id,
            "name": token.name,
            "role": token.role,
            "project_id": token.project_id,
            "hash": token.hash,
            "created_at": micros(token.created_at),
            "expires_at": micros_or_none(token.expires_at),
            "revoked_at": micros_or_none(token.revoked_at),
        }
        self._link.change(_ADD, params)

    def get(self, token_id: TokenId) -> TokenRow | None:
        row = self._link.row(_GET, {"id": token_id})
        return None if row is None else _token(row)

    def by_hash(self, hash_: bytes) -> TokenRow | None:
        """Revoked and expired ones too: the caller says which it was."""
        row = self._link.row(_BY_HASH, {"hash": hash_})
        return None if row is None else _token(row)

    def revoke(self, token_id: TokenId, at: datetime) -> None:
        """The first moment stays."""
        self._link.change(_REVOKE, {"id": token_id, "revoked_at": micros(at)})

    def list(self, after: TokenId | None, limit: int) -> list[TokenRow]:
        """By id; `after` is the id last seen."""
        return [_token(row) for row in self._link.rows(_PAGE, {"after": after or "", "limit": limit})]


def _token(row: Row) -> TokenRow:
    id_, name, role, project_id, hash_, created_at, expires_at, revoked_at = row
    return TokenRow(
        id=TokenId(id_),
        name=name,
        role=role,
        project_id=None if project_id is None else ProjectId(project_id),
        hash=hash_,
        created_at=moment(created_at),
        expires_at=moment_or_none(expires_at),
        revoked_at=moment_or_none(revoked_at),
    )
