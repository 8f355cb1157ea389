"""Signatures of requests to S3 (AWS4-HMAC-SHA256) and OSS (OSS4-HMAC-SHA256): verified, header and presigned.

Both clouds sign a canonical form of the request with a key that is derived from the secret, the day, the region and
the service, so one procedure serves both and a `Dialect` tells where they differ. Written from their public
descriptions: AWS "Signature Version 4", Alibaba Cloud OSS "Signature V4".
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Protocol
from urllib.parse import quote, unquote

from controlplane.storage.exchanges import Request
from controlplane.storage.shelf import Refusal

SKEW: Final = timedelta(minutes=15)
LONGEST_EXPIRY: Final = timedelta(days=7)
TIME: Final = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What a request says about its signature."""

    access_key_id: str
    scope: str
    """Day, region, service and terminator, joined by `/`."""

    headers: tuple[str, ...]
    """AWS: every signed header. OSS: the additional ones."""

    signature: str
    moment: datetime
    expires: timedelta | None
    """Presigned requests alone."""

    key: bytes = field(default=b"", repr=False)
    """Made of the secret for this scope, once the signature was found right."""


class Dialect(Protocol):
    algorithm: str
    key_prefix: str
    terminator: str
    service: str

    def read(self, request: Request) -> Signed:
        """Raises `Refusal` if the request is not signed, or not in this form."""

    def canonical(self, request: Request, signed: Signed) -> str: ...


def verify(
    request: Request, dialect: Dialect, secrets: Mapping[str, str], region: str, now: datetime
) -> Signed:
    """Raises `Refusal` unless the request was signed by a known key, for this region, and recently."""
    signed = dialect.read(request)
    secret = secrets.get(signed.access_key_id)
    if secret is None:
        raise Refusal(403, "InvalidAccessKeyId", "The access key id you provided does not exist.")
    scope = signed.scope.split("/")
    day = signed.moment.strftime("%Y%m%d")
    if scope != [day, region, dialect.service, dialect.terminator]:
        raise Refusal(
            403, "SignatureDoesNotMatch", f"The scope is {signed.scope}, this is {region}/{dialect.service}."
        )
    _check_time(signed, now)
    key = f"{dialect.key_prefix}{secret}".encode()
    for part in scope:
        key = _mac(key, part)
    expected = _mac(key, _to_sign(dialect, request, signed)).hex()
    if not hmac.compare_digest(expected, signed.signature):
        raise Refusal(403, "SignatureDoesNotMatch", "The signature does not match the request.")
    return replace(signed, key=key)


def _to_sign(dialect: Dialect, request: Request, signed: Signed) -> str:
    canonical = hashlib.sha256(dialect.canonical(request, signed).encode()).hexdigest()
    return "\n".join((dialect.algorithm, signed.moment.strftime(TIME), signed.scope, canonical))


def _check_time(signed: Signed, now: datetime) -> None:
    if signed.expires is None:
        if abs(now - signed.moment) > SKEW:
            raise Refusal(403, "RequestTimeTooSkewed", "The request's time is too far from the server's.")
    elif not timedelta(0) < signed.expires <= LONGEST_EXPIRY:
        raise Refusal(400, "AuthorizationQueryParametersError", "The expiry must be between 1 s and 7 days.")
    elif now > signed.moment + signed.expires or signed.moment > now + SKEW:
        raise Refusal(403, "AccessDenied", "Request has expired")


