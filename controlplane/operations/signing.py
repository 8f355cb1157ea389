"""Signing: the server's own key for manifests, made when it is first needed and sealed like every secret."""

from dataclasses import dataclass
from typing import Final

from controlplane.domain.errors import Bug, Conflict
from controlplane.domain.models import ModelVersion
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.endpoints import seal, unsealed
from controlplane.secrets.signing import SigningKey, vouches
from controlplane.store import SigningKeyRow, Tx

MANIFESTS: Final = "manifests"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    key_id: str
    pem: str


def public_key(context: Context, principal: Principal) -> PublicKey:
    authorize(principal, Action.READ)
    row = _row(context)
    return PublicKey(key_id=row.key_id, pem=row.public_pem)


def signing_key(context: Context) -> SigningKey:
    """Raises `Unsealable` under another master key."""
    row = _row(context)
    with context.store.read() as tx:
        seed = unsealed(context, tx, row.secret_id)
    if seed is None:
        raise Bug(f"the secret of signing key {row.key_id} is gone")
    return SigningKey.of(bytes.fromhex(seed))


def vouched(context: Context, version: ModelVersion) -> bool:
    """Whether the version's manifest is the very text that this server signed."""
    row = _row(context)
    return row.key_id == version.key_id and vouches(row.public_pem, version.manifest, version.signature)


def _row(context: Context) -> SigningKeyRow:
    found = _known(context)
    if found is not None:
        return found
    key = SigningKey.new()

    def unit(tx: Tx) -> SigningKeyRow:
        secret_id = seal(context, tx, key.seed.hex())
        row = SigningKeyRow(key_id=key.key_id, public_pem=key.public_pem, secret_id=secret_id)
        tx.signing_keys.add(MANIFESTS, row, tx.now)
        return row

    try:
        return context.store.write(unit)
    except Conflict:  # another replica was first, and its key counts
        row = _known(context)
        if row is None:
            raise
        return row


def _known(context: Context) -> SigningKeyRow | None:
    with context.store.read() as tx:
        return tx.signing_keys.get(MANIFESTS)
