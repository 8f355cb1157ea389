"""Between the port's words and EC2's: orders to parameters, answers to machines. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cloud_adapters.aws.catalogue import MODELS, TABLE, Kind
from cloud_adapters.aws.settings import AwsSettings
from cloud_adapters.base import (
    CLAIM_LABEL,
    MILLI,
    Amounts,
    CapacityType,
    LaunchOrder,
    MachineState,
    OwnedMachine,
    Rejected,
)

Row = Mapping[str, Any]
"""A part of an answer, as botocore parsed it."""

CLUSTER_TAG: Final = "crossdock.io/cluster"
CLAIM_TAG: Final = CLAIM_LABEL
LAUNCH_TAG: Final = "crossdock.io/launch"
NAME_TAG: Final = "Name"

LONGEST_TOKEN: Final = 64
LARGEST_USER_DATA_BYTES: Final = 16_384
MEBIBYTE: Final = 2**20
CAPACITY_BLOCK: Final = "capacity-block"
TAGGED_AT_BIRTH: Final = ("instance", "volume", "network-interface")

STATES: Final[Mapping[str, MachineState]] = {
    "pending": MachineState.PENDING,
    "running": MachineState.RUNNING,
    "shutting-down": MachineState.STOPPING,
    "stopping": MachineState.STOPPING,
    # Somebody stopped it by hand: it runs nothing, and its disks are still billed.
    "stopped": MachineState.STOPPING,
}
"""Of machines that exist; `terminated` ones do not, though EC2 goes on to list them for an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a purchase needs beside the order and the settings: looked up, and equal in every call for one launch."""

    region: str
    subnet: str
    security_group: str
    image: str
    disks: tuple[Row, ...]
    """Block device mappings."""

    placement_group: str | None = None
    reservation: str | None = None
    is_capacity_block: bool = False
    user_data: str | None = None


def check_order(order: LaunchOrder, settings: AwsSettings) -> None:
    """Raises `Rejected` for what no call could ever buy."""
    token = order.launch_id
    if not token.isascii() or not 0 < len(token) <= LONGEST_TOKEN:
        raise Rejected(
            f"launch id {token!r} must be ASCII of 1 to {LONGEST_TOKEN} characters: EC2's client token"
        )
    if order.zone not in settings.subnets:
        raise Rejected(
            f"no subnet for zone {order.zone}; settings have {', '.join(sorted(settings.subnets))}"
        )
    if order.machine_type not in settings.machine_types:
        allowed = ", ".join(settings.machine_types)
        raise Rejected(f"machine type {order.machine_type!r} is not allowed by the settings, only {allowed}")
    if order.capacity_type is CapacityType.OWNED:
        raise Rejected("EC2 sells no machines for good; ask for on_demand, spot or reserved")
    if order.capacity_type is CapacityType.RESERVED and reservation_of(order, settings) is None:
        raise Rejected(f"no reservation of {order.machine_type} in {order.zone}; name it in `reservations`")


def reservation_of(order: LaunchOrder, settings: AwsSettings) -> str | None:
    if order.capacity_type is not CapacityType.RESERVED:
        return None
    return order.reservation or settings.reservations.get(f"{order.zone}/{order.machine_type}")


def placement_group_of(order: LaunchOrder, settings: AwsSettings) -> str | None:
    """One for each claim and zone: machines that join later are put beside the first ones."""
    wants = settings.placement_groups and order.machines > 1 and _efa(order) > 0
    return f"crossdock-{order.claim_id}-{order.zone}" if wants else None


def purchase(order: LaunchOrder, settings: AwsSettings, site: Site) -> dict[str, object]:
    """Parameters of RunInstances, equal in every call for one launch: else EC2 refuses the repetition."""
    if site.user_data is not None and len(site.user_data.encode()) > LARGEST_USER_DATA_BYTES:
        size = len(site.user_data.encode())
        raise Rejected(f"user data has {size} bytes, the limit is {LARGEST_USER_DATA_BYTES}")
    wanted: dict[str, object] = {
        "ClientToken": order.launch_id,
        "MinCount": order.machines,
        "MaxCount": order.machines,
        "InstanceType": order.machine_type,
        "ImageId": site.image,
        "BlockDeviceMappings": list(site.disks),
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        },
        "TagSpecifications": _tag_specifications(order),
        **_network(order, site),
    }
    if site.user_data is not None:
        wanted["UserData"] = site.user_data
    if settings.instance_profile_arn is not None:
        wanted["IamInstanceProfile"] = {"Arn": settings.instance_profile_arn}
    if site.placement_group is not None:
        wanted["Placement"] = {"GroupName": site.placement_group}
    return wanted | _market(order, settings, site)


def tags(cluster_id: str, name: str, **more: str) -> list[dict[str, str]]:
    pairs = {
        CLUSTER_TAG: cluster_id,
        NAME_TAG: name,
        **{f"crossdock.io/{key}": value for key, value in more.items()},
    }
    return [{"Key": key, "Value": value} for key, value in sorted(pairs.items())]


def tag_filter(tag: str, value: str) -> dict[str, object]:
    return {"Name": f"tag:{tag}", "Values": [value]}


def tag_of(row: Row, tag: str) -> str | None:
    pairs = row.get("Tags") or row.get("TagSet") or ()
    return next((str(pair["Value"]) for pair in pairs if pair["Key"] == tag), None)


def disks_of(image: Row, disk_gib: int) -> tuple[Row, ...]:
    """The image's own disks: the first as large as is set, and all of them ended with their machine."""
    root = image.get("RootDeviceName")
    found = []
    for mapping in image.get("BlockDeviceMappings", ()):
        if "Ebs" in mapping:
            ebs: dict[str, object] = {"DeleteOnTermination": True}
            if mapping["DeviceName"] == root:
                ebs |= {"VolumeSize": max(disk_gib, mapping["Ebs"].get("VolumeSize", 0)), "VolumeType": "gp3"}
            found.append({"DeviceName": mapping["DeviceName"], "Ebs": ebs})
    return tuple(found)


