"""Actions that moto lacks or makes too easy: placement groups, spot requests, prices, quotas, ends and removals."""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

from cloud_adapters.aws.catalogue import ON_DEMAND_DOLLARS
from cloud_adapters.aws.strict.answers import Refusal, Reply, document, fits, tag_set, xml
from cloud_adapters.aws.strict.machines import CODES, PlacementGroup, SpotRequest
from cloud_adapters.aws.strict.requests import Request

if TYPE_CHECKING:
    from cloud_adapters.aws.server import StrictEc2

Action = Callable[["StrictEc2", Request], Reply]

ACTIVE: Final = "active"
CERTIFICATE: Final = "-----BEGIN CERTIFICATE-----\nnone that anybody has signed\n-----END CERTIFICATE-----\n"


def terminate(cloud: "StrictEc2", request: Request) -> Reply:
    """All of them or, with one id that is not known, none."""
    names = request.listed("InstanceId")
    cloud.check_visible(names)
    changes = []
    for name in names:
        before = cloud.rented[name].phase(cloud.now())
        cloud.end(name, "Client.UserInitiatedShutdown", "User initiated shutdown")
        after = cloud.rented[name].phase(cloud.now())
        changes.append({"instanceId": name, "currentState": _phase(after), "previousState": _phase(before)})
    return xml("TerminateInstances", {"instancesSet": changes})


def make_placement_group(cloud: "StrictEc2", request: Request) -> Reply:
    name = request.fields["GroupName"]
    if (request.region, name) in cloud.placement_groups:
        raise Refusal("InvalidPlacementGroup.Duplicate", f"The Placement Group '{name}' already exists.")
    group = PlacementGroup(
        id=f"pg-{len(cloud.placement_groups) + 1:017x}",
        region=request.region,
        name=name,
        strategy=request.fields.get("Strategy", "cluster"),
        tags=request.tags_for("placement-group"),
    )
    cloud.placement_groups[request.region, name] = group
    return xml("CreatePlacementGroup", {"placementGroup": _placement_group(group)})


def list_placement_groups(cloud: "StrictEc2", request: Request) -> Reply:
    filters = request.filters()
    found = [
        _placement_group(group)
        for (region, name), group in sorted(cloud.placement_groups.items())
        if region == request.region and fits(filters, {"group-name": name}, group.tags)
    ]
    return xml("DescribePlacementGroups", {"placementGroupSet": found})


def drop_placement_group(cloud: "StrictEc2", request: Request) -> Reply:
    key = (request.region, request.fields["GroupName"])
    if key not in cloud.placement_groups:
        raise Refusal("InvalidPlacementGroup.Unknown", f"The Placement Group '{key[1]}' is unknown.")
    if any((each.region, each.placement_group) == key for each in cloud.machines):
        raise Refusal("InvalidPlacementGroup.InUse", f"The placement group '{key[1]}' is in use.")
    del cloud.placement_groups[key]
    return xml("DeletePlacementGroup", {"return": "true"})


def drop_security_group(cloud: "StrictEc2", request: Request) -> Reply:
    group = request.fields["GroupId"]
    if any(group in each.security_groups for each in cloud.machines):
        raise Refusal("DependencyViolation", f"resource {group} has a dependent object")
    return cloud.backend.call(request.environ)


def drop_interface(cloud: "StrictEc2", request: Request) -> Reply:
    name = request.fields["NetworkInterfaceId"]
    for machine, interfaces in cloud.interfaces.items():
        if name in interfaces and cloud.rented[machine].exists(cloud.now()):
            message = f"Network interface '{name}' is currently in use."
            raise Refusal("InvalidParameterValue", message)
    return cloud.backend.call(request.environ)


def list_spot_requests(cloud: "StrictEc2", request: Request) -> Reply:
    filters = request.filters()
    found = []
    for each in cloud.spot_requests.values():
        state, code = _spot_state(cloud, each)
        facts = {"state": state, "instance-id": each.machine, "spot-instance-request-id": each.id}
        if each.region == request.region and fits(filters, facts, each.tags):
            found.append(_spot_request(each, state, code))
    return xml("DescribeSpotInstanceRequests", {"spotInstanceRequestSet": found})


def cancel_spot_requests(cloud: "StrictEc2", request: Request) -> Reply:
    """Ends the request alone; its machine runs on."""
    cancelled = []
    for name in request.listed("SpotInstanceRequestId"):
        if name not in cloud.spot_requests:
            raise Refusal("InvalidSpotInstanceRequestID.NotFound", f"The request ID '{name}' does not exist")
        cloud.cancel_spot_request(name)
        cancelled.append({"spotInstanceRequestId": name, "state": "cancelled"})
    return xml("CancelSpotInstanceRequests", {"spotInstanceRequestSet": cancelled})


def spot_prices(cloud: "StrictEc2", request: Request) -> Reply:
    rows = [
        {
            "instanceType": machine_type,
            "productDescription": "Linux/UNIX",
            "spotPrice": f"{cloud.spot_price(machine_type, zone):f}",
            "timestamp": _moment(cloud.now()),
            "availabilityZone": zone,
        }
        for machine_type in request.listed("InstanceType")
        for zone in sorted(cloud.backend.subnets(request.region))
        if cloud.backend.is_offered(request.region, machine_type, zone)
    ]
    return xml("DescribeSpotPriceHistory", {"spotPriceHistorySet": rows})


