"""Checks ACS3-HMAC-SHA256, the signature of every call to Alibaba Cloud but those to OSS."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final
from urllib.parse import quote

from cloud_adapters.alibaba.server_account import Refused, time_of

ALGORITHM: Final = "ACS3-HMAC-SHA256"
UNRESERVED: Final = "-_.~"
MUST_BE_SIGNED: Final = (
    "host",
    "x-acs-action",
    "x-acs-content-sha256",
    "x-acs-date",
    "x-acs-signature-nonce",
)
FRESH: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Of one access key."""

    text: str
    security_token: str | None = None
    """Must come with the calls, if the key was lent."""

    has_expired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """As it came in. Header names are lower case."""

    method: str
    path: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def action(self) -> str:
        return self.headers.get("x-acs-action", "")


def check(call: Call, secrets: Mapping[str, Secret], nonces: set[str]) -> None:
    """Raises `Refused`; keeps the nonce of a good call, which opens nothing twice."""
    algorithm, _, rest = call.headers.get("authorization", "").partition(" ")
    fields = dict(part.split("=", 1) for part in rest.split(",") if "=" in part)
    if algorithm != ALGORITHM or not {"Credential", "SignedHeaders", "Signature"} <= fields.keys():
        raise Refused(400, "IncompleteSignature", "The request signature does not conform to the standards.")
    secret = _secret(fields["Credential"], call, secrets)
    canonical = _canonical(call, fields["SignedHeaders"])
    signed = f"{ALGORITHM}\n{sha256(canonical.encode()).hexdigest()}"
    wanted = hmac.new(secret.text.encode(), signed.encode(), sha256).hexdigest()
    if not hmac.compare_digest(wanted, fields["Signature"]):
        # The real one repeats what it signed, parameters and all.
        raise Refused(
            400, "SignatureDoesNotMatch", f"Specified signature is not matched with ours: {canonical}"
        )
    _check_once(call, nonces)


def _secret(key_id: str, call: Call, secrets: Mapping[str, Secret]) -> Secret:
    secret = secrets.get(key_id)
    if secret is None:
        raise Refused(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
    if secret.has_expired:
        raise Refused(400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.")
    if secret.security_token != call.headers.get("x-acs-security-token"):
        raise Refused(400, "InvalidSecurityToken.Malformed", "Specified SecurityToken is malformed.")
    return secret


def _canonical(call: Call, signed_headers: str) -> str:
    names = signed_headers.split(";")
    if missing := [name for name in MUST_BE_SIGNED if name not in names or name not in call.headers]:
        raise Refused(400, "IncompleteSignature", f"These headers must be signed: {', '.join(missing)}.")
    body_hash = sha256(call.body).hexdigest()
    if call.headers["x-acs-content-sha256"] != body_hash:
        raise Refused(400, "SignatureDoesNotMatch", "The body is not the one that was signed.")
    query = "&".join(f"{_quoted(key)}={_quoted(value)}" for key, value in sorted(call.parameters.items()))
    headers = "".join(f"{name}:{call.headers.get(name, '').strip()}\n" for name in names)
    return "\n".join([call.method, call.path or "/", query, headers, signed_headers, body_hash])


def _check_once(call: Call, nonces: set[str]) -> None:
    signed_at = time_of(call.headers["x-acs-date"])
    if signed_at is None or abs(datetime.now(UTC) - signed_at) > FRESH:  # the SDK signs by the real clock
        raise Refused(400, "IllegalTimestamp", "The input parameter Timestamp is not within 15 minutes.")
    nonce = call.headers["x-acs-signature-nonce"]
    if nonce in nonces:
        raise Refused(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
    nonces.add(nonce)


def _quoted(text: str) -> str:
    return quote(text, safe=UNRESERVED)
