"""The answers of our ECS server: a function per action, from parameters as sent to JSON as answered."""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

from cloud_adapters.alibaba.server_account import (
    TIME,
    Machine,
    Purchase,
    Refused,
    ServedAccount,
    Tags,
    Thing,
    fingerprint,
    time_of,
)

Parameters = Mapping[str, str]
Json = dict[str, Any]
Item = TypeVar("Item")

TIME_BY_MINUTE: Final = "%Y-%m-%dT%H:%MZ"
MOST_AT_ONCE: Final = 100
DISK_GIB: Final = 100
MOST_TAGS: Final = 20
LARGEST_USER_DATA: Final = 32 * 1024
FOREIGN_TAGS: Final = ("aliyun", "acs:", "http://", "https://")


def answer(account: ServedAccount, action: str, parameters: Parameters) -> Json:
    """Raises `Refused`, also for an action that is not modelled."""
    deed = ANSWERS.get(action)
    if deed is None:
        raise Refused(404, "InvalidAction.NotFound", f"Specified api is not found: {action}.")
    return deed(account, parameters)


def _run(account: ServedAccount, parameters: Parameters) -> Json:
    names = account.buy(_purchase(parameters), is_trial=_is_true(parameters, "DryRun"))
    return {"InstanceIdSets": {"InstanceIdSet": list(names)}}


def _purchase(parameters: Parameters) -> Purchase:
    for name in ("ImageId", "InstanceType", "SecurityGroupId", "VSwitchId", "ZoneId"):
        if not parameters.get(name):
            raise Refused(400, "MissingParameter", f"The input parameter {name} is mandatory.")
    if parameters.get("HttpTokens") != "required":
        raise Refused(403, "Forbidden.ImdsV1", "This account demands hardened metadata.")
    amount = int(parameters.get("Amount", "1"))
    limit = parameters.get("SpotPriceLimit")
    return Purchase(
        token=parameters.get("ClientToken"),
        zone=parameters["ZoneId"],
        machine_type=parameters["InstanceType"],
        amount=amount,
        least=int(parameters.get("MinAmount", "1")),
        spot_strategy=parameters.get("SpotStrategy", "NoSpot"),
        spot_limit=None if limit is None else Decimal(limit),
        private_pool=parameters.get("PrivatePoolOptions.Id"),
        user_data=_user_data(parameters),
        tags=_tags(parameters),
        release_at=time_of(parameters.get("AutoReleaseTime")),
        fingerprint=fingerprint(parameters),
    )


def _user_data(parameters: Parameters) -> str:
    raw = base64.b64decode(parameters.get("UserData", ""), validate=True)
    if len(raw) > LARGEST_USER_DATA:
        raise Refused(400, "InvalidUserData.SizeExceeded", "The specified user data exceeds the limit.")
    return raw.decode()


def _tags(parameters: Parameters) -> Tags:
    tags: list[tuple[str, str]] = []
    while key := parameters.get(f"Tag.{len(tags) + 1}.Key"):
        if key.startswith(FOREIGN_TAGS):
            raise Refused(400, "InvalidTagKey.Malformed", "The specified tag key is not valid.")
        tags.append((key, parameters.get(f"Tag.{len(tags) + 1}.Value", "")))
    if len(tags) > MOST_TAGS:
        raise Refused(400, "InvalidParameter.TagExceed", f"At most {MOST_TAGS} tags are allowed.")
    return tuple(tags)


def _delete(account: ServedAccount, parameters: Parameters) -> Json:
    if not _is_true(parameters, "Force"):
        raise Refused(403, "IncorrectInstanceStatus", "A running machine is deleted by force alone.")
    account.delete(_listed(parameters, "InstanceId"))
    return {}


def _postpone(account: ServedAccount, parameters: Parameters) -> Json:
    release_at = time_of(parameters["AutoReleaseTime"])
    assert release_at is not None  # noqa: S101 # the key was there
    account.postpone(parameters["InstanceId"], release_at)
    return {}


def _machines(account: ServedAccount, parameters: Parameters) -> Json:
    wanted = _tags(parameters)
    shown = [each for each in account.shown() if set(wanted) <= set(each.tags)]
    page, turned = _page(shown, parameters)
    return {"Instances": {"Instance": [_machine(each, account.now()) for each in page]}, **turned}


