"""Translates between our values and those of ECS: parameters of calls one way, rows of answers the other. Pure."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from cloud_adapters.alibaba.settings import Settings
from cloud_adapters.base import (
    CLAIM_LABEL,
    MILLI,
    Amounts,
    CapacityType,
    LaunchOrder,
    Leftover,
    LeftoverKind,
    MachineState,
    OwnedMachine,
    Rejected,
)

Row = Mapping[str, Any]
"""A piece of an answer: JSON."""

CLUSTER_TAG: Final = "crossdock.io/cluster"
CLAIM_TAG: Final = CLAIM_LABEL
LAUNCH_TAG: Final = "crossdock.io/launch"

LONGEST_TOKEN: Final = 64
LARGEST_USER_DATA: Final = 32 * 1024
LEAST_DEAD_MAN: Final = timedelta(hours=1)
SOONEST_RELEASE: Final = timedelta(minutes=31)
"""ECS takes no release time within the next 30 minutes."""

PENDING_LIMIT: Final = timedelta(minutes=10)
GIBIBYTE: Final = 2**30
FREE_MEMORY_TENTHS: Final = 9
"""Of a machine's memory, what kernel, system and Ray leave to tasks, at least."""

DELETABLE: Final = frozenset({"Running", "Stopped"})
TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
TIME_BY_MINUTE: Final = "%Y-%m-%dT%H:%MZ"

STATES: Final[Mapping[str, MachineState]] = {
    "Pending": MachineState.PENDING,
    "Starting": MachineState.PENDING,
    "Running": MachineState.RUNNING,
    "Stopping": MachineState.STOPPING,
    "Stopped": MachineState.STOPPING,
}
RECYCLING: Final = "Recycling"
LOCKS: Final[Mapping[str, str]] = {
    RECYCLING: "is being taken back: the market wants the spot machine",
    "financial": "is locked: the account is in arrears",
    "security": "is locked for a security reason",
}
FAILED_CREATION: Final = "SystemFailure.Delete"


def run_parameters(
    order: LaunchOrder, settings: Settings, *, user_data: str | None, release_at: datetime
) -> dict[str, object]:
    """Of RunInstances. Equal for equal arguments, as the client token demands.

    Raises `Rejected` for a zone or type that the settings do not allow, and for user data that is too long.
    """
    vswitch = dict(settings.vswitches).get(order.zone)
    if vswitch is None:
        raise Rejected(
            f"zone {order.zone} has no vSwitch in the settings; {', '.join(settings.zones)} have one"
        )
    if settings.machine_types and order.machine_type not in settings.machine_types:
        raise Rejected(f"machine type {order.machine_type} is not among the setting machine_types")
    wanted: dict[str, object | None] = {
        "ClientToken": client_token(order.launch_id),
        "ZoneId": order.zone,
        "VSwitchId": vswitch,
        "SecurityGroupId": settings.security_group_id,
        "ImageId": settings.image_id,
        "InstanceType": order.machine_type,
        "InstanceName": f"crossdock-{order.launch_id}"[:128],
        "InstanceChargeType": "PostPaid",
        "Amount": order.machines,
        "MinAmount": order.machines,
        "AutoReleaseTime": release_at.strftime(TIME),
        "HttpEndpoint": "enabled",
        "HttpTokens": "required",
        "RamRoleName": settings.ram_role_name,
        "DeploymentSetId": settings.deployment_set_id,
        "HpcClusterId": settings.hpc_cluster_id,
        "UserData": None if user_data is None else encoded(user_data),
        # Data disks are none: the system disk is the only one, and ECS ends it with its machine.
        "SystemDisk": {"Size": str(settings.disk_gib), "Category": settings.disk_category},
        "Tag": [{"Key": key, "Value": value} for key, value in tags_of(order)],
        **_market(order, settings),
    }
    return {name: value for name, value in wanted.items() if value is not None}


def client_token(launch_id: str) -> str:
    return launch_id if len(launch_id) <= LONGEST_TOKEN else hashlib.sha256(launch_id.encode()).hexdigest()


def encoded(user_data: str) -> str:
    raw = user_data.encode()
    if len(raw) > LARGEST_USER_DATA:
        raise Rejected(f"user data has {len(raw)} bytes, {LARGEST_USER_DATA} are allowed")
    return base64.b64encode(raw).decode()


