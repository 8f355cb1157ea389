"""Makes what a purchase stands on: the image's disks, a security group, a placement group. All of it idempotent."""

from contextlib import suppress
from typing import Any, Final

from cloud_adapters.aws.client import Act, Calls
from cloud_adapters.aws.errors import AlreadyThere
from cloud_adapters.aws.settings import AwsSettings
from cloud_adapters.aws.translate import (
    CAPACITY_BLOCK,
    CLUSTER_TAG,
    Row,
    Site,
    disks_of,
    placement_group_of,
    reservation_of,
    tag_filter,
    tags,
)
from cloud_adapters.base import ClusterRef, LaunchOrder, Rejected, Transient

ALL_PROTOCOLS: Final = "-1"


def site_of(calls: Calls, order: LaunchOrder, settings: AwsSettings, user_data: str | None) -> Site:
    """Raises as a read does, never `Ambiguous`: whatever it makes is found again by its name."""
    region = settings.region_of(order.zone)
    if region is None:
        raise Rejected(f"zone {order.zone} is in none of the regions {', '.join(settings.regions)}")
    subnet = settings.subnets[order.zone]
    image = settings.images[region]
    reservation = reservation_of(order, settings)
    return Site(
        region=region,
        subnet=subnet,
        security_group=_security_group(calls, order.cluster, settings, region, subnet),
        image=image,
        disks=disks_of(_image(calls, region, image), settings.disk_gib),
        placement_group=_placement_group(calls, order, settings, region),
        reservation=reservation,
        is_capacity_block=reservation is not None and _is_block(calls, region, reservation),
        user_data=user_data,
    )


def _image(calls: Calls, region: str, image: str) -> Row:
    found = calls.ask(Act.IMAGES, region, ImageIds=[image]).get("Images", ())
    if not found:
        raise Rejected(f"image {image} is not visible to the account in {region}")
    return dict(found[0])


def _is_block(calls: Calls, region: str, reservation: str) -> bool:
    found = calls.ask(Act.RESERVATIONS, region, CapacityReservationIds=[reservation])
    return any(row.get("ReservationType") == CAPACITY_BLOCK for row in found.get("CapacityReservations", ()))


def _security_group(
    calls: Calls, cluster: ClusterRef, settings: AwsSettings, region: str, subnet: str
) -> str:
    """The one that is set, or one of ours: a group for each cluster and network."""
    if region in settings.security_groups:
        return settings.security_groups[region]
    vpc = str(calls.ask(Act.SUBNETS, region, SubnetIds=[subnet])["Subnets"][0]["VpcId"])
    group = _our_group(calls, cluster, region, vpc) or _new_group(calls, cluster, region, vpc)
    _open(calls, settings, region, group)
    return str(group["GroupId"])


def _new_group(calls: Calls, cluster: ClusterRef, region: str, vpc: str) -> Row:
    name = _group_name(cluster)
    try:
        made = calls.ask(
            Act.MAKE_SECURITY_GROUP,
            region,
            GroupName=name,
            Description="Members of one Crossdock cluster reach each other",
            VpcId=vpc,
            TagSpecifications=[{"ResourceType": "security-group", "Tags": tags(cluster.id, name)}],
        )
    except AlreadyThere as refused:
        raise Transient(f"the security group {name} of {vpc} is not listed yet: {refused.message}") from None
    return {"GroupId": made["GroupId"]}


def _our_group(calls: Calls, cluster: ClusterRef, region: str, vpc: str) -> Row | None:
    filters = [
        tag_filter(CLUSTER_TAG, cluster.id),
        {"Name": "group-name", "Values": [_group_name(cluster)]},
        {"Name": "vpc-id", "Values": [vpc]},
    ]
    return next(calls.rows(Act.SECURITY_GROUPS, region, "SecurityGroups", Filters=filters), None)


def _group_name(cluster: ClusterRef) -> str:
    return f"crossdock-{cluster.id}"


def _open(calls: Calls, settings: AwsSettings, region: str, group: Row) -> None:
    """Whoever made it may have died before it was open. EFA wants the group itself named in both directions."""
    mine = str(group["GroupId"])
    among = {"IpProtocol": ALL_PROTOCOLS, "UserIdGroupPairs": [{"GroupId": mine}]}
    inward: list[dict[str, Any]] = [] if _names(group, "IpPermissions", mine) else [among]
    open_already = _ranges(group)
    for cidr, port in settings.ingress.items():
        if (cidr, port) not in open_already:
            inward.append({"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **_range(cidr)})
    for rule in inward:
        with suppress(AlreadyThere):
            calls.ask(Act.OPEN_SECURITY_GROUP, region, GroupId=mine, IpPermissions=[rule])
    if not _names(group, "IpPermissionsEgress", mine):
        with suppress(AlreadyThere):
            calls.ask(Act.OPEN_SECURITY_GROUP_OUT, region, GroupId=mine, IpPermissions=[among])


def _range(cidr: str) -> dict[str, Any]:
    return {"Ipv6Ranges": [{"CidrIpv6": cidr}]} if ":" in cidr else {"IpRanges": [{"CidrIp": cidr}]}


def _names(group: Row, direction: str, mine: str) -> bool:
    rules = group.get(direction, ())
    return any(pair["GroupId"] == mine for rule in rules for pair in rule.get("UserIdGroupPairs", ()))


def _ranges(group: Row) -> set[tuple[str, int]]:
    return {
        (each.get("CidrIp") or each["CidrIpv6"], rule["FromPort"])
        for rule in group.get("IpPermissions", ())
        if "FromPort" in rule
        for each in (*rule.get("IpRanges", ()), *rule.get("Ipv6Ranges", ()))
    }


def _placement_group(calls: Calls, order: LaunchOrder, settings: AwsSettings, region: str) -> str | None:
    name = placement_group_of(order, settings)
    if name is None:
        return None
    filters = [{"Name": "group-name", "Values": [name]}]
    if not calls.ask(Act.PLACEMENT_GROUPS, region, Filters=filters).get("PlacementGroups"):
        each = tags(order.cluster.id, name, claim=order.claim_id)
        with suppress(AlreadyThere):
            calls.ask(
                Act.MAKE_PLACEMENT_GROUP,
                region,
                GroupName=name,
                Strategy="cluster",
                TagSpecifications=[{"ResourceType": "placement-group", "Tags": each}],
            )
    return name