def _machine(machine: Machine, now: datetime) -> Json:
    state = machine.state(now)
    hosts = [] if state == "Pending" else [machine.private_ip]
    return {
        "InstanceId": machine.id,
        "ZoneId": machine.zone,
        "InstanceType": machine.machine_type,
        "Status": state,
        "SpotStrategy": machine.spot_strategy,
        "CreationTime": machine.created_at.strftime(TIME_BY_MINUTE),
        "AutoReleaseTime": "" if machine.release_at is None else machine.release_at.strftime(TIME_BY_MINUTE),
        "VpcAttributes": {"PrivateIpAddress": {"IpAddress": hosts}},
        "OperationLocks": {"LockReason": [{"LockReason": lock} for lock in machine.locks()]},
        "Tags": {"Tag": [{"TagKey": key, "TagValue": value} for key, value in machine.tags]},
    }


def _events(account: ServedAccount, parameters: Parameters) -> Json:
    asked = _listed(parameters, "ResourceId")
    kinds = _listed(parameters, "InstanceEventType")
    doomed = [
        each
        for each in account.bill.values()
        if each.id in asked and each.is_doomed and each.starting_at <= account.now()
    ]
    events = [
        {
            "InstanceId": each.id,
            "EventType": {"Code": 34, "Name": "SystemFailure.Delete"},
            "Reason": "the zone ran out of stock while the machine was made",
        }
        for each in doomed
        if "SystemFailure.Delete" in kinds
    ]
    return {"InstanceSystemEventSet": {"InstanceSystemEventType": events}, "TotalCount": len(events)}


def _types(account: ServedAccount, parameters: Parameters) -> Json:
    asked = _listed(parameters, "InstanceTypes")
    rows = [
        {
            "InstanceTypeId": name,
            "CpuCoreCount": kind.vcpus,
            "MemorySize": kind.memory_gib,
            "GPUAmount": kind.gpus,
            "GPUSpec": kind.gpu_spec,
        }
        for name, kind in sorted(account.types.items())
        if name in asked
    ]
    return {"InstanceTypes": {"InstanceType": rows}}


def _available(account: ServedAccount, parameters: Parameters) -> Json:
    zones = [parameters["ZoneId"]] if "ZoneId" in parameters else list(account.zones)
    return {
        "AvailableZones": {
            "AvailableZone": [
                {
                    "ZoneId": zone,
                    "Status": "Available",
                    "AvailableResources": {
                        "AvailableResource": [
                            {
                                "Type": "InstanceType",
                                "SupportedResources": {"SupportedResource": _supported(account, zone)},
                            }
                        ]
                    },
                }
                for zone in zones
            ]
        }
    }


def _supported(account: ServedAccount, zone: str) -> list[Json]:
    def category(name: str) -> str:
        if (name, zone) in account.closed:
            return "ClosedWithoutStock"
        return "WithoutStock" if account.stock.get((name, zone), 1) < 1 else "WithStock"

    return [
        {
            "Value": name,
            "Status": "Available" if category(name) == "WithStock" else "SoldOut",
            "StatusCategory": category(name),
        }
        for name in sorted(account.types)
    ]


def _price(account: ServedAccount, parameters: Parameters) -> Json:
    price = float(account.types[parameters["InstanceType"]].price)
    return {"PriceInfo": {"Price": {"OriginalPrice": price, "TradePrice": price, "Currency": "CNY"}}}


def _spot_history(account: ServedAccount, parameters: Parameters) -> Json:
    machine_type = parameters["InstanceType"]
    rows = [
        {
            "ZoneId": zone,
            "InstanceType": machine_type,
            "SpotPrice": float(price),
            "Timestamp": at.strftime(TIME),
        }
        for zone in account.zones
        for at, price in account.price_series(machine_type, zone)
    ]
    return {"Currency": "CNY", "SpotPrices": {"SpotPriceType": rows}}


def _disks(account: ServedAccount, parameters: Parameters) -> Json:
    page, turned = _page(_things(account, "disk", parameters), parameters)
    kind = {"Category": "cloud_essd", "Size": DISK_GIB}
    rows = [
        {"DiskId": each.id, "ZoneId": each.zone, **kind, **_born(each), **_tag_rows(each)} for each in page
    ]
    return {"Disks": {"Disk": rows}, **turned}


def _interfaces(account: ServedAccount, parameters: Parameters) -> Json:
    page, turned = _page(_things(account, "eni", parameters), parameters)
    rows = [
        {"NetworkInterfaceId": each.id, "ZoneId": each.zone, **_born(each), **_tag_rows(each)}
        for each in page
    ]
    return {"NetworkInterfaceSets": {"NetworkInterfaceSet": rows}, **turned}


