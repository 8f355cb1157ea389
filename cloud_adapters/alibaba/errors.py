"""The error table: what a code of Alibaba Cloud means to us.

Decided on the code alone: texts change, and `OperationDenied.NoStock` comes with several. The codes are those of the
vendor's error centre for ECS; where one may end differently, the comment says why it stands where it stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloud_adapters.base import (
    Ambiguous,
    AuthFailed,
    NoCapacity,
    PluginError,
    QuotaExceeded,
    Rejected,
    Throttled,
    Transient,
)

BUYS: Final = frozenset({"RunInstances"})
"""Calls that may have happened although they failed."""

RETRY_SECONDS: Final = 5.0
"""When the answer to one call too many gives no advice."""

LONGEST_QUOTE: Final = 300
SERVER_SIDE: Final = 500


class OtherParameters(Rejected):
    """A client token came back with other parameters."""


class NotThere(Transient):
    """The thing is gone, or is not shown yet."""


class WrongState(Transient):
    """The machine cannot do this while it starts or stops."""


class InUse(Rejected):
    """Something else still holds it."""


class WouldWork(Rejected):
    """A dry run came through: the same call in earnest would be made."""


EXACT: Final[Mapping[str, type[PluginError]]] = {
    # Sold out here: the next zone or type may have it.
    "OperationDenied.NoStock": NoCapacity,
    "OperationDenied.ZoneSoldOut": NoCapacity,
    "Zone.NotOnSale": NoCapacity,
    "Zone.NotOpen": NoCapacity,
    "InvalidResourceType.NotSupported": NoCapacity,
    "InvalidInstanceType.NotSupportDiskCategory": NoCapacity,
    "InvalidInstanceType.ZoneNotSupported": NoCapacity,
    "InstanceType.Offline": NoCapacity,
    "Invalid.Zone.NotEnoughResource": NoCapacity,
    "Invalid.PrivatePoolOptions.NoStock": NoCapacity,
    "NoInstanceStock": NoCapacity,
    # The market asks more than our limit in this zone, now.
    "OperationDenied.SpotPriceLowerThanPublicPrice": NoCapacity,
    # Same token again while the first call is under way: it may yet happen.
    "Idempotence.Processing": Ambiguous,
    "IdempotentParameterMismatch": OtherParameters,
    "DryRunOperation": WouldWork,
    "OperationConflict": Transient,
    "ServiceUnavailable": Transient,
    "InternalError": Transient,
    "SignatureNonceUsed": Transient,
    "InvalidInstanceId.NotFound": NotThere,
    "InvalidDiskId.NotFound": NotThere,
    "InvalidEniId.NotFound": NotThere,
    "InvalidAllocationId.NotFound": NotThere,
    "InvalidSecurityGroupId.NotFound": NotThere,
    "IncorrectInstanceStatus": WrongState,
    "IncorrectInstanceStatus.Initializing": WrongState,
    "IncorrectDiskStatus": InUse,
    "IncorrectEipStatus": InUse,
    "InvalidOperation.InvalidEniState": InUse,
    "DependencyViolation": InUse,
    "InvalidAccessKeyId.NotFound": AuthFailed,
    "InvalidAccessKeyId.Inactive": AuthFailed,
    "InvalidAccessKeyId": AuthFailed,
    "InvalidCredentials": AuthFailed,
    "SignatureDoesNotMatch": AuthFailed,
    "IncompleteSignature": AuthFailed,
    "IllegalTimestamp": AuthFailed,
    "MissingSecurityToken": AuthFailed,
    "NoPermission": AuthFailed,
    "UnauthorizedOperation": AuthFailed,
    "ForbiddenAction": AuthFailed,
    "StatusForbidden": AuthFailed,  # of ACK
}
PREFIXES: Final[tuple[tuple[str, type[PluginError]], ...]] = (
    ("Throttling", Throttled),
    ("QuotaExceed", QuotaExceeded),
    ("InvalidAccountStatus.", QuotaExceeded),
    ("PAY.", QuotaExceeded),
    ("InvalidSecurityToken.", AuthFailed),
    ("SecurityTokenExpired", AuthFailed),
    ("Forbidden.", AuthFailed),
)
OF_THE_ACCOUNT: Final = ("InvalidAccountStatus.", "PAY.")
"""Money, and not a number that support could raise."""

QUOTES_THE_CALL: Final = frozenset({"SignatureDoesNotMatch", "IncompleteSignature"})
"""Their text repeats what was signed, user data and its token included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error answer."""

    action: str
    http_code: int
    code: str
    text: str
    request_id: str
    retry_after_seconds: float | None = None


def from_refusal(refusal: Refusal) -> PluginError:
    kind = _kind(refusal)
    message = _sentence(refusal, kind)
    if issubclass(kind, Throttled):
        return Throttled(message, retry_after_seconds=refusal.retry_after_seconds or RETRY_SECONDS)
    if refusal.action in BUYS and kind is Transient:
        return Ambiguous(message)  # the machines may stand although the answer did not
    return kind(message)


def from_silence(action: str, how: str, *, was_sent: bool) -> PluginError:
    """No answer that could be read. `how` must not quote the address: the parameters of the call are in it."""
    if was_sent and action in BUYS:
        return Ambiguous(f"{action}: {how}; it may have happened")
    return Transient(f"{action}: {how}")


def _kind(refusal: Refusal) -> type[PluginError]:
    if found := EXACT.get(refusal.code):
        return found
    if found := next((kind for prefix, kind in PREFIXES if refusal.code.startswith(prefix)), None):
        return found
    return Transient if refusal.http_code >= SERVER_SIDE else Rejected


def _sentence(refusal: Refusal, kind: type[PluginError]) -> str:
    said = "" if refusal.code in QUOTES_THE_CALL else f": {refusal.text[:LONGEST_QUOTE]}"
    whole = f"{refusal.action}: {refusal.code}{said} (request {refusal.request_id})"
    if refusal.code.startswith(OF_THE_ACCOUNT):
        return f"the account cannot pay or is locked: {whole}"
    if kind is AuthFailed:
        return f"the account's keys are refused, or lack the right to {refusal.action}: {whole}"
    return whole
