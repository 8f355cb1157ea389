"""The one table from what boto3 raises to what the port promises."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

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

PAUSE_SECONDS: Final = 1.0

NOT_FOUND: Final = frozenset(
    {"404", "NoSuchBucket", "NoSuchKey", "NoSuchUpload", "NoSuchVersion", "NotFound"}
)
CONFLICTS: Final = frozenset({"409", "412", "ConditionalRequestConflict", "PreconditionFailed"})
THROTTLED: Final = frozenset(
    {"429", "503", "RequestLimitExceeded", "SlowDown", "Throttling", "TooManyRequests"}
)
REFUSED: Final = frozenset(
    {
        "401",
        "403",
        "AccessDenied",
        "AccountProblem",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
    }
    | {"InvalidToken", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired"}
)
FULL: Final = frozenset({"QuotaExceeded", "ServiceQuotaExceededException", "TooManyBuckets"})
CHANGED: Final = frozenset({"BadDigest", "IncompleteBody", "RequestTimeout", "XAmzContentSHA256Mismatch"})
"""The bytes changed or ended on their way: sending them again may help."""

BEYOND_END: Final = frozenset({"InvalidRange"})


class BeyondEnd(Rejected):
    """The range begins beyond the end of the object."""


@contextmanager
def translated(what: str, *, repeatable: bool) -> Iterator[None]:
    """`what` is the bucket and key, for the message. Nothing of the request or the answer's body gets into it."""
    from boto3.exceptions import Boto3Error  # noqa: PLC0415 - 0.7 s that only users of S3 pay
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except ClientError as error:
        raise _answered(what, error.response, repeatable=repeatable) from None
    except (BotoCoreError, Boto3Error) as error:
        raise _unanswered(what, error, repeatable=repeatable) from None


def _answered(what: str, response: dict[str, Any], *, repeatable: bool) -> ControlPlaneError:
    code = str(response.get("Error", {}).get("Code", ""))
    http_code = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    request_id = response.get("ResponseMetadata", {}).get("RequestId", "none")
    message = f"{what}: {code} (HTTP {http_code}, request {request_id})"
    if code in THROTTLED:
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
    if http_code >= 500:  # noqa: PLR2004 - the store's own failure: it may have been before or after the deed
        return Transient(message) if repeatable else Ambiguous(message)
    return Rejected(message)


def _unanswered(what: str, error: Exception, *, repeatable: bool) -> ControlPlaneError:
    """No answer, or none that could be read."""
    from botocore.exceptions import (  # noqa: PLC0415 - as above
        ConnectTimeoutError,
        CredentialRetrievalError,
        EndpointConnectionError,
        NoCredentialsError,
        ParamValidationError,
        PartialCredentialsError,
    )

    name = type(error).__name__
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return AuthFailed(f"{what}: no credentials ({name})")
    if isinstance(error, ParamValidationError):
        return Rejected(f"{what}: the client refuses the call ({name})")
    if repeatable or isinstance(error, ConnectTimeoutError | EndpointConnectionError):
        return Transient(f"{what}: no answer ({name})")
    return Ambiguous(f"{what}: no answer ({name}); it may have happened")
