"""A site: machines that boot from rendered user data, and the desk where they check in."""

import time
from collections.abc import Callable
from typing import Final

import pytest

from cloud_adapters.base import Boot, CapacityType, ClusterRef, Endpoint, Inventory, LaunchOrder, Route
from cloud_adapters.boot.user_data import render
from cloud_adapters.ray_state import RayState
from tests.hypervisor.desk import BOOT_TOKEN, RAY_TOKEN, TLS_PORT, Desk
from tests.hypervisor.hypervisor import PATIENT_RAY, Guest, Hypervisor
from tests.hypervisor.relays import Cloud, Metadata

JOIN_SECONDS: Final = 400.0
CALL_SECONDS: Final = 30.0
LOGS: Final = ("cloud-init-output.log", "crossdock-machine.service.log", "crossdock-ray.log")


class Site:
    """A desk, and machines that find it."""

    def __init__(self, desk: Desk, hypervisor: Hypervisor) -> None:
        self.desk = desk
        self.hypervisor = hypervisor
        self.metadata: dict[str, Metadata] = {}

    def boot(
        self, name: str, cloud: Cloud = Cloud.AWS, *, token: str = BOOT_TOKEN, ray: str = PATIENT_RAY
    ) -> Guest:
        boot = Boot(
            urls=(f"http://127.0.0.1:{self.desk.port}",),
            token=token,
            dead_man_seconds=self.desk.dead_man_seconds,
        )
        order = LaunchOrder(
            cluster=ClusterRef(id="c1", name="c1", endpoint=None),
            claim_id="clm-1",
            launch_id="lch-1",
            zone="z1",
            machine_type="t1",
            capacity_type=CapacityType.SPOT,
            machines=3,
            boot=boot,
        )
        address = self.hypervisor.next_address()
        self.metadata[name] = Metadata.of(cloud, name, address)
        return self.hypervisor.boot(
            name, user_data=render(order), metadata=self.metadata[name], address=address, ray=ray
        )

    def endpoint(self, *, token: str = RAY_TOKEN, ca_pem: str | None = None) -> Endpoint:
        head = self.desk.head
        assert head is not None
        authority = self.desk.authority
        route = Route(ca_pem=ca_pem or authority.ca_pem, server_name=authority.server_name)
        return Endpoint(url=f"https://{head['host']}:{TLS_PORT}", token=token, route=route)

    def inventory(self, **endpoint: str) -> Inventory:
        return RayState().inventory(self.endpoint(**endpoint), deadline=CALL_SECONDS)

    def phases(self) -> dict[str, str]:
        return {name: said["phase"] for name, said in sorted(self.desk.latest().items())}

    def story(self) -> str:
        """What there is to know when a wait was in vain."""
        told = [f"{self.phases()} {self.desk.latest()}"]
        for guest in self.hypervisor._guests.values():
            told.append(f"--- {guest.name} {guest.cell.exit_code}\n{guest.console[-2000:]}")
            told.extend(f"- {name}\n{guest.log(name)[-2000:]}" for name in LOGS)
        return "\n".join(told)

    def wait(self, condition: Callable[[], bool], seconds: float = JOIN_SECONDS) -> None:
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until or not self.hypervisor.addresses:
                pytest.fail(self.story())
            time.sleep(0.1)  # poll
