"""The one table from what the OSS SDK raises to what the port promises."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from controlplane.domain.errors import (
    Ambiguous,
    AuthFailed,
    Conflict,
    ControlPlaneError,
    NotFound,
    QuotaExceeded,
    Rejected,
    Throttled,
    Transient,
)

if TYPE_CHECKING:
    from alibabacloud_oss_v2.exceptions import ServiceError

PAUSE_SECONDS: Final = 1.0

NOT_FOUND: Final = frozenset({"NoSuchBucket", "NoSuchKey", "NoSuchUpload", "NoSuchVersion"})
CONFLICTS: Final = frozenset({"FileAlreadyExists", "FileImmutable", "PreconditionFailed"})
THROTTLED: Final = frozenset(
    {"DownloadTrafficRateLimitExceeded", "QpsLimitExceeded", "ServiceUnavailable", "SlowDown", "Throttling"}
    | {"TotalQpsLimitExceeded", "UploadTrafficRateLimitExceeded"}
)
REFUSED: Final = frozenset(
    {
        "AccessDenied",
        "InvalidAccessKeyId",
        "InvalidSecurityToken",
        "RequestTimeTooSkewed",
        "SecurityTokenExpired",
    }
    | {"SignatureDoesNotMatch", "UserDisable"}
)
FULL: Final = frozenset({"BucketCapacityLimitExceeded", "QuotaExceeded", "TooManyBuckets"})
CHANGED: Final = frozenset({"IncompleteBody", "InvalidDigest", "RequestTimeout"})
"""The bytes changed or ended on their way: sending them again may help."""

BEYOND_END: Final = frozenset({"InvalidRange"})

BY_HTTP_CODE: Final[dict[int, type[ControlPlaneError]]] = {
    401: AuthFailed,
    403: AuthFailed,
    404: NotFound,
    409: Conflict,
    412: Conflict,
}
"""For answers without a body, as those to HEAD may be."""


class BeyondEnd(Rejected):
    """The range begins beyond the end of the object."""


@contextmanager
def translated(what: str, *, repeatable: bool) -> Iterator[None]:
    """`what` is the bucket and key, for the message. Nothing of the request or the answer's body gets into it."""
    from alibabacloud_oss_v2 import exceptions  # noqa: PLC0415 - 2 s that only users of OSS pay
    from requests import RequestException  # noqa: PLC0415 - what the SDK lets through while a body streams

    try:
        yield
    except exceptions.OperationError as error:
        raise _translated(what, error.unwrap(), repeatable=repeatable) from None
    except (exceptions.BaseError, RequestException) as error:
        raise _translated(what, error, repeatable=repeatable) from None


def _translated(what: str, error: Exception, *, repeatable: bool) -> ControlPlaneError:
    from alibabacloud_oss_v2 import exceptions  # noqa: PLC0415 - as above

    name = type(error).__name__
    if isinstance(error, exceptions.ServiceError):
        return _answered(what, error, repeatable=repeatable)
    if isinstance(error, exceptions.CredentialsBaseError):
        return AuthFailed(f"{what}: no credentials ({name})")
    if isinstance(error, exceptions.RequestError) and _never_connected(error.unwrap()):
        return Transient(f"{what}: no connection ({name})")
    if _is_ours(error):
        return Rejected(f"{what}: the client refuses the call ({name})")
    if repeatable:
        return Transient(f"{what}: no answer ({name})")
    return Ambiguous(f"{what}: no answer ({name}); it may have happened")


def _answered(what: str, error: "ServiceError", *, repeatable: bool) -> ControlPlaneError:
    code = str(error.code or "")
    message = (
        f"{what}: {code} (HTTP {error.status_code}, request {error.request_id}, EC {error.ec or 'none'})"
    )
    if code in THROTTLED or error.status_code == 429:  # noqa: PLR2004 - too many requests
        return Throttled(message, retry_after_seconds=PAUSE_SECONDS)
    table: tuple[tuple[frozenset[str], type[ControlPlaneError]], ...] = (
        (NOT_FOUND, NotFound),
        (CONFLICTS, Conflict),
        (REFUSED, AuthFailed),
        (FULL, QuotaExceeded),
        (CHANGED, Transient),
        (BEYOND_END, BeyondEnd),
    )
    for codes, kind in table:
        if code in codes:
            return kind(message)
    if error.status_code >= 500:  # noqa: PLR2004 - OSS's own failure: it may have been before or after the deed
        return Transient(message) if repeatable else Ambiguous(message)
    return BY_HTTP_CODE.get(error.status_code, Rejected)(message)


def _never_connected(error: Exception | None) -> bool:
    from requests.exceptions import ConnectTimeout  # noqa: PLC0415 - comes with the SDK
    from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError  # noqa: PLC0415

    reasons = [error, *(error.args if error else ())]
    roots = [reason.reason if isinstance(reason, MaxRetryError) else reason for reason in reasons]
    return any(isinstance(root, ConnectTimeout | ConnectTimeoutError | NewConnectionError) for root in roots)


def _is_ours(error: Exception) -> bool:
    """What the SDK refuses before it sends anything."""
    return type(error).__name__.startswith(("Param", "BucketName", "ObjectName", "Serialization"))
