"""What purchases leave behind beside machines: disks, addresses, network interfaces, security groups with our tag.

What is attached to a machine ends with it or shows up here later, and is not listed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from cloud_adapters.alibaba import errors, translate
from cloud_adapters.alibaba.catalogue import dated_upkeep
from cloud_adapters.alibaba.client import Account
from cloud_adapters.alibaba.listing import paged
from cloud_adapters.base import Leftover, LeftoverKind, Rejected

FREE: Final = "Available"
EIP_PAGE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where leftovers of one kind are listed, and how one is ended."""

    listing: str
    rows_at: tuple[str, str]
    id_name: str
    ending: str
    has_state: bool = True
    """False: nothing says whether somebody uses it; the ending is refused while somebody does."""


SHELVES: Final[Mapping[LeftoverKind, Shelf]] = {
    LeftoverKind.DISK: Shelf(
        listing="DescribeDisks", rows_at=("Disks", "Disk"), id_name="DiskId", ending="DeleteDisk"
    ),
    LeftoverKind.NETWORK_INTERFACE: Shelf(
        listing="DescribeNetworkInterfaces",
        rows_at=("NetworkInterfaceSets", "NetworkInterfaceSet"),
        id_name="NetworkInterfaceId",
        ending="DeleteNetworkInterface",
    ),
    LeftoverKind.SECURITY_GROUP: Shelf(
        listing="DescribeSecurityGroups",
        rows_at=("SecurityGroups", "SecurityGroup"),
        id_name="SecurityGroupId",
        ending="DeleteSecurityGroup",
        has_state=False,
    ),
}


def leftovers(account: Account, cluster_id: str, *, until: float) -> tuple[Leftover, ...]:
    found = [
        *(each for kind in SHELVES for each in _of(kind, account, cluster_id, until)),
        *_addresses(account, cluster_id, until),
    ]
    return tuple(sorted(found, key=lambda each: (each.kind, each.name)))


def remove(account: Account, leftover: Leftover, *, until: float) -> None:
    """What is absent is fine. Raises `Rejected` while somebody uses it."""
    try:
        if leftover.kind is LeftoverKind.ADDRESS:
            wanted = {"RegionId": account.access.region, "AllocationId": leftover.name}
            account.call_other("ReleaseEipAddress", wanted, until=until)
            return
        shelf = SHELVES.get(leftover.kind)
        if shelf is None:
            raise Rejected(f"{leftover.name}: no {leftover.kind} is ever made here")
        account.call(shelf.ending, {shelf.id_name: leftover.name}, until=until)
    except errors.NotThere:
        return


def _of(kind: LeftoverKind, account: Account, cluster_id: str, until: float) -> Iterator[Leftover]:
    shelf = SHELVES[kind]
    wanted = {"Tag": translate.tag_filter(cluster_id), **({"Status": FREE} if shelf.has_state else {})}
    for row in paged(account, shelf.listing, wanted, shelf.rows_at, until=until):
        found = translate.leftover_of(kind, row, id_name=shelf.id_name, region=account.access.region)
        yield replace(found, hourly=dated_upkeep(kind, str(row.get("Category")), int(row.get("Size", 0))))


def _addresses(account: Account, cluster_id: str, until: float) -> Iterator[Leftover]:
    """Of the VPC product, which counts pages."""
    number, seen = 1, 0
    while True:
        wanted = {
            "RegionId": account.access.region,
            "Status": FREE,
            "Tag.1.Key": translate.CLUSTER_TAG,
            "Tag.1.Value": cluster_id,
            "PageNumber": str(number),
            "PageSize": str(EIP_PAGE),
        }
        answer = account.call_other("DescribeEipAddresses", wanted, until=until)
        found = translate.rows(answer, "EipAddresses", "EipAddress")
        for row in found:
            kind, region = LeftoverKind.ADDRESS, account.access.region
            each = translate.leftover_of(kind, row, id_name="AllocationId", region=region)
            yield replace(each, hourly=dated_upkeep(kind, "", 0))
        number, seen = number + 1, seen + len(found)
        if not found or seen >= int(answer.get("TotalCount", 0)):
            return
