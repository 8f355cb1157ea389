"""Our values in ECS's words, and back."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cloud_adapters.alibaba import catalogue, translate
from cloud_adapters.alibaba.settings import Access, Settings
from cloud_adapters.base import Amounts, CapacityType, ClusterRef, LaunchOrder, MachineState, Rejected

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
SETTINGS = Settings(
    access=Access(region="cn-beijing", keys=None),
    vswitches=(("cn-beijing-h", "vsw-1"),),
    security_group_id="sg-1",
    image_id="m-1",
)
ORDER = LaunchOrder(
    cluster=ClusterRef(id="cluster-1", name="beijing", endpoint=None),
    claim_id="claim-1",
    launch_id="launch-1",
    zone="cn-beijing-h",
    machine_type="ecs.gn7i-c8g1.2xlarge",
    capacity_type=CapacityType.ON_DEMAND,
    machines=3,
)


def parameters(order: LaunchOrder = ORDER, settings: Settings = SETTINGS) -> dict[str, object]:
    return translate.run_parameters(order, settings, user_data="#!/bin/sh\n", release_at=NOW)


def test_an_order_says_all_that_is_bought_in_one_call() -> None:
    assert parameters() == {
        "Amount": 3,
        "AutoReleaseTime": "2026-03-01T12:30:00Z",
        "ClientToken": "launch-1",
        "HttpEndpoint": "enabled",
        "HttpTokens": "required",
        "ImageId": "m-1",
        "InstanceChargeType": "PostPaid",
        "InstanceName": "crossdock-launch-1",
        "InstanceType": "ecs.gn7i-c8g1.2xlarge",
        "MinAmount": 3,
        "PrivatePoolOptions": {"MatchCriteria": "None"},
        "SecurityGroupId": "sg-1",
        "SpotStrategy": "NoSpot",
        "SystemDisk": {"Category": "cloud_essd", "Size": "100"},
        "Tag": [
            {"Key": "crossdock.io/cluster", "Value": "cluster-1"},
            {"Key": "crossdock.io/claim", "Value": "claim-1"},
            {"Key": "crossdock.io/launch", "Value": "launch-1"},
        ],
        "UserData": base64.b64encode(b"#!/bin/sh\n").decode(),
        "VSwitchId": "vsw-1",
        "ZoneId": "cn-beijing-h",
    }


@pytest.mark.parametrize(
    ("order", "settings", "chosen"),
    [
        (
            replace(ORDER, capacity_type=CapacityType.SPOT),
            SETTINGS,
            {"SpotStrategy": "SpotAsPriceGo", "SpotDuration": 0, "SpotInterruptionBehavior": "Terminate"},
        ),
        (
            replace(ORDER, capacity_type=CapacityType.SPOT),
            replace(SETTINGS, spot_price_limit=Decimal("2.5")),
            {"SpotStrategy": "SpotWithPriceLimit", "SpotPriceLimit": 2.5, "SpotDuration": 0},
        ),
        (
            replace(ORDER, capacity_type=CapacityType.RESERVED, reservation="eap-2"),
            replace(SETTINGS, private_pool_id="eap-1"),
            {"PrivatePoolOptions": {"MatchCriteria": "Target", "Id": "eap-2"}},
        ),
        (
            replace(ORDER, capacity_type=CapacityType.RESERVED),
            replace(SETTINGS, private_pool_id="eap-1"),
            {"PrivatePoolOptions": {"MatchCriteria": "Target", "Id": "eap-1"}},
        ),
        (
            ORDER,
            replace(SETTINGS, ram_role_name="node", deployment_set_id="ds-1", hpc_cluster_id="hpc-1"),
            {"RamRoleName": "node", "DeploymentSetId": "ds-1", "HpcClusterId": "hpc-1"},
        ),
    ],
)
def test_the_market_and_what_is_optional_follow_order_and_settings(
    order: LaunchOrder, settings: Settings, chosen: Mapping[str, object]
) -> None:
    made = parameters(order, settings)
    assert {name: made[name] for name in chosen} == chosen


def test_every_parameter_is_one_that_the_sdk_knows() -> None:
    from alibabacloud_ecs20140526 import models  # noqa: PLC0415 # seconds

    pool = replace(
        SETTINGS, private_pool_id="eap-1", ram_role_name="r", deployment_set_id="d", hpc_cluster_id="h"
    )
    for order in (
        ORDER,
        *(replace(ORDER, capacity_type=each) for each in (CapacityType.SPOT, CapacityType.RESERVED)),
    ):
        made = parameters(order, pool)
        understood = models.RunInstancesRequest().from_map(made).to_map()
        assert {name: value for name, value in understood.items() if value != []} == made


def test_owned_machines_cannot_be_bought() -> None:
    with pytest.raises(Rejected, match="owned"):
        parameters(replace(ORDER, capacity_type=CapacityType.OWNED))


def test_a_long_launch_id_makes_a_token_that_ecs_takes_and_that_stays_the_same() -> None:
    long = "x" * 65
    assert translate.client_token("x" * 64) == "x" * 64
    assert len(translate.client_token(long)) == 64
    assert translate.client_token(long) == translate.client_token(long)
    assert translate.client_token(long) != translate.client_token(f"{long}y")


def test_user_data_that_is_too_long_is_refused_with_its_length() -> None:
    with pytest.raises(Rejected, match="user data has 32769 bytes, 32768 are allowed"):
        translate.encoded("x" * 32769)


@pytest.mark.parametrize("dead_man", [timedelta(minutes=5), HOUR, timedelta(hours=7), timedelta(days=1)])
def test_a_machine_is_born_with_an_end_on_a_grid_that_later_calls_meet(dead_man: timedelta) -> None:
    step = max(dead_man, HOUR)
    for minutes in range(0, 3000, 7):
        now = NOW + timedelta(minutes=minutes)
        release_at, before = translate.births(now, dead_man)
        assert step <= release_at - now <= 2 * step
        assert before == release_at - step
        later = translate.births(now + timedelta(minutes=30), dead_man)
        assert release_at in later


def row(**changed: object) -> dict[str, object]:
    return {
        "InstanceId": "i-1",
        "ZoneId": "cn-beijing-h",
        "Status": "Running",
        "CreationTime": "2026-03-01T12:00Z",
        "VpcAttributes": {"PrivateIpAddress": {"IpAddress": ["10.0.0.1"]}},
        "Tags": {
            "Tag": [
                {"TagKey": "crossdock.io/claim", "TagValue": "claim-1"},
                {"TagKey": "crossdock.io/launch", "TagValue": "launch-1"},
            ]
        },
        **changed,
    }


@pytest.mark.parametrize(
    ("changed", "state", "problem"),
    [
        ({}, MachineState.RUNNING, None),
        ({"Status": "Starting"}, MachineState.PENDING, None),
        ({"Status": "Pending"}, MachineState.PENDING, "is pending for 30 minutes"),
        ({"Status": "Stopping"}, MachineState.STOPPING, None),
        ({"Status": "Stopped"}, MachineState.STOPPING, "was stopped from inside or by somebody else"),
        ({"Status": "SomethingNew"}, MachineState.PENDING, None),
        (
            {"OperationLocks": {"LockReason": [{"LockReason": "Recycling"}]}},
            MachineState.STOPPING,
            "is being taken back: the market wants the spot machine",
        ),
        (
            {"OperationLocks": {"LockReason": [{"LockReason": "financial"}, {"LockReason": "odd"}]}},
            MachineState.RUNNING,
            "is locked: the account is in arrears; is locked: odd",
        ),
    ],
)
def test_a_row_becomes_a_machine(
    changed: dict[str, object], state: MachineState, problem: str | None
) -> None:
    machine = translate.machine_of(row(**changed), doomed={}, now=NOW)
    assert (machine.name, machine.claim_id, machine.launch_id) == ("i-1", "claim-1", "launch-1")
    assert (machine.host, machine.state, machine.problem) == ("10.0.0.1", state, problem)


def test_a_row_without_tags_and_address_is_still_a_machine() -> None:
    machine = translate.machine_of({"InstanceId": "i-1"}, doomed={"i-1": "why"}, now=NOW)
    assert (machine.claim_id, machine.host, machine.state) == ("", None, MachineState.STOPPING)
    assert machine.problem == "why"


@pytest.mark.parametrize(
    ("spec", "model"),
    [
        ("NVIDIA A10", "A10"),
        ("NVIDIA A100 80G", "A100"),
        ("GPU H20", "H20"),
        ("NVIDIA Tesla T4", "T4"),
        ("", None),
        (None, None),
    ],
)
def test_a_model_is_named_as_ray_names_it(spec: str | None, model: str | None) -> None:
    assert translate.accelerator_of({"GPUSpec": spec}) == model


def test_a_type_leaves_tasks_all_but_a_tenth_of_its_memory() -> None:
    amounts = translate.amounts_of({"CpuCoreCount": 8, "MemorySize": 30.0, "GPUAmount": 1})
    assert amounts == Amounts(cpu_milli=8000, gpu_milli=1000, memory_bytes=27 * 2**30)


def test_the_last_price_of_each_zone_counts() -> None:
    def at(hour: int, zone: str, price: float) -> dict[str, object]:
        return {"ZoneId": zone, "Timestamp": f"2026-03-01T{hour:02}:00:00Z", "SpotPrice": price}

    answer = {
        "Currency": "CNY",
        "SpotPrices": {"SpotPriceType": [at(11, "h", 3.1), at(10, "h", 2), at(9, "i", 1.5)]},
    }
    assert translate.spot_prices(answer) == {
        "h": (Decimal("3.1"), "CNY", datetime(2026, 3, 1, 11, tzinfo=UTC)),
        "i": (Decimal("1.5"), "CNY", datetime(2026, 3, 1, 9, tzinfo=UTC)),
    }


def test_an_answer_without_a_price_is_none() -> None:
    assert translate.on_demand_price({"PriceInfo": {}}) is None


def test_the_catalogue_is_dated_and_never_verified() -> None:
    for name, kind in catalogue.CATALOGUE.items():
        assert translate.amounts_of(kind.as_row()).gpu_milli == 1000 * kind.gpus
        assert translate.accelerator_of(kind.as_row()) == kind.gpu_model
        full, spot = (
            catalogue.dated_price(name, each) for each in (CapacityType.ON_DEMAND, CapacityType.SPOT)
        )
        assert full is not None
        assert spot is not None
        assert spot.amount < full.amount == kind.price
        assert (full.currency, full.is_verified, spot.is_verified) == ("CNY", False, False)
    assert catalogue.dated_price("ecs.unknown.large", CapacityType.SPOT) is None