class Aws4:
    algorithm = "AWS4-HMAC-SHA256"
    key_prefix = "AWS4"
    terminator = "aws4_request"
    service = "s3"

    def read(self, request: Request) -> Signed:
        if "authorization" in request.headers:
            fields = _fields(request.headers["authorization"], self.algorithm)
            signed = _signed(
                fields.get("Credential", ""),
                fields.get("SignedHeaders", ""),
                fields.get("Signature", ""),
                (request.headers.get("x-amz-date", ""), None),
            )
        else:
            signed = _presigned(request, "X-Amz-", "X-Amz-SignedHeaders", self.algorithm, "X-Amz-Algorithm")
        # What is not signed could be added by anybody on the way.
        loose = {name for name in request.headers if name.startswith("x-amz-")} - set(signed.headers)
        if loose or "host" not in signed.headers:
            raise Refusal(
                403, "AccessDenied", "There were headers present in the request which were not signed"
            )
        return signed

    def canonical(self, request: Request, signed: Signed) -> str:
        query = sorted(
            (_quoted(name), _quoted(value)) for name, value in request.query if name != "X-Amz-Signature"
        )
        headers = "".join(
            f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in signed.headers
        )
        return "\n".join(
            (
                request.verb,
                request.path,
                "&".join(f"{name}={value}" for name, value in query),
                headers,
                ";".join(signed.headers),
                "UNSIGNED-PAYLOAD" if signed.expires else request.headers.get("x-amz-content-sha256", ""),
            )
        )


class Oss4:
    algorithm = "OSS4-HMAC-SHA256"
    key_prefix = "aliyun_v4"
    terminator = "aliyun_v4_request"
    service = "oss"

    def read(self, request: Request) -> Signed:
        if "authorization" in request.headers:
            fields = _fields(request.headers["authorization"], self.algorithm)
            return _signed(
                fields.get("Credential", ""),
                fields.get("AdditionalHeaders", ""),
                fields.get("Signature", ""),
                (request.headers.get("x-oss-date", ""), None),
            )
        return _presigned(
            request, "x-oss-", "x-oss-additional-headers", self.algorithm, "x-oss-signature-version"
        )

    def canonical(self, request: Request, signed: Signed) -> str:
        query = sorted(
            (_quoted(name), _quoted(value)) for name, value in request.query if name != "x-oss-signature"
        )
        headers = sorted(
            (name, value.strip())
            for name, value in request.headers.items()
            if name in {"content-type", "content-md5", *signed.headers} or name.startswith("x-oss-")
        )
        return "\n".join(
            (
                request.verb,
                quote(unquote(request.path), safe="/-_.~"),
                "&".join(f"{name}={value}" if value else name for name, value in query),
                "".join(f"{name}:{value}\n" for name, value in headers),
                ";".join(signed.headers),
                request.headers.get("x-oss-content-sha256", "UNSIGNED-PAYLOAD"),
            )
        )


def _fields(authorization: str, algorithm: str) -> Mapping[str, str]:
    name, _, rest = authorization.partition(" ")
    if name != algorithm:
        raise Refusal(400, "InvalidArgument", f"Only {algorithm} is understood.")
    return {field: value for field, _, value in (pair.strip().partition("=") for pair in rest.split(","))}


def _presigned(request: Request, prefix: str, headers: str, algorithm: str, algorithm_name: str) -> Signed:
    asked = {name.lower(): value for name, value in request.query}
    if asked.get(algorithm_name.lower()) != algorithm:
        raise Refusal(403, "AccessDenied", "Anonymous requests are not served.")
    lower = prefix.lower()
    expires = asked.get(f"{lower}expires", "")
    if not expires.isdigit():
        raise Refusal(400, "AuthorizationQueryParametersError", "The expiry is not a number.")
    return _signed(
        asked.get(f"{lower}credential", ""),
        asked.get(headers.lower(), ""),
        asked.get(f"{lower}signature", ""),
        (asked.get(f"{lower}date", ""), timedelta(seconds=int(expires))),
    )


def _signed(credential: str, headers: str, signature: str, time: tuple[str, timedelta | None]) -> Signed:
    access_key_id, _, scope = credential.partition("/")
    try:
        moment = datetime.strptime(f"{time[0]}+0000", f"{TIME}%z")
    except ValueError as error:
        raise Refusal(403, "AccessDenied", "The request bears no date.") from error
    return Signed(
        access_key_id=access_key_id,
        scope=scope,
        headers=tuple(filter(None, headers.lower().split(";"))),
        signature=signature,
        moment=moment,
        expires=time[1],
    )


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