def tags_of(order: LaunchOrder) -> tuple[tuple[str, str], ...]:
    return ((CLUSTER_TAG, order.cluster.id), (CLAIM_TAG, order.claim_id), (LAUNCH_TAG, order.launch_id))


def tag_filter(cluster_id: str, claim_id: str | None = None) -> list[dict[str, str]]:
    claim = [] if claim_id is None else [{"Key": CLAIM_TAG, "Value": claim_id}]
    return [{"Key": CLUSTER_TAG, "Value": cluster_id}, *claim]


def births(now: datetime, dead_man: timedelta) -> tuple[datetime, ...]:
    """The release time of a machine born now, and the one that an equal call a while ago would have had.

    A repeated call must not differ, and the adapter remembers nothing, so the time lies on a grid: at least `dead_man`
    ahead and at most twice that. A call that was first made before the last grid line is met by the second one.
    """
    step = max(dead_man, LEAST_DEAD_MAN)
    grid = datetime.min.replace(tzinfo=UTC)
    line = now - (now - grid) % step
    return (line + 2 * step, line + step)


def renewal(until: datetime, now: datetime) -> str:
    return max(until, now + SOONEST_RELEASE).astimezone(UTC).strftime(TIME)


def spot_parameters(capacity_type: CapacityType, settings: Settings) -> dict[str, object]:
    if capacity_type is not CapacityType.SPOT:
        return {"SpotStrategy": "NoSpot"}
    if settings.spot_price_limit is None:
        return {"SpotStrategy": "SpotAsPriceGo", "SpotDuration": 0}
    return {
        "SpotStrategy": "SpotWithPriceLimit",
        "SpotPriceLimit": float(settings.spot_price_limit),
        "SpotDuration": 0,
    }


def _market(order: LaunchOrder, settings: Settings) -> dict[str, object]:
    chosen = spot_parameters(order.capacity_type, settings)
    if order.capacity_type is CapacityType.SPOT:
        return {**chosen, "SpotInterruptionBehavior": "Terminate"}
    if order.capacity_type is CapacityType.RESERVED:
        pool = order.reservation or settings.private_pool_id
        if pool is None:
            raise Rejected(f"launch {order.launch_id} wants reserved machines, and names no reservation")
        return {**chosen, "PrivatePoolOptions": {"MatchCriteria": "Target", "Id": pool}}
    if order.capacity_type is CapacityType.OWNED:
        raise Rejected("machines that are owned cannot be bought here")
    # A machine on demand must not eat up what is reserved for others.
    return {**chosen, "PrivatePoolOptions": {"MatchCriteria": "None"}}


def rows(answer: Row, *path: str) -> list[Row]:
    """The list behind the path, which ECS leaves out when it is empty."""
    found: Any = answer  # JSON
    for name in path:
        found = (found or {}).get(name)
    return list(found or [])


def tags_in(row: Row) -> dict[str, str]:
    """ECS spells the keys in two ways."""
    tags = rows(row, "Tags", "Tag") or rows(row, "TagSet", "Tag")
    pairs = ((tag.get("TagKey") or tag.get("Key"), tag.get("TagValue") or tag.get("Value")) for tag in tags)
    return {str(key): str(value or "") for key, value in pairs}


def machine_of(row: Row, *, doomed: Mapping[str, str], now: datetime) -> OwnedMachine:
    """`doomed`: why a machine that was promised is not coming, by its id."""
    tags = tags_in(row)
    name = str(row["InstanceId"])
    state = STATES.get(str(row.get("Status")), MachineState.PENDING)
    locks = locks_of(row)
    if RECYCLING in locks or name in doomed:
        state = MachineState.STOPPING
    hosts = rows(row, "VpcAttributes", "PrivateIpAddress", "IpAddress")
    return OwnedMachine(
        name=name,
        zone=str(row.get("ZoneId", "")),
        claim_id=tags.get(CLAIM_TAG, ""),
        launch_id=tags.get(LAUNCH_TAG, ""),
        state=state,
        host=str(hosts[0]) if hosts else None,
        problem=doomed.get(name) or _problem(row, locks, now),
    )


def locks_of(row: Row) -> tuple[str, ...]:
    return tuple(str(lock.get("LockReason")) for lock in rows(row, "OperationLocks", "LockReason"))


