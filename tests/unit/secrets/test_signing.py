"""Signing keys: anybody with the public half can check, and the private half is not shown."""

import base64
from typing import cast

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from controlplane.secrets.signing import SigningKey, vouches


def public(key: SigningKey) -> Ed25519PublicKey:
    return cast("Ed25519PublicKey", load_pem_public_key(key.public_pem.encode()))


def test_the_first_vector_of_rfc_8032_is_signed_as_it_says() -> None:
    key = SigningKey.of(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert base64.b64decode(key.sign("")).hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )


def test_a_signature_holds_for_its_text_alone() -> None:
    key = SigningKey.new()
    signature = base64.b64decode(key.sign("naïve"))
    public(key).verify(signature, "naïve".encode())
    with pytest.raises(InvalidSignature):
        public(key).verify(signature, b"naive")


def test_a_key_vouches_for_what_it_signed_and_for_nothing_else() -> None:
    key, other = SigningKey.new(), SigningKey.new()
    signature = key.sign("facts")
    assert vouches(key.public_pem, "facts", signature)
    assert not vouches(key.public_pem, "other facts", signature)
    assert not vouches(other.public_pem, "facts", signature)
    assert not vouches(key.public_pem, "facts", "not base64")


def test_a_key_is_the_same_again_from_its_seed_and_shows_nothing_of_it() -> None:
    key = SigningKey.new()
    assert SigningKey.of(key.seed) == key
    assert key.seed.hex() not in repr(key)
    assert repr(key.seed) not in repr(key)
