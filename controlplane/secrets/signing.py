"""Signing keys: Ed25519 (RFC 8032), to vouch for texts that leave the server."""

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

KEY_ID_CHARS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    seed: bytes = field(repr=False)
    """The private key: 32 bytes."""

    key_id: str
    """Start of the SHA-256 of the raw public key."""

    public_pem: str

    @classmethod
    def new(cls) -> Self:
        return cls.of(Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def of(cls, seed: bytes) -> Self:
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
        return cls(
            seed=seed,
            key_id=hashlib.sha256(public.public_bytes_raw()).hexdigest()[:KEY_ID_CHARS],
            public_pem=public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        )

    def sign(self, text: str) -> str:
        """In base64. The same text has the same signature."""
        return base64.b64encode(Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())).decode()


def vouches(public_pem: str, text: str, signature: str) -> bool:
    """Whether the holder of the key signed this very text."""
    key = load_pem_public_key(public_pem.encode())
    if not isinstance(key, Ed25519PublicKey):
        return False
    try:
        key.verify(base64.b64decode(signature, validate=True), text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True
