"""Machines that really boot: from rendered user data to one Ray cluster that is dialled over TLS, and to their end."""

import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from cloud_adapters.base import (
    CLAIM_LABEL,
    AuthFailed,
    Boot,
    CapacityType,
    ClusterRef,
    Endpoint,
    Inventory,
    LaunchOrder,
    Route,
    Transient,
)
from cloud_adapters.boot.user_data import render
from cloud_adapters.ray_state import RayState
from controlplane.secrets.certificates import claim_authority
from tests.hypervisor import namespaces
from tests.hypervisor.desk import BOOT_TOKEN, RAY_TOKEN, TLS_PORT, Desk
from tests.hypervisor.hypervisor import Guest, Hypervisor
from tests.hypervisor.relays import Cloud, Metadata
from tests.parts import require_part

pytestmark = [pytest.mark.verify, pytest.mark.timeout(600)]

JOIN_SECONDS: Final = 240.0
CALL_SECONDS: Final = 30.0


class Site:
    """A desk, and machines that find it."""

    def __init__(self, desk: Desk, hypervisor: Hypervisor) -> None:
        self.desk = desk
        self.hypervisor = hypervisor
        self.metadata: dict[str, Metadata] = {}

    def boot(self, name: str, cloud: Cloud = Cloud.AWS, *, token: str = BOOT_TOKEN) -> Guest:
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
            name, user_data=render(order), metadata=self.metadata[name], address=address
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
            for path in ("cloud-init-output.log", "crossdock-machine.service.log", "crossdock-ray.log"):
                told.append(f"- {path}\n{guest.log(path)[-2000:]}")
        return "\n".join(told)

    def wait(self, condition: Callable[[], bool], seconds: float = JOIN_SECONDS) -> None:
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until or not self.hypervisor.addresses:
                pytest.fail(self.story())
            time.sleep(0.1)  # poll


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Desk() as opened:
        yield opened


@pytest.fixture
def site(desk: Desk) -> Iterator[Site]:
    require_part("ray", find_spec("ray") is not None, "it is not installed")
    require_part("namespaces", namespaces.is_available(), "needs root and Linux namespaces")
    with Hypervisor(reach=(desk.port,)) as hypervisor:
        yield Site(desk, hypervisor)


def test_three_machines_become_one_cluster_that_is_dialled_over_tls_alone(site: Site) -> None:
    names = ("i-1", "i-2", "i-3")
    guests = {name: site.boot(name, Cloud.ALIBABA if name == "i-3" else Cloud.AWS) for name in names}
    site.wait(lambda: site.phases() == dict.fromkeys(names, "up"))
    site.wait(lambda: len(site.inventory().machines) == 3)

    machines = site.inventory().machines
    labels = [dict(machine.labels) for machine in machines]
    assert sorted(each["crossdock.io/machine"] for each in labels) == list(names)
    assert {each[CLAIM_LABEL] for each in labels} == {"clm-1"}
    assert {each["zone"] for each in labels} == {"z1"}
    assert sorted(machine.host for machine in machines) == sorted(guest.address for guest in guests.values())

    with pytest.raises(AuthFailed):
        site.inventory(token="a guess")
    stranger = claim_authority(
        site.desk.authority.server_name,
        now=datetime.now(UTC),
        validity=timedelta(days=1),
    )
    with pytest.raises(Transient, match="certificate"):
        site.inventory(ca_pem=stranger.ca_pem)
