"""Clouds whose machines boot: the strict EC2 and our ECS, spoken to by the real SDKs, over one hypervisor."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from cloud_adapters.alibaba.server import EcsServer, Secret, ServedAccount
from cloud_adapters.alibaba.server_account import Machine
from cloud_adapters.alibaba.translate import LAUNCH_TAG
from cloud_adapters.aws.adapter import AwsAdapter
from cloud_adapters.aws.server import IMAGE, StrictEc2
from cloud_adapters.base import ClusterRef
from tests.hypervisor.hypervisor import Guest, Hypervisor
from tests.hypervisor.relays import Cloud, Metadata

GPUS: Final = 1
"""Of a machine of the types below. That they are none does not matter to who computes without."""

LOGS: Final = ("cloud-init-output.log", "crossdock-machine.service.log", "crossdock-ray.log")
RECLAIM_NOTICE: Final = timedelta(minutes=5)
KEY_ID, KEY_SECRET = "test-key-id", "test-key-secret"


class Hall:
    """Where the machines of clouds stand. They are switched on and off one after the other, and no cloud waits."""

    def __init__(self, *, reach: Sequence[int]) -> None:
        """`reach`: ports of the host's loopback that machines find on their own."""
        self.metadata: dict[str, Metadata] = {}
        self.booted: dict[str, Guest] = {}
        self.hypervisor = Hypervisor(reach=reach, on_end=self._ended)
        self._tell: dict[str, Callable[[str], None]] = {}
        self._switch = ThreadPoolExecutor(1)
        self._switched: list[Future[None]] = []
        self._guard = threading.Lock()
        self._is_closed = False

    def on(self, name: str, user_data: str, cloud: Cloud, *, tell_end: Callable[[str], None]) -> str:
        """The machine's address; `tell_end` hears when it has ended, whoever ended it."""
        address = self.hypervisor.next_address()
        self.metadata[name] = Metadata.of(cloud, name, address)
        self._tell[name] = tell_end
        self._to_switch(self._boot, name, user_data, address)
        return address

    def off(self, name: str) -> None:
        self._to_switch(self.hypervisor.kill, name)

    def close(self) -> None:
        """Clouds may go on to say what they like: nothing is switched any more."""
        with self._guard:
            self._is_closed = True
        self._switch.shutdown(cancel_futures=True)
        self.hypervisor.__exit__()

    def check(self) -> None:
        """Raises what went wrong with a switch."""
        for each in self._switched:
            if each.done():
                each.result()

    def story(self) -> str:
        """What there is to know of the machines that stand when a wait was in vain."""
        told = []
        for name in self.hypervisor.addresses:
            guest = self.booted[name]
            told.append(f"--- {name}\n{guest.console[-1000:]}")
            told += [f"- {each}\n{guest.log(each)[-1500:]}" for each in LOGS]
        return "\n".join(told)

    def _to_switch(self, deed: Callable[..., None], *arguments: str) -> None:
        with self._guard:
            if not self._is_closed:
                self._switched.append(self._switch.submit(deed, *arguments))

    def _boot(self, name: str, user_data: str, address: str) -> None:
        self.booted[name] = self.hypervisor.boot(
            name, user_data=user_data, metadata=self.metadata[name], address=address, gpus=GPUS
        )

    def _ended(self, name: str) -> None:
        self._tell[name](name)


@contextmanager
def standing(*, reach: Sequence[int]) -> Iterator[Hall]:
    made = Hall(reach=reach)
    try:
        yield made
    finally:
        made.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Aws:
    """An account at EC2, as a test sees it."""

    cloud: StrictEc2
    address: str
    """Host and port."""

    hall: Hall | None
    now: Callable[[], datetime]
    kind: str = "aws"
    """The plugin's name."""

    machine_type: str = "g5.xlarge"
    zones: tuple[str, ...] = ("us-east-1a", "us-east-1b")

    @property
    def secret(self) -> str:
        return self.cloud.secret

    def settings(self, address: str | None = None) -> dict[str, str]:
        """What the account's cluster is registered with; `address`: of a proxy before it."""
        return {
            "regions": "us-east-1",
            "subnets": ",".join(f"{zone}={self.cloud.subnet_of(zone)}" for zone in self.zones),
            "images": f"us-east-1={IMAGE}",
            "machine_types": self.machine_type,
            "endpoint_url": f"http://{address or self.address}",
        }

    def machines(self) -> list[str]:
        """The truth: all that cost money now."""
        self.cloud.tick()
        return [each.id for each in self.cloud.machines]

    def launches(self) -> list[str]:
        """The truth: the launch that each machine was bought for which costs money now."""
        self.cloud.tick()
        return [each.token for each in self.cloud.machines]

    def bill(self) -> list[str]:
        """The truth: the launch of each machine that was ever sold."""
        return [each.token for each in self.cloud.bill]

    def sell_out(self, zone: str, *, left: int = 0) -> None:
        for market in ("spot", "on-demand"):
            self.cloud.stock[self.machine_type, zone, market] = left

    def reclaim(self, machine: str) -> None:
        """The market takes a spot machine back; the metadata tells it."""
        self.cloud.interrupt(machine)
        if self.hall is not None:
            self.hall.metadata[machine].values.update(self.cloud.metadata(machine))

    def take(self, machine: str) -> None:
        """It ends, whatever runs there."""
        self.cloud.end(machine, "Server.SpotInstanceTermination", "Spot instance termination")

    def left(self, cluster_id: str) -> list[str]:
        """Whatever is there beside machines that was made for a cluster."""
        settings = tuple(sorted(self.settings().items()))
        cluster = ClusterRef(
            id=cluster_id, name="", endpoint=None, settings=settings, secret=self.cloud.secret
        )
        return [each.name for each in AwsAdapter().leftovers(cluster, deadline=30.0)]


