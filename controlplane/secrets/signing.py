"""Signing keys: Ed25519 (RFC 8032), to vouch for texts that leave the server."""

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

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
