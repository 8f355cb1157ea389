"""What purchases leave beside machines: where each kind is listed, and how it is removed."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from cloud_adapters.aws.catalogue import (
    ADDRESS_DOLLARS,
    DISK_DOLLARS,
    HOURS_OF_A_MONTH,
    PRICED_REGIONS,
    PRICES_AS_OF,
)
from cloud_adapters.aws.client import Act, Calls
from cloud_adapters.aws.errors import Absent
from cloud_adapters.aws.settings import AwsSettings
from cloud_adapters.aws.translate import CLAIM_TAG, CLUSTER_TAG, Row, created_at, tag_filter, tag_of
from cloud_adapters.base import ClusterRef, Leftover, LeftoverKind, Price, Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    lists: Act
    rows: str
    """Where in the answer they are."""

    name: str
    """The field that removes it."""

    drops: Act
    parameter: str
    zone: str | None = None
    created: str | None = None
    is_many: bool = False
    """Whether the parameter takes a list."""

    filters: tuple[Mapping[str, object], ...] = ()


_KINDS: Final[Mapping[LeftoverKind, _Kind]] = {
    LeftoverKind.DISK: _Kind(
        lists=Act.DISKS,
        rows="Volumes",
        name="VolumeId",
        drops=Act.DROP_DISK,
        parameter="VolumeId",
        zone="AvailabilityZone",
        created="CreateTime",
    ),
    LeftoverKind.ADDRESS: _Kind(
        lists=Act.ADDRESSES,
        rows="Addresses",
        name="AllocationId",
        drops=Act.DROP_ADDRESS,
        parameter="AllocationId",
    ),
    LeftoverKind.NETWORK_INTERFACE: _Kind(
        lists=Act.INTERFACES,
        rows="NetworkInterfaces",
        name="NetworkInterfaceId",
        drops=Act.DROP_INTERFACE,
        parameter="NetworkInterfaceId",
        zone="AvailabilityZone",
    ),
    LeftoverKind.SECURITY_GROUP: _Kind(
        lists=Act.SECURITY_GROUPS,
        rows="SecurityGroups",
        name="GroupId",
        drops=Act.DROP_SECURITY_GROUP,
        parameter="GroupId",
    ),
    LeftoverKind.PLACEMENT_GROUP: _Kind(
        lists=Act.PLACEMENT_GROUPS,
        rows="PlacementGroups",
        name="GroupName",
        drops=Act.DROP_PLACEMENT_GROUP,
        parameter="GroupName",
    ),
    LeftoverKind.LAUNCH_TEMPLATE: _Kind(
        lists=Act.TEMPLATES,
        rows="LaunchTemplates",
        name="LaunchTemplateId",
        drops=Act.DROP_TEMPLATE,
        parameter="LaunchTemplateId",
        created="CreateTime",
    ),
    LeftoverKind.SPOT_REQUEST: _Kind(
        lists=Act.SPOT_REQUESTS,
        rows="SpotInstanceRequests",
        name="SpotInstanceRequestId",
        drops=Act.DROP_SPOT_REQUEST,
        parameter="SpotInstanceRequestIds",
        created="CreateTime",
        is_many=True,
        # Closed and cancelled ones are history, which EC2 shows for a while and nobody can remove.
        filters=({"Name": "state", "Values": ["open", "active", "disabled"]},),
    ),
}


def leftovers(calls: Calls, cluster: ClusterRef, settings: AwsSettings) -> tuple[Leftover, ...]:
    """In use or not: whose claim is alive is not known here."""
    found = [
        each
        for region in settings.regions
        for kind in _KINDS
        for each in _listed(calls, cluster, region, kind)
    ]
    return tuple(sorted(found, key=lambda each: (each.kind, each.zone, each.name)))


def remove(calls: Calls, cluster: ClusterRef, settings: AwsSettings, leftover: Leftover) -> None:
    kind = _KINDS.get(leftover.kind)
    region = settings.region_of(leftover.zone)
    if kind is None or region is None:
        raise Rejected(
            f"{leftover.kind} {leftover.name} in {leftover.zone} is none of cluster {cluster.name}"
        )
    # Looked up by tag first, so that a name alone never removes what somebody else owns.
    if all(each.name != leftover.name for each in _listed(calls, cluster, region, leftover.kind)):
        return
    name = [leftover.name] if kind.is_many else leftover.name
    with suppress(Absent):
        calls.ask(kind.drops, region, **{kind.parameter: name})


def _listed(calls: Calls, cluster: ClusterRef, region: str, kind: LeftoverKind) -> Iterator[Leftover]:
    how = _KINDS[kind]
    filters = [tag_filter(CLUSTER_TAG, cluster.id), *how.filters]
    for row in calls.rows(how.lists, region, how.rows, Filters=filters):
        yield _leftover(kind, how, region, row)


def _leftover(kind: LeftoverKind, how: _Kind, region: str, row: Row) -> Leftover:
    return Leftover(
        kind=kind,
        name=row[how.name],
        zone=row.get(how.zone, region) if how.zone else region,
        claim_id=tag_of(row, CLAIM_TAG),
        created_at=created_at(row, how.created),
        hourly=_hourly(kind, region, row),
    )


def _hourly(kind: LeftoverKind, region: str, row: Row) -> Price | None:
    """From the dated table: the rest costs nothing while no machine uses it."""
    if region not in PRICED_REGIONS:
        return None
    match kind:
        case LeftoverKind.ADDRESS:
            dollars = ADDRESS_DOLLARS
        case LeftoverKind.DISK if row.get("VolumeType") in DISK_DOLLARS:
            dollars = DISK_DOLLARS[row["VolumeType"]] * int(row["Size"]) / HOURS_OF_A_MONTH
        case _:
            return None
    return Price(amount=dollars, currency="USD", as_of=PRICES_AS_OF, is_verified=False)
