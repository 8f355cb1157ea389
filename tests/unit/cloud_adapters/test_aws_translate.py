"""Orders become parameters of RunInstances, and answers become machines."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from cloud_adapters.aws.catalogue import ON_DEMAND_DOLLARS, TABLE, quota_of
from cloud_adapters.aws.settings import AwsSettings
from cloud_adapters.aws.translate import (
    Site,
    amounts_of,
    check_order,
    disks_of,
    kind_of,
    placement_group_of,
    purchase,
    sorted_machines,
)
from cloud_adapters.base import (
    Amounts,
    CapacityType,
    ClusterRef,
    LaunchOrder,
    MachineState,
    OwnedMachine,
    Rejected,
)

SETTINGS = AwsSettings(
    regions=("us-east-1",),
    subnets={"us-east-1a": "subnet-1"},
    images={"us-east-1": "ami-1"},
    machine_types=("g5.xlarge", "p4d.24xlarge"),
    security_groups={},
    ingress={},
    reservations={"us-east-1a/p4d.24xlarge": "cr-1"},
    spot_max_prices={"g5.xlarge": Decimal("0.60")},
    instance_profile_arn="arn:profile",
    disk_gib=200,
    placement_groups=True,
    reserve_cpus=1,
    reserve_memory_mib=1024,
    endpoint_url=None,
)
ORDER = LaunchOrder(
    cluster=ClusterRef(id="clu_1", name="burst", endpoint=None),
    claim_id="clm_1",
    launch_id="clm_1-g1-l1",
    zone="us-east-1a",
    machine_type="g5.xlarge",
    capacity_type=CapacityType.SPOT,
    machines=3,
)
SITE = Site(
    region="us-east-1",
    subnet="subnet-1",
    security_group="sg-1",
    image="ami-1",
    disks=({"DeviceName": "/dev/xvda"},),
    user_data="#!/bin/sh",
)
TAGS = [
    {"Key": "Name", "Value": "crossdock-burst"},
    {"Key": "crossdock.io/claim", "Value": "clm_1"},
    {"Key": "crossdock.io/cluster", "Value": "clu_1"},
    {"Key": "crossdock.io/launch", "Value": "clm_1-g1-l1"},
]


def test_a_spot_purchase_is_all_or_none_tagged_at_birth_and_ends_for_good() -> None:
    assert purchase(ORDER, SETTINGS, SITE) == {
        "ClientToken": "clm_1-g1-l1",
        "MinCount": 3,
        "MaxCount": 3,
        "InstanceType": "g5.xlarge",
        "ImageId": "ami-1",
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda"}],
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        },
        "TagSpecifications": [
            {"ResourceType": thing, "Tags": TAGS}
            for thing in ("instance", "volume", "network-interface", "spot-instances-request")
        ],
        "SubnetId": "subnet-1",
        "SecurityGroupIds": ["sg-1"],
        "UserData": "#!/bin/sh",
        "IamInstanceProfile": {"Arn": "arn:profile"},
        "InstanceMarketOptions": {
            "MarketType": "spot",
            "SpotOptions": {
                "SpotInstanceType": "one-time",
                "InstanceInterruptionBehavior": "terminate",
                "MaxPrice": "0.60",
            },
        },
    }


def test_an_on_demand_purchase_asks_for_no_market() -> None:
    asked = purchase(replace(ORDER, capacity_type=CapacityType.ON_DEMAND), SETTINGS, SITE)
    assert "InstanceMarketOptions" not in asked
    assert {each["ResourceType"] for each in _dicts(asked["TagSpecifications"])} == {
        "instance",
        "volume",
        "network-interface",
    }


@pytest.mark.parametrize("is_block", [False, True])
def test_reserved_machines_come_from_their_reservation(*, is_block: bool) -> None:
    order = replace(ORDER, capacity_type=CapacityType.RESERVED, machine_type="p4d.24xlarge", machines=1)
    asked = purchase(order, SETTINGS, replace(SITE, reservation="cr-1", is_capacity_block=is_block))
    assert asked["CapacityReservationSpecification"] == {
        "CapacityReservationTarget": {"CapacityReservationId": "cr-1"}
    }
    assert asked.get("InstanceMarketOptions") == ({"MarketType": "capacity-block"} if is_block else None)


def test_a_gang_with_efa_uses_every_network_card_close_together() -> None:
    order = replace(ORDER, machine_type="p4d.24xlarge")
    group = placement_group_of(order, SETTINGS)
    asked = purchase(order, SETTINGS, replace(SITE, placement_group=group))
    assert group == "crossdock-clm_1-us-east-1a"
    assert asked["Placement"] == {"GroupName": group}
    assert "SubnetId" not in asked
    cards = _dicts(asked["NetworkInterfaces"])
    assert [(card["NetworkCardIndex"], card["DeviceIndex"], card["InterfaceType"]) for card in cards] == [
        (0, 0, "efa"),
        (1, 1, "efa-only"),
        (2, 1, "efa-only"),
        (3, 1, "efa-only"),
    ]
    assert all(card["DeleteOnTermination"] for card in cards)


@pytest.mark.parametrize(
    ("order", "settings"),
    [
        (replace(ORDER, machine_type="p4d.24xlarge", machines=1), SETTINGS),
        (replace(ORDER, machine_type="p4d.24xlarge"), replace(SETTINGS, placement_groups=False)),
        (ORDER, SETTINGS),
    ],
)
def test_single_machines_and_those_without_efa_need_no_placement_group(
    order: LaunchOrder, settings: AwsSettings
) -> None:
    assert placement_group_of(order, settings) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"launch_id": "x" * 65}, "ASCII of 1 to 64 characters"),
        ({"launch_id": "läunch"}, "ASCII of 1 to 64 characters"),
        ({"zone": "us-east-1f"}, "no subnet for zone us-east-1f; settings have us-east-1a"),
        (
            {"machine_type": "m5.large"},
            "'m5.large' is not allowed by the settings, only g5.xlarge, p4d.24xlarge",
        ),
        ({"capacity_type": CapacityType.OWNED}, "EC2 sells no machines for good"),
        ({"capacity_type": CapacityType.RESERVED}, "no reservation of g5.xlarge in us-east-1a"),
    ],
)
def test_what_no_call_could_buy_is_refused_before_any_call(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Rejected) as refused:
        check_order(replace(ORDER, **changes), SETTINGS)
    assert words in refused.value.message


def test_user_data_beyond_the_limit_is_refused_by_its_size() -> None:
    with pytest.raises(Rejected, match="user data has 16385 bytes, the limit is 16384"):
        purchase(ORDER, SETTINGS, replace(SITE, user_data="x" * 16_385))


def test_all_disks_of_an_image_end_with_their_machine_and_the_first_is_as_large_as_is_set() -> None:
    image = {
        "RootDeviceName": "/dev/xvda",
        "BlockDeviceMappings": [
            {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8, "DeleteOnTermination": False}},
            {"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 30, "DeleteOnTermination": False}},
            {"DeviceName": "/dev/sdc", "VirtualName": "ephemeral0"},
        ],
    }
    assert disks_of(image, 200) == (
        {
            "DeviceName": "/dev/xvda",
            "Ebs": {"DeleteOnTermination": True, "VolumeSize": 200, "VolumeType": "gp3"},
        },
        {"DeviceName": "/dev/sdb", "Ebs": {"DeleteOnTermination": True}},
    )


def test_a_disk_is_never_smaller_than_the_image() -> None:
    image = {"RootDeviceName": "a", "BlockDeviceMappings": [{"DeviceName": "a", "Ebs": {"VolumeSize": 500}}]}
    assert disks_of(image, 200)[0]["Ebs"]["VolumeSize"] == 500


def instance(name: str, phase: str, **more: object) -> dict[str, Any]:
    tags = [{"Key": "crossdock.io/claim", "Value": "clm_1"}, {"Key": "crossdock.io/launch", "Value": "l"}]
    return {
        "InstanceId": name,
        "State": {"Name": phase},
        "Placement": {"AvailabilityZone": "us-east-1a"},
        "Tags": tags,
        **more,
    }


def test_machines_are_sorted_and_those_that_ended_are_none() -> None:
    reason = {"Code": "Server.SpotInstanceTermination", "Message": "Spot instance termination"}
    found = sorted_machines(
        [
            instance("i-3", "terminated"),
            instance("i-2", "shutting-down", StateReason=reason),
            instance("i-1", "running", PrivateIpAddress="10.0.0.1", StateReason={"Code": "", "Message": ""}),
            instance("i-4", "pending", StateReason={"Code": "pending", "Message": "pending"}),
            instance("i-5", "stopped"),
        ]
    )
    ours = OwnedMachine(
        name="i-1",
        zone="us-east-1a",
        claim_id="clm_1",
        launch_id="l",
        state=MachineState.RUNNING,
        host="10.0.0.1",
    )
    assert found == (
        ours,
        replace(
            ours, name="i-2", state=MachineState.STOPPING, host=None, problem="Spot instance termination"
        ),
        replace(ours, name="i-4", state=MachineState.PENDING, host=None),
        replace(ours, name="i-5", state=MachineState.STOPPING, host=None),
    )


def test_a_row_of_the_api_becomes_a_kind() -> None:
    row = {
        "InstanceType": "p4d.24xlarge",
        "VCpuInfo": {"DefaultVCpus": 96},
        "MemoryInfo": {"SizeInMiB": 1_179_648},
        "GpuInfo": {"Gpus": [{"Name": "A100", "Count": 8, "MemoryInfo": {"SizeInMiB": 40_960}}]},
        "NetworkInfo": {"EfaInfo": {"MaximumEfaInterfaces": 4}},
        "SupportedUsageClasses": ["on-demand", "spot"],
    }
    assert kind_of(row) == TABLE["p4d.24xlarge"]


def test_tasks_may_use_a_machine_but_for_what_is_reserved() -> None:
    assert amounts_of(TABLE["g5.xlarge"], SETTINGS) == Amounts(
        cpu_milli=3_000, gpu_milli=1_000, memory_bytes=15 * 2**30
    )


@pytest.mark.parametrize(
    ("machine_type", "capacity_type", "code"),
    [
        ("p5.48xlarge", CapacityType.ON_DEMAND, "L-417A185B"),
        ("p6-b200.48xlarge", CapacityType.SPOT, "L-7212CCBC"),
        ("g5.xlarge", CapacityType.ON_DEMAND, "L-DB2E81BA"),
        ("g4dn.xlarge", CapacityType.SPOT, "L-3819A6DF"),
        ("trn1.32xlarge", CapacityType.RESERVED, "L-2C3B7624"),
        ("m7i.large", CapacityType.ON_DEMAND, "L-1216C47A"),
        ("u-6tb1.metal", CapacityType.ON_DEMAND, None),
    ],
)
def test_each_family_is_counted_by_its_quota(
    machine_type: str, capacity_type: CapacityType, code: str | None
) -> None:
    quota = quota_of(machine_type, capacity_type)
    assert (quota.code if quota else None) == code


def test_every_price_of_the_table_is_of_a_machine_in_it() -> None:
    assert ON_DEMAND_DOLLARS.keys() <= TABLE.keys()
    assert all(price > 0 for price in ON_DEMAND_DOLLARS.values())


def _dicts(value: object) -> list[dict[str, Any]]:
    assert isinstance(value, list)
    return value
