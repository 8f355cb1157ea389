"""Signing keys' table: their public halves, and where the sealed other halves are."""

from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, select

from controlplane.domain.ids import SecretId
from controlplane.store.links import Link
from controlplane.store.rows import micros
from controlplane.store.schema_models import SIGNING_KEYS
from controlplane.store.statements import Statement, inserted
from controlplane.store.views import SigningKeyRow

_C: Final = SIGNING_KEYS.c
_ADD: Final = inserted(SIGNING_KEYS)
_GET: Final = Statement(
    select(_C.key_id, _C.public_pem, _C.secret_id).where(_C.purpose == bindparam("purpose"))
)


class SigningKeys:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, purpose: str, key: SigningKeyRow, at: datetime) -> None:
        """A second one for the same purpose is a `Conflict`: two replicas may make one at once."""
        self._link.change(
            _ADD,
            {
                "purpose": purpose,
                "key_id": key.key_id,
                "public_pem": key.public_pem,
                "secret_id": key.secret_id,
                "created_at": micros(at),
            },
        )

    def get(self, purpose: str) -> SigningKeyRow | None:
        row = self._link.row(_GET, {"purpose": purpose})
        if row is None:
            return None
        return SigningKeyRow(key_id=row[0], public_pem=row[1], secret_id=SecretId(row[2]))
