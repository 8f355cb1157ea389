"""What the answers of AWS mean: each code to one error, and no failure of a purchase taken for a proof."""

import pytest

from cloud_adapters.aws.errors import (
    TABLE,
    Absent,
    AbsentGroup,
    AlreadyThere,
    WouldWork,
    from_answer,
    from_silence,
)
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


@pytest.mark.parametrize(
    ("code", "http_code", "buys", "expected"),
    [
        ("InsufficientInstanceCapacity", 500, True, NoCapacity),
        ("SpotMaxPriceTooLow", 400, True, NoCapacity),
        ("Unsupported", 400, True, NoCapacity),
        ("ReservationCapacityExceeded", 400, True, NoCapacity),
        ("IdempotentInstanceTerminated", 400, True, NoCapacity),
        ("VcpuLimitExceeded", 400, True, QuotaExceeded),
        ("MaxSpotInstanceCountExceeded", 400, True, QuotaExceeded),
        ("RequestLimitExceeded", 503, True, Throttled),
        ("AuthFailure", 401, True, AuthFailed),
        ("ExpiredToken", 403, False, AuthFailed),
        ("UnauthorizedOperation", 403, True, AuthFailed),
        ("IdempotentParameterMismatch", 400, True, Rejected),
        ("SomethingNew", 400, True, Rejected),
        ("DependencyViolation", 400, False, Rejected),
        ("InternalError", 500, True, Ambiguous),
        ("Unavailable", 503, True, Ambiguous),
        ("InternalError", 500, False, Transient),
        ("InvalidInstanceID.NotFound", 400, False, Absent),
        ("InvalidGroup.NotFound", 400, True, AbsentGroup),
        ("InvalidPlacementGroup.Duplicate", 400, False, AlreadyThere),
        ("DryRunOperation", 412, False, WouldWork),
    ],
)
def test_every_answer_has_one_meaning(
    *, code: str, http_code: int, buys: bool, expected: type[PluginError]
) -> None:
    error = from_answer("ec2:RunInstances", code, "the cloud's words", http_code=http_code, buys=buys)
    assert type(error) is expected
    assert f"{code}: the cloud's words" in error.message


def test_no_code_is_in_two_rows_of_the_table() -> None:
    codes = [code for row in TABLE.values() for code in row]
    assert sorted(codes) == sorted(set(codes))


def test_a_missing_right_is_explained_by_its_name() -> None:
    error = from_answer("ec2:RunInstances", "UnauthorizedOperation", "x" * 9000, http_code=403, buys=True)
    assert error.message.startswith("the account may not ec2:RunInstances; docs/aws-policy.json grants it")
    assert len(error.message) < 600


def test_silence_after_a_purchase_was_sent_proves_nothing() -> None:
    assert type(from_silence("a", "cut", was_sent=True, buys=True)) is Ambiguous
    assert type(from_silence("a", "cut", was_sent=False, buys=True)) is Transient
    assert type(from_silence("a", "cut", was_sent=True, buys=False)) is Transient
