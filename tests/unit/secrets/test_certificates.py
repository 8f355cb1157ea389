"""A claim's authority vouches for its one name, in its time, under the strictest rules there are."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import DNSName, verification

from controlplane.secrets.certificates import ClaimAuthority, claim_authority

NOW = datetime(2031, 1, 2, 3, 4, 5, tzinfo=UTC)
NAME = "claim-1.crossdock.internal"


def authority(server_name: str = NAME) -> ClaimAuthority:
    return claim_authority(server_name, now=NOW, validity=timedelta(days=30))


def verify(leaf_of: ClaimAuthority, ca_of: ClaimAuthority, *, name: str = NAME, at: datetime = NOW) -> None:
    """By the rules of RFC 5280, as the Rust verifier of `cryptography` has them."""
    store = verification.Store([x509.load_pem_x509_certificate(ca_of.ca_pem.encode())])
    verifier = verification.PolicyBuilder().store(store).time(at).build_server_verifier(DNSName(name))
    verifier.verify(x509.load_pem_x509_certificate(leaf_of.certificate_pem.encode()), [])


def test_the_pinned_authority_vouches_for_the_server() -> None:
    made = authority()
    verify(made, made)


def test_another_claim_with_the_same_name_is_not_trusted() -> None:
    with pytest.raises(verification.VerificationError):
        verify(authority(), authority())


@pytest.mark.parametrize(
    "at", [NOW - timedelta(hours=2), NOW + timedelta(days=31)], ids=["too early", "too late"]
)
def test_out_of_its_time_it_is_worth_nothing(at: datetime) -> None:
    made = authority()
    with pytest.raises(verification.VerificationError):
        verify(made, made, at=at)


def test_a_machine_whose_clock_is_half_an_hour_behind_accepts_it() -> None:
    made = authority()
    verify(made, made, at=NOW - timedelta(minutes=30))


def test_it_does_not_vouch_for_another_name() -> None:
    made = authority()
    with pytest.raises(verification.VerificationError):
        verify(made, made, name="claim-2.crossdock.internal")


def test_keys_are_new_each_time_and_stay_out_of_the_repr() -> None:
    first, second = authority(), authority()
    assert first.key_pem != second.key_pem
    assert "PRIVATE" not in repr(first)


def test_the_key_is_of_the_certificate_and_on_p256() -> None:
    made = authority()
    leaf = x509.load_pem_x509_certificate(made.certificate_pem.encode())
    public = leaf.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.curve.name == "secp256r1"
    assert made.expires_at == NOW + timedelta(days=30)
