"""The one table of errors: what an answer of AWS means to whoever called. Pure."""

from collections.abc import Mapping
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

THROTTLED_SECONDS: Final = 5.0
"""EC2 does not say how long to wait; its buckets fill by a few calls a second."""

LONGEST_MESSAGE: Final = 400
"""A refusal for lack of rights carries kilobytes that only another call could decode."""


class Absent(Rejected):
    """AWS knows no such thing, or not yet."""


class AbsentGroup(Absent):
    """A security group or a placement group."""


class AlreadyThere(Rejected):
    """AWS has a thing of that name or a rule like that already."""


class WouldWork(Rejected):
    """Not done, because it was only asked whether it may be."""


TABLE: Final[Mapping[type[PluginError], frozenset[str]]] = {
    NoCapacity: frozenset(
        {
            "InsufficientInstanceCapacity",
            "InsufficientHostCapacity",
            "InsufficientCapacity",
            "InsufficientReservedInstanceCapacity",
            "InsufficientFreeAddressesInSubnet",
            "InsufficientAddressCapacity",
            "ReservationCapacityExceeded",
            "UnfulfillableCapacity",
            "SpotMaxPriceTooLow",
            "Unsupported",  # this type, in this zone
            "IdempotentInstanceTerminated",  # bought once already, and taken back since
        }
    ),
    QuotaExceeded: frozenset(
        {
            "VcpuLimitExceeded",
            "InstanceLimitExceeded",
            "MaxSpotInstanceCountExceeded",
            "MaxScheduledInstanceCapacityExceeded",
            "PendingVerification",
            "VolumeLimitExceeded",
            "MaxIOPSLimitExceeded",
            "NetworkInterfaceLimitExceeded",
            "PrivateIpAddressLimitExceeded",
            "SecurityGroupLimitExceeded",
            "RulesPerSecurityGroupLimitExceeded",
            "PlacementGroupLimitExceeded",
        }
    ),
    AuthFailed: frozenset(
        {
            "AccessDenied",
            "AccessDeniedException",
            "AuthFailure",
            "Blocked",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "InvalidToken",
            "MissingAuthenticationToken",
            "NotSignedUp",
            "OptInRequired",
            "PendingVerificationException",
            "RequestExpired",
            "SignatureDoesNotMatch",
            "UnauthorizedOperation",
            "UnrecognizedClientException",
        }
    ),
    Throttled: frozenset(
        {
            "BandwidthLimitExceeded",
            "EC2ThrottledException",
            "PriorRequestNotComplete",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "SlowDown",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
        }
    ),
}
"""By code, whatever the HTTP code is: a zone that is sold out answers 500, as a server that is broken does."""

MISSING_RIGHT: Final = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"})

ABSENT: Final = frozenset({"InvalidSpotInstanceRequestID", "ResourceNotFoundException"})
ABSENT_GROUPS: Final = frozenset({"InvalidGroup.NotFound", "InvalidPlacementGroup.Unknown"})
SERVER_ERROR: Final = 500

_BY_CODE: Final = {code: error for error, codes in TABLE.items() for code in codes}


def from_answer(action: str, code: str, message: str, *, http_code: int, buys: bool) -> PluginError:
    """`buys`: the action may have bought something when the server failed, so that its failure proves nothing."""
    said = f"{action}: {code}: {message[:LONGEST_MESSAGE]}"
    error = _BY_CODE.get(code)
    if error is Throttled:
        return Throttled(said, retry_after_seconds=THROTTLED_SECONDS)
    if error is AuthFailed and code in MISSING_RIGHT:
        return AuthFailed(f"the account may not {action}; docs/aws-policy.json grants it: {said}")
    if error is not None:
        return error(said)
    if http_code >= SERVER_ERROR:
        return Ambiguous(said) if buys else Transient(said)
    return _refusal(code)(said)


def from_silence(action: str, reason: str, *, was_sent: bool, buys: bool) -> PluginError:
    """No answer, or none that can be read. `was_sent` False: the request surely never reached AWS."""
    said = f"{action}: no answer: {reason}"
    return Ambiguous(said) if was_sent and buys else Transient(said)


def _refusal(code: str) -> type[Rejected]:
    if code == "DryRunOperation":
        return WouldWork
    if code in ABSENT_GROUPS:
        return AbsentGroup
    if code in ABSENT or ".NotFound" in code:
        return Absent
    return AlreadyThere if code.endswith(".Duplicate") else Rejected