def _groups(account: ServedAccount, parameters: Parameters) -> Json:
    page, turned = _page(_things(account, "security group", parameters), parameters)
    rows = [{"SecurityGroupId": each.id, **_born(each), **_tag_rows(each)} for each in page]
    return {"SecurityGroups": {"SecurityGroup": rows}, **turned}


def _addresses(account: ServedAccount, parameters: Parameters) -> Json:
    found = _things(account, "eip", parameters)
    size = int(parameters["PageSize"])
    start = (int(parameters["PageNumber"]) - 1) * size
    rows = [
        {"AllocationId": each.id, "AllocationTime": each.created_at.strftime(TIME), **_tag_rows(each)}
        for each in found[start : start + size]
    ]
    return {"EipAddresses": {"EipAddress": rows}, "TotalCount": len(found)}


def _things(account: ServedAccount, kind: str, parameters: Parameters) -> list[Thing]:
    wanted = set(_tags(parameters))
    is_free = parameters.get("Status") == "Available"
    found = (each for each in account.things.values() if each.kind == kind and wanted <= set(each.tags))
    return sorted((each for each in found if not (is_free and each.machine_id)), key=lambda each: each.id)


def _born(thing: Thing) -> Json:
    return {"CreationTime": thing.created_at.strftime(TIME)}


def _tag_rows(thing: Thing) -> Json:
    spelling = ("TagKey", "TagValue") if thing.kind != "eip" else ("Key", "Value")
    return {"Tags": {"Tag": [dict(zip(spelling, pair, strict=True)) for pair in thing.tags]}}


def _removal(kind: str, parameter: str, missing: str) -> Callable[[ServedAccount, Parameters], Json]:
    def remove(account: ServedAccount, parameters: Parameters) -> Json:
        account.remove(kind, parameters[parameter], missing=missing)
        return {}

    return remove


def _caller(account: ServedAccount, parameters: Parameters) -> Json:
    del parameters
    return {"AccountId": account.uid, "IdentityType": "RAMUser"}


def _kubeconfig(account: ServedAccount, parameters: Parameters) -> Json:
    text = account.kubeconfigs.get(parameters["path"].split("/")[2])
    if text is None:
        raise Refused(404, "ErrorClusterNotFound", "The cluster is not found.")
    reach = "private" if _is_true(parameters, "PrivateIpAddress") else "public"
    return {"config": text.replace("REACH", reach), "expiration": "2030-01-01T00:00:00Z"}


def _is_true(parameters: Parameters, name: str) -> bool:
    """The SDK for Python spells it `True`."""
    return parameters.get(name, "").lower() == "true"


def _listed(parameters: Parameters, name: str) -> list[str]:
    """`Name.1`, `Name.2` and so on, in order."""
    pattern = re.compile(rf"{name}\.(\d+)")
    numbered = [
        (int(found[1]), value) for key, value in parameters.items() if (found := pattern.fullmatch(key))
    ]
    return [value for _, value in sorted(numbered)]


def _page(items: Sequence[Item], parameters: Parameters) -> tuple[Sequence[Item], Json]:
    size = min(int(parameters.get("MaxResults", "10")), MOST_AT_ONCE)
    start = int(parameters.get("NextToken", "page-0").removeprefix("page-"))
    ahead = start + size
    return items[start:ahead], {"NextToken": f"page-{ahead}" if ahead < len(items) else ""}


ANSWERS: Final[Mapping[str, Callable[[ServedAccount, Parameters], Json]]] = {
    "DeleteDisk": _removal("disk", "DiskId", "InvalidDiskId.NotFound"),
    "DeleteInstances": _delete,
    "DeleteNetworkInterface": _removal("eni", "NetworkInterfaceId", "InvalidEniId.NotFound"),
    "DeleteSecurityGroup": _removal("security group", "SecurityGroupId", "InvalidSecurityGroupId.NotFound"),
    "DescribeAvailableResource": _available,
    "DescribeClusterUserKubeconfig": _kubeconfig,
    "DescribeDisks": _disks,
    "DescribeEipAddresses": _addresses,
    "DescribeInstanceHistoryEvents": _events,
    "DescribeInstanceTypes": _types,
    "DescribeInstances": _machines,
    "DescribeNetworkInterfaces": _interfaces,
    "DescribePrice": _price,
    "DescribeSecurityGroups": _groups,
    "DescribeSpotPriceHistory": _spot_history,
    "GetCallerIdentity": _caller,
    "ModifyInstanceAutoReleaseTime": _postpone,
    "ReleaseEipAddress": _removal("eip", "AllocationId", "InvalidAllocationId.NotFound"),
    "RunInstances": _run,
}