def exists(row: Row) -> bool:
    return row["State"]["Name"] in STATES


def owned(row: Row) -> OwnedMachine:
    """Of an instance that exists."""
    return OwnedMachine(
        name=row["InstanceId"],
        zone=row["Placement"]["AvailabilityZone"],
        claim_id=tag_of(row, CLAIM_TAG) or "",
        launch_id=tag_of(row, LAUNCH_TAG) or "",
        state=STATES[row["State"]["Name"]],
        host=row.get("PrivateIpAddress"),
        problem=_problem(row),
    )


def sorted_machines(rows: Iterable[Row]) -> tuple[OwnedMachine, ...]:
    return tuple(sorted((owned(row) for row in rows if exists(row)), key=lambda machine: machine.name))


def kind_of(row: Row) -> Kind:
    """Of a row of DescribeInstanceTypes."""
    gpus = row.get("GpuInfo", {}).get("Gpus", ())
    first = gpus[0] if gpus else {}
    model = str(first["Name"]) if "Name" in first else None
    return Kind(
        machine_type=row["InstanceType"],
        vcpus=row["VCpuInfo"]["DefaultVCpus"],
        memory_mib=row["MemoryInfo"]["SizeInMiB"],
        gpus=sum(each.get("Count", 0) for each in gpus),
        model=MODELS.get(model, model) if model else None,
        gpu_memory_mib=first.get("MemoryInfo", {}).get("SizeInMiB", 0),
        efa=row.get("NetworkInfo", {}).get("EfaInfo", {}).get("MaximumEfaInterfaces", 0),
        sells_spot="spot" in row.get("SupportedUsageClasses", ()),
    )


def amounts_of(kind: Kind, settings: AwsSettings) -> Amounts:
    """What tasks may use: the machine less what is kept for the system and for Ray."""
    return Amounts(
        cpu_milli=max(0, kind.vcpus - settings.reserve_cpus) * MILLI,
        memory_bytes=max(0, kind.memory_mib - settings.reserve_memory_mib) * MEBIBYTE,
        gpu_milli=kind.gpus * MILLI,
    )


def created_at(row: Row, field: str | None) -> datetime | None:
    value = row.get(field) if field else None
    return value if isinstance(value, datetime) else None


def _efa(order: LaunchOrder) -> int:
    """From the table, not from the API: it may not change between two calls for one launch."""
    return TABLE[order.machine_type].efa if order.machine_type in TABLE else 0


def _tag_specifications(order: LaunchOrder) -> list[dict[str, object]]:
    """Everything is tagged as it is made: a tag that came later would miss what a crash left behind."""
    things = [*TAGGED_AT_BIRTH]
    if order.capacity_type is CapacityType.SPOT:
        things.append("spot-instances-request")
    name = f"crossdock-{order.cluster.name}"
    each = tags(order.cluster.id, name, claim=order.claim_id, launch=order.launch_id)
    return [{"ResourceType": thing, "Tags": each} for thing in things]


def _network(order: LaunchOrder, site: Site) -> dict[str, object]:
    """With EFA on every network card for a gang; else one plain interface, with the subnet's own way of addresses."""
    cards = _efa(order) if order.machines > 1 else 0
    if cards == 0:
        return {"SubnetId": site.subnet, "SecurityGroupIds": [site.security_group]}
    return {
        "NetworkInterfaces": [
            {
                "NetworkCardIndex": card,
                "DeviceIndex": 0 if card == 0 else 1,
                # The first carries IP traffic too; the others need no addresses.
                "InterfaceType": "efa" if card == 0 else "efa-only",
                "SubnetId": site.subnet,
                "Groups": [site.security_group],
                "DeleteOnTermination": True,
            }
            for card in range(cards)
        ]
    }


def _market(order: LaunchOrder, settings: AwsSettings, site: Site) -> dict[str, object]:
    if order.capacity_type is CapacityType.SPOT:
        options: dict[str, object] = {
            "SpotInstanceType": "one-time",
            "InstanceInterruptionBehavior": "terminate",
        }
        limit = settings.spot_max_prices.get(order.machine_type)
        if limit is not None:
            options["MaxPrice"] = f"{limit:f}"
        return {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": options}}
    if site.reservation is None:
        return {}
    target = {"CapacityReservationTarget": {"CapacityReservationId": site.reservation}}
    market = {"InstanceMarketOptions": {"MarketType": CAPACITY_BLOCK}} if site.is_capacity_block else {}
    return {"CapacityReservationSpecification": target, **market}


def _problem(row: Row) -> str | None:
    """EC2 gives a reason whenever a machine is not simply running."""
    reason = row.get("StateReason") or {}
    code, message = str(reason.get("Code", "")), str(reason.get("Message", ""))
    if row["State"]["Name"] == "running" or not (code or message) or code == "pending":
        return None
    return message or code
