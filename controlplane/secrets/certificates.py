"""Certificates: an authority per claim that vouches for one name, and for nothing ever again.

The authority's key is dropped as soon as it has signed, so whoever reads all that is stored can pass for the head of
this claim, and cannot make a certificate for another.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLOCK_SKEW: Final = timedelta(hours=1)
"""How far behind ours the clock of a machine that just booted may be."""

_NO_USE: Final = {
    "digital_signature": False,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimAuthority:
    """What both ends of a claim's TLS need, as PEM."""

    ca_pem: str
    """Pinned by whoever dials."""

    certificate_pem: str
    """Of the server, for `server_name` alone."""

    key_pem: str = field(repr=False)
    """PKCS 8, not encrypted."""

    server_name: str
    expires_at: datetime


def claim_authority(server_name: str, *, now: datetime, validity: timedelta) -> ClaimAuthority:
    """Makes new keys at every call (EC P-256). The profile is that of RFC 5280, as strict verifiers ask for it."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = _name(f"Crossdock claim authority for {server_name}"[:64])
    period = (now - CLOCK_SKEW, now + validity)
    ca = (
        _unsigned(ca_name, ca_name, ca_key.public_key(), period)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**_NO_USE | {"key_cert_sign": True}), critical=True)
        .add_extension(x509.NameConstraints([x509.DNSName(server_name)], None), critical=True)
        .sign(ca_key, SHA256())
    )
    leaf = (
        _unsigned(_name(server_name[:64]), ca_name, key.public_key(), period)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**_NO_USE | {"digital_signature": True}), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(server_name)]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, SHA256())
    )
    return ClaimAuthority(
        ca_pem=ca.public_bytes(Encoding.PEM).decode(),
        certificate_pem=leaf.public_bytes(Encoding.PEM).decode(),
        key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        server_name=server_name,
        expires_at=leaf.not_valid_after_utc,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, period: tuple[datetime, datetime]
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(period[0])
        .not_valid_after(period[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
