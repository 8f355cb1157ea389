"""What a code of Alibaba Cloud means, what may be said of it, and what the policy that we ship allows."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from cloud_adapters.alibaba import client, errors
from cloud_adapters.alibaba.server_answers import ANSWERS
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

REPOSITORY = Path(__file__).parents[3]
WITHOUT_A_RIGHT = {"GetCallerIdentity"}
"""Everybody may ask who he is."""

BESIDE_OUR_CALLS = {"ecs:TagResources", "ram:PassRole"}
"""Rights that RunInstances takes for tags and for the machines' role."""


def refusal(
    code: str, *, action: str = "RunInstances", http_code: int = 403, text: str = "so it is"
) -> PluginError:
    return errors.from_refusal(
        errors.Refusal(action=action, http_code=http_code, code=code, text=text, request_id="r-1")
    )


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("OperationDenied.NoStock", NoCapacity),
        ("Zone.NotOnSale", NoCapacity),
        ("InvalidResourceType.NotSupported", NoCapacity),
        ("InstanceType.Offline", NoCapacity),
        ("Invalid.Zone.NotEnoughResource", NoCapacity),
        ("Invalid.PrivatePoolOptions.NoStock", NoCapacity),
        ("QuotaExceed.ElasticQuota", QuotaExceeded),
        ("QuotaExceeded.PrivateIpAddress", QuotaExceeded),
        ("InvalidAccountStatus.NotEnoughBalance", QuotaExceeded),
        ("InvalidAccountStatus.SomethingNew", QuotaExceeded),
        ("PAY.INSUFFICIENT_BALANCE", QuotaExceeded),
        ("Throttling", Throttled),
        ("Throttling.Api", Throttled),
        ("Idempotence.Processing", Ambiguous),
        ("IdempotentParameterMismatch", errors.OtherParameters),
        ("InternalError", Ambiguous),
        ("ServiceUnavailable", Ambiguous),
        ("SignatureNonceUsed", Ambiguous),
        ("Forbidden.RAM", AuthFailed),
        ("InvalidSecurityToken.Expired", AuthFailed),
        ("IncorrectInstanceStatus", errors.WrongState),
        ("MissingParameter", Rejected),
        ("InvalidParameter.Something", Rejected),
    ],
)
def test_a_code_decides_whatever_the_text_says(code: str, kind: type[PluginError]) -> None:
    for text in ("The resource is out of usage.", "Throttling, sold out, quota, forbidden"):
        assert type(refusal(code, text=text)) is kind


def test_what_is_ambiguous_for_a_purchase_is_transient_for_a_look() -> None:
    assert type(refusal("InternalError", action="DescribeInstances", http_code=500)) is Transient
    assert type(refusal("SomethingNew", action="DescribeInstances", http_code=502)) is Transient
    assert type(errors.from_silence("DescribeInstances", "x", was_sent=True)) is Transient
    assert type(errors.from_silence("RunInstances", "x", was_sent=True)) is Ambiguous
    assert type(errors.from_silence("RunInstances", "x", was_sent=False)) is Transient


def test_an_error_keeps_the_clouds_words_and_the_request_id() -> None:
    assert (
        refusal("OperationDenied.NoStock").message
        == "RunInstances: OperationDenied.NoStock: so it is (request r-1)"
    )


def test_long_words_are_cut_and_those_that_repeat_the_call_are_left_out() -> None:
    assert len(refusal("MissingParameter", text="x" * 10_000).message) < 400
    assert "UserData" not in refusal("SignatureDoesNotMatch", text="POST / UserData=abc").message


def test_a_throttled_call_has_advice_even_when_the_cloud_gives_none() -> None:
    busy = refusal("Throttling.User")
    assert isinstance(busy, Throttled)
    assert busy.retry_after_seconds == errors.RETRY_SECONDS


def test_no_debug_log_says_with_what_the_cloud_was_called() -> None:
    def passes(name: str, level: int, message: str) -> bool:
        return client._NO_PARAMETERS.filter(logging.LogRecord(name, level, "", 0, message, (), None))

    assert not passes("urllib3.connectionpool", logging.DEBUG, "POST /?RegionId=cn-beijing&UserData=x")
    assert passes("urllib3.connectionpool", logging.DEBUG, "GET /somebody-elses")
    assert passes("urllib3.connectionpool", logging.WARNING, "Connection pool is full")
    assert not passes("darabonba-core", logging.DEBUG, "> x-acs-security-token : x")


def test_a_call_is_given_no_more_time_than_is_left() -> None:
    asked = client._tried("X", lambda runtime: dict(vars(runtime)), client.deadline_of(2))
    assert asked["connect_timeout"] <= asked["read_timeout"] <= 2000
    with pytest.raises(Transient, match="no time is left"):
        client._tried("X", lambda runtime: dict(vars(runtime)), client.deadline_of(0))


def test_the_policy_that_we_ship_grants_what_we_call_and_nothing_else() -> None:
    policy = json.loads((REPOSITORY / "docs/alibaba-policy.json").read_text("utf-8"))
    listed = (statement["Action"] for statement in policy["Statement"])
    granted = {action for each in listed for action in ([each] if isinstance(each, str) else each)}
    called = {f"ecs:{action}" for action in client.ACTIONS} | {
        f"{api.product}:{action}"
        for action, api in client.OTHER_ACTIONS.items()
        if action not in WITHOUT_A_RIGHT
    }
    assert granted - BESIDE_OUR_CALLS == called


def test_what_ends_things_is_granted_for_our_tag_alone() -> None:
    policy = json.loads((REPOSITORY / "docs/alibaba-policy.json").read_text("utf-8"))
    free = [statement for statement in policy["Statement"] if "Condition" not in statement]
    assert [action for each in free for action in each["Action"] if ":D" not in action] == [
        "ecs:RunInstances"
    ]
    assert [action for each in free for action in each["Action"] if "Delete" in action] == []


def test_the_server_for_tests_answers_all_that_we_call() -> None:
    assert set(ANSWERS) == {*client.ACTIONS, *client.OTHER_ACTIONS}


def test_the_adapter_is_there_without_its_sdk() -> None:
    script = (
        "import sys, cloud_adapters.alibaba.adapter as a; a.AlibabaAdapter();"
        "print([name for name in sys.modules if name.startswith(('alibabacloud', 'darabonba', 'Tea', 'requests'))])"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[]"
