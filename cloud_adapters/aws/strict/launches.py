"""RunInstances, with all that the real one refuses: tokens, quotas, stock, prices, groups and reservations."""

import hashlib
from base64 import b64decode
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from cloud_adapters.aws.catalogue import quota_of
from cloud_adapters.aws.strict.answers import Refusal, parsed
from cloud_adapters.aws.strict.machines import Purchase, Rented, SpotRequest
from cloud_adapters.aws.strict.requests import Request
from cloud_adapters.base import CapacityType

if TYPE_CHECKING:
    from cloud_adapters.aws.server import StrictEc2

ON_DEMAND: Final = "on-demand"
SPOT: Final = "spot"
KEPT_FROM_MOTO: Final = (
    "Placement.",
    "CapacityReservationSpecification.",
    "IamInstanceProfile.",
    "InstanceMarketOptions.",
    "ClientToken",
)
RESERVATION_FIELD: Final = "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId"
LARGEST_USER_DATA_BYTES: Final = 16_384


def launch(cloud: "StrictEc2", request: Request) -> bytes:
    """The answer's XML. A token that was seen in this zone gets the answer that it got then."""
    zone = cloud.backend.zone_of_subnet(request.region, _subnet(request))
    token = request.fields.get("ClientToken", "")
    known = cloud.purchases.get((token, zone)) if token else None
    if known is not None:
        return _again(cloud, request, known)
    _check_request(cloud, request, zone)
    if request.fields.get("DryRun") == "true":
        raise Refusal("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
    machines = _granted(cloud, request, zone)
    answer, names = _bought(cloud, request, zone, machines)
    if token:
        cloud.purchases[token, zone] = Purchase(digest=_digest(request), machines=names, answer=answer)
    return answer


def _again(cloud: "StrictEc2", request: Request, known: Purchase) -> bytes:
    if known.digest != _digest(request):
        raise Refusal(
            "IdempotentParameterMismatch", "The client token was used before, with other request parameters."
        )
    if any(cloud.rented[name].stopping_at is not None for name in known.machines):
        raise Refusal("IdempotentInstanceTerminated", "A machine of that client token has been terminated.")
    return known.answer


def _digest(request: Request) -> str:
    """Of every parameter but the token itself."""
    pairs = sorted(
        (key, value) for key, value in request.fields.items() if key not in {"ClientToken", "DryRun"}
    )
    return hashlib.sha256(repr(pairs).encode()).hexdigest()


def _check_request(cloud: "StrictEc2", request: Request, zone: str) -> None:
    fields = request.fields
    machine_type = fields.get("InstanceType", "")
    cloud.backend.check_image(request.region, fields.get("ImageId", ""))
    cloud.backend.vcpus(machine_type)
    cloud.backend.check_groups(request.region, _groups(request))
    if not cloud.backend.is_offered(request.region, machine_type, zone):
        raise Refusal(
            "Unsupported", f"Your requested instance type ({machine_type}) is not supported in {zone}."
        )
    profile = fields.get("IamInstanceProfile.Arn")
    if profile is not None and profile not in cloud.instance_profiles:
        raise Refusal(
            "InvalidParameterValue", f"Value ({profile}) for parameter iamInstanceProfile.arn is invalid."
        )
    group = fields.get("Placement.GroupName")
    if group is not None and (request.region, group) not in cloud.placement_groups:
        raise Refusal("InvalidPlacementGroup.Unknown", f"The placement group '{group}' is unknown.")
    if len(_user_data(request).encode()) > LARGEST_USER_DATA_BYTES:
        raise Refusal("InvalidParameterValue", f"User data is limited to {LARGEST_USER_DATA_BYTES} bytes")


def _granted(cloud: "StrictEc2", request: Request, zone: str) -> int:
    """How many machines: between MinCount and MaxCount, whatever the stock has."""
    fields = request.fields
    least, most = int(fields["MinCount"]), int(fields["MaxCount"])
    machine_type, market = fields["InstanceType"], _market(request)
    _check_price(cloud, request, zone)
    _check_quota(cloud, request, least)
    if market not in {ON_DEMAND, SPOT}:
        _check_reservation(cloud, market, machine_type, zone, least)
        return most
    left = cloud.stock.get((machine_type, zone, market), most)
    if left < least:
        raise Refusal(
            "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {machine_type} capacity in the Availability Zone you requested"
            f" ({zone}).",
            500,
        )
    granted = min(left, most)
    if (machine_type, zone, market) in cloud.stock:
        cloud.stock[machine_type, zone, market] -= granted
    return granted


def _check_price(cloud: "StrictEc2", request: Request, zone: str) -> None:
    limit = request.fields.get("InstanceMarketOptions.SpotOptions.MaxPrice")
    price = cloud.spot_price(request.fields["InstanceType"], zone)
    if _market(request) == SPOT and limit is not None and Decimal(limit) < price:
        message = f"Your Spot request price of {limit} is lower than the minimum required price of {price}."
        raise Refusal("SpotMaxPriceTooLow", message)


def _check_quota(cloud: "StrictEc2", request: Request, machines: int) -> None:
    machine_type = request.fields["InstanceType"]
    is_spot = _market(request) == SPOT
    quota = quota_of(machine_type, CapacityType.SPOT if is_spot else CapacityType.ON_DEMAND)
    if quota is None:
        return
    limit = cloud.quota(quota.code)
    used = sum(
        cloud.backend.vcpus(each.machine_type)
        for each in cloud.machines
        if each.region == request.region and _counts(each, quota.code)
    )
    wanted = machines * cloud.backend.vcpus(machine_type)
    if used + wanted > limit:
        code = "MaxSpotInstanceCountExceeded" if is_spot else "VcpuLimitExceeded"
        raise Refusal(
            code,
            f"You have requested more vCPU capacity than your current limit of {limit} allows ({quota.name}).",
        )


def _counts(machine: Rented, code: str) -> bool:
    way = CapacityType.SPOT if machine.market == SPOT else CapacityType.ON_DEMAND
    quota = quota_of(machine.machine_type, way)
    return quota is not None and quota.code == code


def _check_reservation(cloud: "StrictEc2", name: str, machine_type: str, zone: str, machines: int) -> None:
    reservation = cloud.reservations.get(name)
    if reservation is None:
        raise Refusal("InvalidCapacityReservationId.NotFound", f"The reservation '{name}' does not exist")
    if (reservation.machine_type, reservation.zone) != (machine_type, zone):
        raise Refusal("InvalidParameterCombination", f"The reservation '{name}' is for other machines.")
    used = sum(machine.market == name for machine in cloud.machines)
    if used + machines > reservation.machines:
        raise Refusal("ReservationCapacityExceeded", f"The reservation '{name}' has no capacity left.")


def _bought(cloud: "StrictEc2", request: Request, zone: str, machines: int) -> tuple[bytes, tuple[str, ...]]:
    fields = {key: value for key, value in request.fields.items() if not key.startswith(KEPT_FROM_MOTO)}
    fields |= {"MinCount": str(machines), "MaxCount": str(machines)}
    if _market(request) == SPOT:
        fields["InstanceMarketOptions.MarketType"] = SPOT
    before = cloud.backend.interfaces(request.region)
    reply = cloud.backend.call(request.with_fields(fields))
    if reply.http_code != 200:  # noqa: PLR2004 # OK
        raise Refusal("InvalidParameterValue", reply.body.decode(errors="replace")[:300])
    made = sorted(cloud.backend.interfaces(request.region).keys() - before.keys())
    cloud.backend.tag(request.region, made, request.tags_for("network-interface"))
    root = parsed(reply)
    names = []
    for item in root.findall("instancesSet/item"):
        machine = cloud.add(_rented(cloud, request, zone, item))
        _complete(item, machine)
        names.append(machine.id)
    return ET.tostring(root), tuple(names)


def _rented(cloud: "StrictEc2", request: Request, zone: str, item: ET.Element) -> Rented:
    name = item.findtext("instanceId", "")
    now = cloud.now()
    return Rented(
        id=name,
        region=request.region,
        zone=zone,
        machine_type=request.fields["InstanceType"],
        market=_market(request),
        private_ip=item.findtext("privateIpAddress", ""),
        tags=request.tags_for("instance"),
        user_data=_user_data(request),
        token=request.fields.get("ClientToken", ""),
        security_groups=tuple(_groups(request)),
        placement_group=request.fields.get("Placement.GroupName"),
        started_at=now,
        running_at=now + timedelta(seconds=cloud.boot_seconds),
        spot_request=_spot_request(cloud, request, name),
    )


def _spot_request(cloud: "StrictEc2", request: Request, machine: str) -> str | None:
    if _market(request) != SPOT:
        return None
    limit = request.fields.get("InstanceMarketOptions.SpotOptions.MaxPrice")
    name = f"sir-{len(cloud.spot_requests) + 1:08d}"
    cloud.spot_requests[name] = SpotRequest(
        id=name,
        region=request.region,
        machine=machine,
        machine_type=request.fields["InstanceType"],
        tags=request.tags_for("spot-instances-request"),
        max_price=None if limit is None else Decimal(limit),
        created_at=cloud.now(),
    )
    return name


def _complete(item: ET.Element, machine: Rented) -> None:
    """What moto leaves out of its answer."""
    for address in item.findall("privateIpAddress"):
        address.text = machine.private_ip
    for group in item.findall("placement/groupName"):
        group.text = machine.placement_group
    if machine.spot_request is not None:
        ET.SubElement(item, "spotInstanceRequestId").text = machine.spot_request


def _subnet(request: Request) -> str:
    fields = request.fields
    return fields.get("SubnetId") or fields.get("NetworkInterface.1.SubnetId") or ""


def _groups(request: Request) -> list[str]:
    return request.listed("SecurityGroupId") or request.listed("NetworkInterface.1.SecurityGroupId")


def _market(request: Request) -> str:
    named = request.fields.get("InstanceMarketOptions.MarketType")
    return request.fields.get(RESERVATION_FIELD) or (SPOT if named == SPOT else ON_DEMAND)


def _user_data(request: Request) -> str:
    return b64decode(request.fields.get("UserData", "")).decode()
