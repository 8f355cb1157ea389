"""The account's health: whether its keys open it, what they may do there, and whether the settings hold true."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from cloud_adapters.aws.catalogue import quota_of
from cloud_adapters.aws.client import Act, Calls
from cloud_adapters.aws.errors import WouldWork
from cloud_adapters.aws.offering import quotas
from cloud_adapters.aws.settings import AwsSettings
from cloud_adapters.aws.translate import TAGGED_AT_BIRTH, tags
from cloud_adapters.base import CapacityType, ClusterRef, PluginError

PRETENDED: Final[Mapping[Act, Mapping[str, object]]] = {
    Act.TYPES: {},
    Act.OFFERINGS: {},
    Act.SPOT_PRICES: {},
    Act.MACHINES: {},
    Act.DISKS: {},
    Act.INTERFACES: {},
    Act.ADDRESSES: {},
    Act.SECURITY_GROUPS: {},
    Act.PLACEMENT_GROUPS: {},
    Act.TEMPLATES: {},
    Act.SPOT_REQUESTS: {},
}
"""What is asked for as a dry run in every region. What ends or removes things is granted only where our tag is, so
nothing can be asked for before there is something."""


DRY_RUN: Final = "crossdock-dry-run"


def identity(calls: Calls, settings: AwsSettings) -> str:
    """The account's number. Raises `AuthFailed` on refused keys, `Transient` when AWS does not answer."""
    return str(calls.ask(Act.WHO_AM_I, settings.regions[0])["Account"])


def problems(calls: Calls, cluster: ClusterRef, settings: AwsSettings) -> tuple[str, ...]:
    """What stands in the way of buying, a sentence each; of what could not be looked at, that."""
    found: list[str] = []
    for region in settings.regions:
        for look in (partial(_rights, cluster), _subnets, _images, _types, _quotas):
            try:
                found.extend(look(calls, settings, region))
            except PluginError as error:
                found.append(f"{region}: {error.message}")
    return tuple(dict.fromkeys(found))


def _rights(cluster: ClusterRef, calls: Calls, settings: AwsSettings, region: str) -> Iterator[str]:
    asked: dict[Act, Mapping[str, object]] = {**PRETENDED}
    asked[Act.BUY] = _purchase(settings, region) | _tagged(cluster, *TAGGED_AT_BIRTH)
    if settings.placement_groups:
        group: dict[str, object] = {"GroupName": DRY_RUN, "Strategy": "cluster"}
        asked[Act.MAKE_PLACEMENT_GROUP] = group | _tagged(cluster, "placement-group")
    for act, parameters in asked.items():
        try:
            calls.ask(act, region, DryRun=True, **parameters)
        except WouldWork:
            continue
        except PluginError as error:
            yield f"{region}: {error.message}"


def _tagged(cluster: ClusterRef, *things: str) -> dict[str, object]:
    """As whatever is really made is tagged: the right to make anything else is not granted."""
    each = tags(cluster.id, DRY_RUN)
    return {"TagSpecifications": [{"ResourceType": thing, "Tags": each} for thing in things]}


def _purchase(settings: AwsSettings, region: str) -> dict[str, object]:
    """Only what the settings say: whether stock and quota suffice is seen when something is really bought."""
    subnet = next(subnet for zone, subnet in settings.subnets.items() if settings.region_of(zone) == region)
    groups = [settings.security_groups[region]] if region in settings.security_groups else []
    profile = settings.instance_profile_arn
    return {
        "MinCount": 1,
        "MaxCount": 1,
        "InstanceType": settings.machine_types[0],
        "ImageId": settings.images[region],
        "SubnetId": subnet,
        **({"SecurityGroupIds": groups} if groups else {}),
        **({"IamInstanceProfile": {"Arn": profile}} if profile else {}),
    }


def _subnets(calls: Calls, settings: AwsSettings, region: str) -> Iterator[str]:
    wanted = {subnet: zone for zone, subnet in settings.subnets.items() if settings.region_of(zone) == region}
    for row in calls.ask(Act.SUBNETS, region, SubnetIds=list(wanted))["Subnets"]:
        zone = wanted[row["SubnetId"]]
        if row["AvailabilityZone"] != zone:
            yield f"{region}: {row['SubnetId']} lies in {row['AvailabilityZone']}, and is set for {zone}"


def _images(calls: Calls, settings: AwsSettings, region: str) -> Iterator[str]:
    image = settings.images[region]
    if not calls.ask(Act.IMAGES, region, ImageIds=[image]).get("Images"):
        yield f"{region}: image {image} is not visible to the account"


def _types(calls: Calls, settings: AwsSettings, region: str) -> Iterator[str]:
    filters = [{"Name": "instance-type", "Values": list(settings.machine_types)}]
    offered = calls.rows(
        Act.OFFERINGS,
        region,
        "InstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=filters,
    )
    zones = {(row["InstanceType"], row["Location"]) for row in offered}
    ours = [zone for zone in settings.subnets if settings.region_of(zone) == region]
    for name in settings.machine_types:
        if not any((name, zone) in zones for zone in ours):
            yield f"{region}: {name} is not offered in {', '.join(ours)}"


def _quotas(calls: Calls, settings: AwsSettings, region: str) -> Iterator[str]:
    known = quotas(calls, region, settings.machine_types)
    wanted = {
        quota.code: quota
        for name in settings.machine_types
        for way in (CapacityType.ON_DEMAND, CapacityType.SPOT)
        if (quota := quota_of(name, way)) is not None
    }
    for code, quota in sorted(wanted.items()):
        if known.get(code) == 0:
            yield f"{region}: the quota {code} ({quota.name}) is 0; ask AWS to raise it"