@contextmanager
def aws(now: Callable[[], datetime], hall: Hall | None = None) -> Iterator[Aws]:
    """Without a hall its machines only claim to run."""
    cloud = StrictEc2(now=now, boot_seconds=1.0, stop_seconds=1.0)
    if hall is not None:
        cloud.on_launch = lambda machine: hall.on(
            machine.id, machine.user_data, Cloud.AWS, tell_end=cloud.machine_ended
        )
        cloud.on_terminate = lambda machine: hall.off(machine.id)
    with cloud.serving() as url:
        yield Aws(cloud=cloud, address=url.removeprefix("http://"), hall=hall, now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alibaba:
    """An account at ECS, with the verbs of the one above."""

    server: EcsServer
    hall: Hall | None
    now: Callable[[], datetime]
    kind: str = "alibaba"
    machine_type: str = "ecs.gn7i-c8g1.2xlarge"
    zones: tuple[str, ...] = ("cn-beijing-h", "cn-beijing-i")
    secret: str = field(
        default=json.dumps({"access_key_id": KEY_ID, "access_key_secret": KEY_SECRET}), repr=False
    )

    @property
    def address(self) -> str:
        return self.server.endpoint

    def settings(self, address: str | None = None) -> dict[str, str]:
        return {
            "region": "cn-beijing",
            "vswitches": ",".join(f"{zone}=vsw-{zone[-1]}" for zone in self.zones),
            "security_group_id": "sg-nodes",
            "image_id": "m-image",
            "machine_types": self.machine_type,
            "endpoint": address or self.address,
        }

    def machines(self) -> list[str]:
        self.server.settle()
        return [each.id for each in self.server.account.machines]

    def launches(self) -> list[str]:
        self.server.settle()
        return [dict(each.tags)[LAUNCH_TAG] for each in self.server.account.machines]

    def bill(self) -> list[str]:
        return [dict(each.tags)[LAUNCH_TAG] for each in self.server.account.bill.values()]

    def sell_out(self, zone: str, *, left: int = 0) -> None:
        self.server.account.stock[self.machine_type, zone] = left

    def reclaim(self, machine: str) -> None:
        self.server.account.reclaim(machine)
        if self.hall is not None:
            at = (self.now() + RECLAIM_NOTICE).strftime("%Y-%m-%dT%H:%M:%SZ")
            self.hall.metadata[machine].give_notice(at)

    def take(self, machine: str) -> None:
        account = self.server.account
        account.bill[machine].release_at = account.now()
        self.server.settle()

    def left(self, cluster_id: str) -> list[str]:
        del cluster_id  # nothing else is made here
        return list(self.server.account.things)


Account: TypeAlias = Aws | Alibaba


@contextmanager
def alibaba(now: Callable[[], datetime], hall: Hall | None = None) -> Iterator[Alibaba]:
    """Without a hall its machines only claim to run."""
    account = ServedAccount(now=now, pending_seconds=0.5, starting_seconds=1.0, stopping_seconds=1.0)
    if hall is not None:
        _let_boot(account, hall)
    with EcsServer(account, secrets={KEY_ID: Secret(text=KEY_SECRET)}) as server:
        yield Alibaba(server=server, hall=hall, now=now)


def _let_boot(account: ServedAccount, hall: Hall) -> None:
    def shut_down(name: str) -> None:
        if account.bill[name].ended_at is None:
            account.shut_down(name)

    def boot(machine: Machine) -> None:
        machine.private_ip = hall.on(machine.id, machine.user_data, Cloud.ALIBABA, tell_end=shut_down)

    account.on_launch = boot
    account.on_terminate = lambda machine: hall.off(machine.id)


def account(
    kind: str, now: Callable[[], datetime], hall: Hall | None = None
) -> AbstractContextManager[Aws | Alibaba]:
    """By the name of its plugin."""
    return aws(now, hall) if kind == "aws" else alibaba(now, hall)
