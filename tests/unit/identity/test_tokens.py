"""API tokens and attempt tokens: shape, hash, and whom they open for."""

from controlplane.domain.ids import AttemptId
from controlplane.identity import attempt_tokens, tokens

KEY = b"k" * 32


def test_a_new_secret_is_well_formed_and_never_the_same() -> None:
    secrets = {tokens.new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(tokens.is_well_formed(secret) for secret in secrets)


def test_a_secret_with_anything_around_it_is_malformed() -> None:
    secret = tokens.new_secret()
    assert not any(
        tokens.is_well_formed(each) for each in ("", secret[:-1], secret + "a", f"{secret}\n", secret[3:])
    )


def test_the_hash_does_not_hold_the_secret() -> None:
    secret = tokens.new_secret()
    digest = tokens.hash_of(secret)
    assert len(digest) == 32
    assert tokens.same(digest, tokens.hash_of(secret))
    assert not tokens.same(digest, tokens.hash_of(tokens.new_secret()))


def test_an_attempt_token_opens_its_own_attempt_only() -> None:
    token = attempt_tokens.attempt_token(KEY, AttemptId("att_1"))
    assert token.startswith("cda_")
    assert attempt_tokens.opens(KEY, AttemptId("att_1"), token)
    assert not attempt_tokens.opens(KEY, AttemptId("att_2"), token)
    assert not attempt_tokens.opens(b"x" * 32, AttemptId("att_1"), token)
    assert not attempt_tokens.opens(KEY, AttemptId("att_1"), "cda_é")
