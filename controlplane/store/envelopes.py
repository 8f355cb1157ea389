"""Secrets' table: envelopes that only their key opens."""

from typing import Final

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from controlplane.domain.ids import SecretId
from controlplane.store.links import Link
from controlplane.store.schema import SECRETS
from controlplane.store.statements import Statement
from controlplane.store.views import SecretRow

_C: Final = SECRETS.c
_NEW: Final = insert_or_update(SECRETS).values({column: bindparam(column.name) for column in _C})
_PUT: Final = Statement(
    _NEW.on_conflict_do_update(
        index_elements=[_C.id], set_={column.name: column for column in _NEW.excluded if column.name != "id"}
    ).inline(),
    table=SECRETS,
)
_GET: Final = Statement(
    select(_C.id, _C.key_id, _C.wrapped_key, _C.nonce, _C.ciphertext).where(_C.id == bindparam("id"))
)
_DELETE: Final = Statement(delete(SECRETS).where(_C.id == bindparam("id")), table=SECRETS)


class Secrets:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def put(
        self, secret_id: SecretId, *, key_id: str, wrapped_key: bytes, nonce: bytes, ciphertext: bytes
    ) -> None:
        """Inserts or replaces."""
        params = {
            "id": secret_id,
            "key_id": key_id,
            "wrapped_key": wrapped_key,
            "nonce": nonce,
            "ciphertext": ciphertext,
        }
        self._link.change(_PUT, params)

    def get(self, secret_id: SecretId) -> SecretRow | None:
        row = self._link.row(_GET, {"id": secret_id})
        if row is None:
            return None
        id_, key_id, wrapped_key, nonce, ciphertext = row
        return SecretRow(
            id=SecretId(id_), key_id=key_id, wrapped_key=wrapped_key, nonce=nonce, ciphertext=ciphertext
        )

    def delete(self, secret_id: SecretId) -> None:
        self._link.change(_DELETE, {"id": secret_id})
