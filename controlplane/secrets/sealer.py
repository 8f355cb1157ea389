"""Sealer: envelope encryption. Each secret has its own data key, and the master key wraps that.

Both layers are AES-256-GCM with the secret's id as associated data, so an envelope that is moved to another row does
not open. Rotating the master key rewraps the data keys and leaves the ciphertexts alone.
"""

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from controlplane.domain.errors import AuthFailed
from controlplane.domain.ids import SecretId

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


class Unsealable(AuthFailed):
    """A stored secret does not open: it was sealed under another master key, or it was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A sealed secret, as it is stored."""

    key_id: str
    """Which master key wrapped it."""

    wrapped_key: bytes = field(repr=False)
    """The data key, encrypted; begins with its own nonce."""

    nonce: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


class Sealer:
    """Holds the master key. Shared by threads; shows nothing of the key."""

    def __init__(self, master_key: bytes) -> None:
        self._master = AESGCM(self._derive(master_key, "wrap"))
        self.server_key = self._derive(master_key, "server")
        """Signs what clients carry for us: attempt tokens, cursors."""
        self.key_id = hashlib.sha256(self._derive(master_key, "key id")).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Sealer(key_id={self.key_id!r})"

    def seal(self, secret_id: SecretId, plaintext: bytes) -> Envelope:
        data_key = secrets.token_bytes(KEY_BYTES)
        wrap_nonce, nonce = secrets.token_bytes(NONCE_BYTES), secrets.token_bytes(NONCE_BYTES)
        return Envelope(
            key_id=self.key_id,
            wrapped_key=wrap_nonce + self._master.encrypt(wrap_nonce, data_key, secret_id.encode()),
            nonce=nonce,
            ciphertext=AESGCM(data_key).encrypt(nonce, plaintext, secret_id.encode()),
        )

    def unseal(self, secret_id: SecretId, envelope: Envelope) -> bytes:
        """Raises `Unsealable`."""
        if envelope.key_id != self.key_id:
            raise Unsealable(
                f"secret {secret_id} was sealed under key {envelope.key_id}, this is {self.key_id}"
            )
        wrap_nonce, wrapped = envelope.wrapped_key[:NONCE_BYTES], envelope.wrapped_key[NONCE_BYTES:]
        try:
            data_key = self._master.decrypt(wrap_nonce, wrapped, secret_id.encode())
            return AESGCM(data_key).decrypt(envelope.nonce, envelope.ciphertext, secret_id.encode())
        except InvalidTag as error:
            raise Unsealable(f"secret {secret_id} was changed since it was sealed") from error

    @staticmethod
    def _derive(master_key: bytes, purpose: str) -> bytes:
        return HKDF(
            algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"crossdock {purpose}".encode()
        ).derive(master_key)