def reservations(cloud: "StrictEc2", request: Request) -> Reply:
    rows = []
    for name in request.listed("CapacityReservationId"):
        if name not in cloud.reservations:
            raise Refusal("InvalidCapacityReservationId.NotFound", f"The reservation '{name}' does not exist")
        kept = cloud.reservations[name]
        rows.append(
            {
                "capacityReservationId": name,
                "instanceType": kept.machine_type,
                "availabilityZone": kept.zone,
                "totalInstanceCount": kept.machines,
                "reservationType": "capacity-block" if kept.is_capacity_block else "default",
            }
        )
    return xml("DescribeCapacityReservations", {"capacityReservationSet": rows})


def quota(cloud: "StrictEc2", request: Request) -> Reply:
    code = request.document["QuotaCode"]
    return document({"Quota": {"ServiceCode": "ec2", "QuotaCode": code, "Value": float(cloud.quota(code))}})


def list_prices(cloud: "StrictEc2", request: Request) -> Reply:
    """In the form of the price list: a JSON text for each product, with its terms."""
    wanted = {each["Field"]: each["Value"] for each in request.document["Filters"]}
    machine_type = wanted["instanceType"]
    dollars = cloud.list_prices.get(machine_type, ON_DEMAND_DOLLARS.get(machine_type))
    if dollars is None:
        return document({"FormatVersion": "aws_v1", "PriceList": []})
    dimension = {
        "unit": "Hrs",
        "pricePerUnit": {"USD": f"{dollars:.10f}"},
        "beginRange": "0",
        "endRange": "Inf",
    }
    product = {
        "product": {"productFamily": "Compute Instance", "attributes": wanted, "sku": "SKU"},
        "serviceCode": "AmazonEC2",
        "terms": {
            "OnDemand": {
                "SKU.JRTCKXETXF": {
                    "offerTermCode": "JRTCKXETXF",
                    "priceDimensions": {"SKU.JRTCKXETXF.6YS6EN2CT7": dimension},
                }
            }
        },
    }
    return document({"FormatVersion": "aws_v1", "PriceList": [json.dumps(product)]})


def identity(cloud: "StrictEc2", request: Request) -> Reply:
    """Also of a signed URL, which moto takes for a request to S3."""
    arn = f"arn:aws:iam::{cloud.account}:user/{request.access_key}"
    said = f"<Arn>{arn}</Arn><UserId>{request.access_key}</UserId><Account>{cloud.account}</Account>"
    text = (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        f"<GetCallerIdentityResult>{said}</GetCallerIdentityResult></GetCallerIdentityResponse>"
    )
    return Reply(http_code=200, content_type="text/xml", body=text.encode())


def eks_cluster(cloud: "StrictEc2", request: Request) -> Reply:
    """With a certificate where moto has random bytes, and an error that has a code."""
    reply = cloud.backend.call(request.environ)
    content = json.loads(reply.body)
    if "cluster" not in content:
        raise Refusal("ResourceNotFoundException", content.get("message", "No cluster found"), 404)
    content["cluster"]["certificateAuthority"] = {"data": b64encode(CERTIFICATE.encode()).decode()}
    return document(content)


ACTIONS: Final[Mapping[str, Action]] = {
    "eks:DescribeCluster": eks_cluster,
    "sts:GetCallerIdentity": identity,
    "ec2:TerminateInstances": terminate,
    "ec2:CreatePlacementGroup": make_placement_group,
    "ec2:DescribePlacementGroups": list_placement_groups,
    "ec2:DeletePlacementGroup": drop_placement_group,
    "ec2:DeleteSecurityGroup": drop_security_group,
    "ec2:DeleteNetworkInterface": drop_interface,
    "ec2:DescribeSpotInstanceRequests": list_spot_requests,
    "ec2:CancelSpotInstanceRequests": cancel_spot_requests,
    "ec2:DescribeSpotPriceHistory": spot_prices,
    "ec2:DescribeCapacityReservations": reservations,
    "servicequotas:GetServiceQuota": quota,
    "pricing:GetProducts": list_prices,
}


def _phase(name: str) -> dict[str, object]:
    return {"code": CODES[name], "name": name}


def _placement_group(group: PlacementGroup) -> dict[str, object]:
    return {
        "groupName": group.name,
        "groupId": group.id,
        "strategy": group.strategy,
        "state": "available",
        "tagSet": tag_set(group.tags),
    }


def _spot_state(cloud: "StrictEc2", request: SpotRequest) -> tuple[str, str]:
    """State, and the code that says why."""
    machine = cloud.rented[request.machine]
    if machine.has_ended(cloud.now()):
        return ("closed", machine.reason[0])
    if request.is_cancelled:
        return ("cancelled", "request-canceled-and-instance-running")
    return (ACTIVE, "marked-for-termination" if machine.notice_at is not None else "fulfilled")


def _spot_request(request: SpotRequest, state: str, code: str) -> dict[str, object]:
    return {
        "spotInstanceRequestId": request.id,
        "spotPrice": request.max_price,
        "type": "one-time",
        "state": state,
        "status": {"code": code, "message": code},
        "instanceId": request.machine,
        "createTime": _moment(request.created_at),
        "tagSet": tag_set(request.tags),
    }


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
