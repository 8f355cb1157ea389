"""Purchases at Alibaba Cloud that do not go as they should, through the vendor's SDK."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from cloud_adapters.alibaba.server import Secret
from cloud_adapters.base import (
    Ambiguous,
    AuthFailed,
    CapacityType,
    NoCapacity,
    PluginError,
    QuotaExceeded,
    Rejected,
    Throttled,
    Transient,
)
from tests.ecs_account import (
    DEADLINE,
    ELSEWHERE,
    GPU,
    HERE,
    KEY_ID,
    LENT_ID,
    LENT_SECRET,
    LENT_TOKEN,
    NOWHERE,
    OLD_ID,
    START,
    Scene,
    open_scene,
)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with open_scene() as scene:
        yield scene


def test_a_gang_that_finds_too_few_machines_gets_none(scene: Scene) -> None:
    scene.account.stock[GPU, HERE] = 3
    with pytest.raises(NoCapacity, match=r"OperationDenied\.NoStock"):
        scene.ensure(machines=4)
    assert scene.alive() == []
    assert len(scene.ensure(machines=4, zone=ELSEWHERE, launch_id="claim-1-g1-l2")) == 4


def test_machines_that_came_short_are_given_back_as_soon_as_the_cloud_takes_them(scene: Scene) -> None:
    scene.account.short = 1
    with pytest.raises(Ambiguous, match="only 1 machines came"):
        scene.ensure()
    scene.clock.wait()
    with pytest.raises(NoCapacity, match="1 of 2"):
        scene.ensure()
    scene.clock.wait()
    scene.server.settle()
    assert scene.alive() == []


def test_a_short_purchase_that_vanishes_by_itself_is_no_capacity(scene: Scene) -> None:
    scene.account.short = scene.account.doomed = 1
    scene.account.doomed_seconds = 1.0
    with pytest.raises(Ambiguous):
        scene.ensure()
    scene.clock.wait()
    with pytest.raises(NoCapacity):
        scene.ensure()


def test_a_machine_is_born_with_its_end(scene: Scene) -> None:
    scene.clock.wait(59 * 60)
    scene.ensure()
    ends = {machine.release_at for machine in scene.account.machines}
    assert ends == {START + timedelta(hours=2)}


def test_a_call_repeated_across_the_grid_of_ends_buys_nothing_more(scene: Scene) -> None:
    scene.clock.wait(59 * 60)
    names = scene.ensure()
    scene.clock.wait(120)
    assert scene.ensure() == names
    assert scene.alive() == names
    assert scene.server.actions() == ["RunInstances"] * 3


def test_a_quota_is_told_from_stock_and_names_its_numbers(scene: Scene) -> None:
    scene.account.vcpu_quotas["ecs.gn7i"] = 12
    scene.ensure(machines=1)
    with pytest.raises(QuotaExceeded, match="8 of 12 vCPUs are in use, 8 more asked"):
        scene.ensure(machines=1, launch_id="claim-1-g1-l2")


def test_an_account_without_money_says_so(scene: Scene) -> None:
    scene.account.is_poor = True
    with pytest.raises(QuotaExceeded, match="the account cannot pay or is locked"):
        scene.ensure()
    assert scene.alive() == []


def test_a_price_limit_under_the_market_is_no_capacity_in_that_zone(scene: Scene) -> None:
    scene.account.spot_prices[GPU, HERE] = (Decimal("2.50"), Decimal("4.00"))
    limited = scene.with_settings(spot_price_limit="3")
    with pytest.raises(NoCapacity, match="SpotPriceLowerThanPublicPrice"):
        scene.ensure(cluster=limited)
    assert len(scene.ensure(cluster=limited, zone=ELSEWHERE, launch_id="claim-1-g1-l2")) == 2


def test_reserved_machines_come_from_the_pool_and_others_do_not(scene: Scene) -> None:
    scene.account.private_pools["eap-1"] = 2
    scene.ensure(capacity_type=CapacityType.RESERVED, reservation="eap-1")
    scene.ensure(capacity_type=CapacityType.ON_DEMAND, launch_id="claim-1-g1-l2")
    assert scene.account.private_pools["eap-1"] == 0
    with pytest.raises(NoCapacity, match=r"PrivatePoolOptions\.NoStock"):
        scene.ensure(capacity_type=CapacityType.RESERVED, reservation="eap-1", launch_id="claim-1-g1-l3")


@pytest.mark.parametrize(
    ("how", "raised"),
    [
        ({"code": "Throttling.User"}, Throttled),
        ({"code": "Throttling"}, Throttled),
        ({"code": "Idempotence.Processing", "http_code": 403}, Ambiguous),
        ({"code": "SignatureNonceUsed"}, Ambiguous),
        ({"code": "ServiceUnavailable", "http_code": 503}, Ambiguous),
        ({"code": "InternalError", "http_code": 500, "does_deed": True}, Ambiguous),
        ({"code": "SomethingNew", "http_code": 500}, Ambiguous),
        ({"code": "SomethingNew", "http_code": 400}, Rejected),
        ({"is_garbled": True, "http_code": 502}, Ambiguous),
        ({"is_garbled": True, "http_code": 200}, Ambiguous),
        ({"loses_request": True}, Ambiguous),
        ({"loses_answer": True}, Ambiguous),
    ],
)
def test_a_purchase_that_fails_is_tried_once_and_its_repetition_buys_once(
    scene: Scene, how: dict[str, object], raised: type[PluginError]
) -> None:
    scene.fail("RunInstances", **how)
    with pytest.raises(raised) as failed:
        scene.ensure()
    assert type(failed.value) is raised
    assert scene.server.actions() == ["RunInstances"]
    assert scene.ensure() == scene.alive()


@pytest.mark.parametrize(
    "how",
    [
        {"code": "ServiceUnavailable", "http_code": 503},
        {"code": "InternalError", "http_code": 500},
        {"is_garbled": True, "http_code": 502},
        {"loses_answer": True},
    ],
)
def test_a_look_that_fails_is_transient(scene: Scene, how: dict[str, object]) -> None:
    scene.fail("DescribeInstances", **how)
    with pytest.raises(Transient) as failed:
        scene.adapter.list_owned(scene.cluster, deadline=DEADLINE)
    assert not isinstance(failed.value, Throttled)


def test_the_clouds_advice_on_when_to_call_again_is_passed_on(scene: Scene) -> None:
    scene.fail("DescribeInstances", code="Throttling.User", retry_after_milliseconds=1500)
    with pytest.raises(Throttled) as busy:
        scene.adapter.list_owned(scene.cluster, deadline=DEADLINE)
    assert busy.value.retry_after_seconds == 1.5


def test_a_cloud_that_nobody_could_reach_bought_nothing(scene: Scene) -> None:
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        away = scene.with_settings(endpoint=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(Transient, match="no answer"):
            scene.ensure(cluster=away)


def test_a_cloud_that_hears_and_never_answers_is_given_up_at_the_deadline(scene: Scene) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        away = scene.with_settings(endpoint=f"127.0.0.1:{mute.getsockname()[1]}")
        order = replace(scene.order, cluster=away)
        scene.ensure(machines=1, launch_id="warm")  # imports the SDK, which takes longer than the deadline
        with pytest.raises(Ambiguous, match="ReadTimeout"):
            scene.adapter.ensure(order, deadline=0.5)
        with pytest.raises(Transient, match="ReadTimeout"):
            scene.adapter.list_owned(away, deadline=0.5)


def test_what_the_settings_do_not_allow_is_rejected_before_any_call(scene: Scene) -> None:
    with pytest.raises(
        Rejected, match=f"zone x has no vSwitch in the settings; {HERE}, {ELSEWHERE}, {NOWHERE}"
    ):
        scene.ensure(zone="x")
    with pytest.raises(Rejected, match=r"ecs\.g6\.large is not among the setting machine_types"):
        scene.ensure(machine_type="ecs.g6.large")
    with pytest.raises(Rejected, match="names no reservation"):
        scene.ensure(capacity_type=CapacityType.RESERVED)
    assert scene.server.calls == []


def test_keys_that_were_lent_work_until_they_expire(scene: Scene) -> None:
    lent = scene.with_keys(access_key_id=LENT_ID, access_key_secret=LENT_SECRET, security_token=LENT_TOKEN)
    names = scene.ensure(cluster=lent)
    scene.server.secrets[LENT_ID] = Secret(text=LENT_SECRET, security_token=LENT_TOKEN, has_expired=True)
    with pytest.raises(AuthFailed, match=r"InvalidSecurityToken\.Expired"):
        scene.ensure(cluster=lent, launch_id="claim-1-g1-l2")
    assert scene.alive() == names


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"access_key_id": KEY_ID, "access_key_secret": "another"}, "SignatureDoesNotMatch"),
        ({"access_key_id": "nobody", "access_key_secret": "another"}, "InvalidAccessKeyId.NotFound"),
        (
            {"access_key_id": OLD_ID, "access_key_secret": LENT_SECRET, "security_token": LENT_TOKEN},
            "InvalidSecurityToken.Expired",
        ),
    ],
)
def test_refused_keys_are_told_from_silence(scene: Scene, keys: dict[str, str], code: str) -> None:
    with pytest.raises(AuthFailed, match=code):
        scene.adapter.inventory(scene.with_keys(**keys), deadline=DEADLINE)


def test_a_client_token_is_forgotten_after_a_day(scene: Scene) -> None:
    first = scene.ensure(machines=1)
    scene.clock.wait(24 * 3600 + 1)
    assert set(scene.ensure(machines=1)).isdisjoint(first)
