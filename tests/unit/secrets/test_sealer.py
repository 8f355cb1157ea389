"""Sealing: what goes in comes out, and nothing else does."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.ids import SecretId
from controlplane.secrets.sealer import Sealer, Unsealable

ID = SecretId("sec_1")
SEALER = Sealer(b"m" * 32)


@given(st.binary(max_size=4096))
def test_what_was_sealed_is_unsealed(plaintext: bytes) -> None:
    assert SEALER.unseal(ID, SEALER.seal(ID, plaintext)) == plaintext


def test_sealing_twice_gives_different_envelopes() -> None:
    first, second = SEALER.seal(ID, b"secret"), SEALER.seal(ID, b"secret")
    assert first.ciphertext != second.ciphertext
    assert first.wrapped_key != second.wrapped_key


def test_an_envelope_does_not_open_under_another_id() -> None:
    with pytest.raises(Unsealable):
        SEALER.unseal(SecretId("sec_2"), SEALER.seal(ID, b"secret"))


def test_an_envelope_of_another_master_key_says_which_key_it_needs() -> None:
    other = Sealer(b"n" * 32)
    with pytest.raises(Unsealable, match=f"sealed under key {other.key_id}, this is {SEALER.key_id}"):
        SEALER.unseal(ID, other.seal(ID, b"secret"))


def test_one_changed_bit_anywhere_is_noticed() -> None:
    sealed = SEALER.seal(ID, b"secret")
    changes = (
        replace(sealed, wrapped_key=flipped(sealed.wrapped_key)),
        replace(sealed, nonce=flipped(sealed.nonce)),
        replace(sealed, ciphertext=flipped(sealed.ciphertext)),
    )
    for changed in changes:
        with pytest.raises(Unsealable):
            SEALER.unseal(ID, changed)


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def test_nothing_of_the_key_or_the_secret_is_shown() -> None:
    envelope = SEALER.seal(ID, b"secret")
    assert repr(SEALER) == f"Sealer(key_id={SEALER.key_id!r})"
    assert repr(envelope) == f"Envelope(key_id={SEALER.key_id!r})"


def test_the_server_key_is_the_same_after_a_restart_and_is_not_the_master_key() -> None:
    assert Sealer(b"m" * 32).server_key == SEALER.server_key != b"m" * 32