def is_wanted(row: Row) -> bool:
    """Whether its life may be prolonged. One that stopped by itself is left to its release time."""
    return STATES.get(str(row.get("Status"))) is not MachineState.STOPPING and RECYCLING not in locks_of(row)


def failures(answer: Row) -> dict[str, str]:
    """Of DescribeInstanceHistoryEvents: the machines whose creation failed after their ids were given out."""
    events = rows(answer, "InstanceSystemEventSet", "InstanceSystemEventType")
    return {
        str(event["InstanceId"]): f"was not created: {event.get('Reason') or FAILED_CREATION}"
        for event in events
        if (event.get("EventType") or {}).get("Name") == FAILED_CREATION
    }


def _problem(row: Row, locks: tuple[str, ...], now: datetime) -> str | None:
    if locks:
        return "; ".join(LOCKS.get(lock, f"is locked: {lock}") for lock in locks)
    if row.get("Status") == "Stopped":
        return "was stopped from inside or by somebody else"
    if row.get("Status") == "Pending" and (since := row.get("CreationTime")):
        waited = now - time_of(str(since))
        if waited > PENDING_LIMIT:
            return f"is pending for {waited // timedelta(minutes=1)} minutes"
    return None


def time_of(text: str) -> datetime:
    shape = TIME_BY_MINUTE if text.count(":") == 1 else TIME
    return datetime.strptime(text, shape).replace(tzinfo=UTC)


def amounts_of(row: Row) -> Amounts:
    """Of a row of DescribeInstanceTypes, what tasks may use."""
    memory = int(Decimal(str(row["MemorySize"])) * GIBIBYTE) * FREE_MEMORY_TENTHS // 10
    return Amounts(
        cpu_milli=int(row["CpuCoreCount"]) * MILLI,
        gpu_milli=int(row.get("GPUAmount") or 0) * MILLI,
        memory_bytes=memory,
    )


def accelerator_of(row: Row) -> str | None:
    """Ray's name of the model, from the cloud's: `NVIDIA A100 80G` is `A100`, `GPU H20` is `H20`."""
    words = [word for word in str(row.get("GPUSpec") or "").split() if word.upper() not in _NOT_A_MODEL]
    return words[0] if words else None


_NOT_A_MODEL: Final = frozenset({"NVIDIA", "AMD", "GPU", "TESLA"})


def sellable(answer: Row) -> Iterator[tuple[str, str]]:
    """(zone, machine type) of DescribeAvailableResource, but those that the zone will not get again."""
    for zone in rows(answer, "AvailableZones", "AvailableZone"):
        for resource in rows(zone, "AvailableResources", "AvailableResource"):
            for each in rows(resource, "SupportedResources", "SupportedResource"):
                if each.get("StatusCategory") != "ClosedWithoutStock":
                    yield str(zone["ZoneId"]), str(each["Value"])


def on_demand_price(answer: Row) -> tuple[Decimal, str] | None:
    """(amount, currency) of DescribePrice: what is really paid."""
    price = (answer.get("PriceInfo") or {}).get("Price") or {}
    if "TradePrice" not in price:
        return None
    return Decimal(str(price["TradePrice"])), str(price["Currency"])


def spot_prices(answer: Row) -> dict[str, tuple[Decimal, str, datetime]]:
    """(amount, currency, as of) of DescribeSpotPriceHistory: the last one of each zone."""
    currency = str(answer.get("Currency", ""))
    found: dict[str, tuple[Decimal, str, datetime]] = {}
    for row in rows(answer, "SpotPrices", "SpotPriceType"):
        zone, at = str(row["ZoneId"]), time_of(str(row["Timestamp"]))
        if zone not in found or found[zone][2] <= at:
            found[zone] = (Decimal(str(row["SpotPrice"])), currency, at)
    return found


def leftover_of(kind: LeftoverKind, row: Row, *, id_name: str, region: str) -> Leftover:
    created = row.get("CreationTime") or row.get("AllocationTime")
    return Leftover(
        kind=kind,
        name=str(row[id_name]),
        zone=str(row.get("ZoneId") or region),
        claim_id=tags_in(row).get(CLAIM_TAG),
        created_at=time_of(str(created)) if created else None,
    )
