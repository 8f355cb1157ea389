"""Moto, one account of it: what EC2 is made of where moto does it well, and the doors to what it keeps."""

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from moto.backends import get_backend
from moto.ec2.models import amis
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES
from moto.ec2.models.instances import InstanceState, StateReason
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from cloud_adapters.aws.strict.answers import Refusal, Reply
from cloud_adapters.aws.strict.machines import CODES, Rented
from cloud_adapters.aws.strict.requests import Environ

IMAGE: Final = "ami-04681a1dbd79675a5"
"""One that moto knows in every region."""


class Backend:
    def __init__(self, account: str) -> None:
        self.account = account
        # Thirteen hundred images in each region of each account would take most of a test's time.
        os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        self._app = DomainDispatcherApplication(create_backend_app)

    def call(self, environ: Environ) -> Reply:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], _error: object = None) -> None:
            started.append((status, headers))

        chunks = self._app({**environ, "HTTP_X_MOTO_ACCOUNT_ID": self.account}, start)
        body = b"".join(chunks)
        status, headers = started[0]
        content_type = next((value for name, value in headers if name.lower() == "content-type"), "text/xml")
        return Reply(http_code=int(status.split()[0]), content_type=content_type, body=body)

    def forget(self) -> None:
        """Drops the account and all that is in it."""
        for service in ("ec2", "sts", "eks", "iam"):
            get_backend(service).pop(self.account, None)

    def subnets(self, region: str) -> dict[str, str]:
        """By zone."""
        return {subnet.availability_zone: subnet.id for subnet in self._ec2(region).describe_subnets()}

    def default_group(self, region: str) -> str:
        groups = self._ec2(region).describe_security_groups(filters={"group-name": ["default"]})
        return str(groups[0].id)

    def rules(self, region: str, group: str) -> tuple[tuple[str, int | None, str], ...]:
        """What a security group lets in: protocol, first port, and a range or a group."""
        found = self._ec2(region).get_security_group_from_id(group).ingress_rules
        return tuple(
            (rule.ip_protocol, rule.from_port, rule.ip_range.get("CidrIp") or rule.source_group["GroupId"])
            for rule in found
        )

    def zone_of_subnet(self, region: str, subnet: str) -> str:
        for zone, name in self.subnets(region).items():
            if name == subnet:
                return zone
        raise Refusal("InvalidSubnetID.NotFound", f"The subnet ID '{subnet}' does not exist")

    def check_image(self, region: str, image: str) -> None:
        if not self._ec2(region).describe_images(filters={"image-id": image}):
            raise Refusal("InvalidAMIID.NotFound", f"The image id '[{image}]' does not exist")

    def check_groups(self, region: str, groups: Iterable[str]) -> None:
        for group in groups:
            if self._ec2(region).get_security_group_from_id(group) is None:
                raise Refusal("InvalidGroup.NotFound", f"The security group '{group}' does not exist")

    def vcpus(self, machine_type: str) -> int:
        if machine_type not in INSTANCE_TYPES:
            raise Refusal("InvalidParameterValue", f"Invalid value '{machine_type}' for InstanceType.")
        return int(INSTANCE_TYPES[machine_type]["VCpuInfo"]["DefaultVCpus"])

    def is_offered(self, region: str, machine_type: str, zone: str) -> bool:
        return (machine_type, zone) in _offered(region)

    def interfaces(self, region: str) -> dict[str, Any]:
        return dict(self._ec2(region).enis)

    def interfaces_of(self, rented: Rented) -> tuple[str, ...]:
        machine = self._ec2(rented.region).get_instance(rented.id)
        return tuple(sorted(interface.id for interface in machine.nics.values()))

    def belongings(self, rented: Rented, interfaces: Iterable[str]) -> list[str]:
        """Names of what came with the machine."""
        disks = [
            volume.id
            for volume in self._ec2(rented.region).volumes.values()
            if volume.attachment is not None and volume.attachment.instance.id == rented.id
        ]
        return [*disks, *interfaces]

    def tag(self, region: str, names: list[str], tags: Mapping[str, str]) -> None:
        self._ec2(region).create_tags(names, dict(tags))

    def show(self, rented: Rented, phase: str) -> None:
        """Makes moto's machine look as ours did at some moment, for its own filters too."""
        machine = self._ec2(rented.region).get_instance(rented.id)
        machine._state = InstanceState(phase, CODES[phase])  # noqa: SLF001 # moto has no setter
        code, message = rented.reason
        is_ending = phase in {"shutting-down", "terminated"}
        machine.state_reason = StateReason(message, code) if is_ending else StateReason()

    def place(self, rented: Rented, address: str) -> None:
        """Gives the machine another private address."""
        machine = self._ec2(rented.region).get_instance(rented.id)
        for interface in machine.nics.values():
            interface.private_ip_address = address
            interface.private_ip_addresses = [{"Primary": True, "PrivateIpAddress": address}]
            break

    def end(self, rented: Rented, interfaces: Iterable[str], *, with_disks: bool) -> None:
        """The disks and interfaces that end with a machine go when it is really over, not when that is asked for."""
        backend = self._ec2(rented.region)
        if not with_disks:
            for mapping in backend.get_instance(rented.id).block_device_mapping.values():
                mapping.delete_on_termination = False
        backend.terminate_instances([rented.id])
        for name in interfaces:
            backend.enis.pop(name, None)

    def open(self, region: str) -> None:
        """Makes the region what every account finds: networks, and one image."""
        self._ec2(region)

    def _ec2(self, region: str) -> Any:  # noqa: ANN401 # moto is untyped
        backend = get_backend("ec2")[self.account][region]
        if IMAGE not in backend.amis:
            image = next(each for each in amis.AMIS if each["ami_id"] == IMAGE)
            backend.amis[IMAGE] = amis.Ami(backend, **image, owner_alias="amazon")
        return backend


@lru_cache
def _offered(region: str) -> frozenset[tuple[str, str]]:
    rows = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, ())
    return frozenset((row["InstanceType"], row["Location"]) for row in rows)
