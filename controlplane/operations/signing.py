"""Signing: the server's own key for manifests, made when it is first needed and sealed like every secret."""

from dataclasses import dataclass
from typing import Final

from controlplane.domain.errors import Bug, Conflict
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.endpoints import seal, unsealed
from controlplane.operations.services import Services
from controlplane.secrets.signing import SigningKey
from controlplane.store import SigningKeyRow, Tx

MANIFESTS: Final = "manifests"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    key_id: str
    pem: str


def public_key(services: Services, principal: Principal) -> PublicKey:
    authorize(principal, Action.READ)
    row = _row(services)
    return PublicKey(key_id=row.key_id, pem=row.public_pem)


def signing_key(services: Services) -> SigningKey:
    """Raises `Unsealable` under another master key."""
    row = _row(services)
    with services.store.read() as tx:
        seed = unsealed(services, tx, row.secret_id)
    if seed is None:
        raise Bug(f"the secret of signing key {row.key_id} is gone")
    return SigningKey.of(bytes.fromhex(seed))


def _row(services: Services) -> SigningKeyRow:
    found = _known(services)
    if found is not None:
        return found
    key = SigningKey.new()

    def unit(tx: Tx) -> SigningKeyRow:
        secret_id = seal(services, tx, key.seed.hex())
        row = SigningKeyRow(key_id=key.key_id, public_pem=key.public_pem, secret_id=secret_id)
        tx.signing_keys.add(MANIFESTS, row, tx.now)
        return row

    try:
        return services.store.write(unit)
    except Conflict:  # another replica was first, and its key counts
        row = _known(services)
        if row is None:
            raise
        return row


def _known(services: Services) -> SigningKeyRow | None:
    with services.store.read() as tx:
        return tx.signing_keys.get(MANIFESTS)
