"""An account at our ECS server, and the adapter that speaks to it through the vendor's SDK."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cloud_adapters.alibaba.adapter import AlibabaAdapter
from cloud_adapters.alibaba.server import EcsServer, Fault, Secret, ServedAccount
from cloud_adapters.base import Boot, CapacityType, ClusterRef, LaunchOrder

KEY_ID = "test-key-id"
KEY_SECRET = "test-key-secret"
LENT_ID = "lent-key-id"
LENT_SECRET = "lent-key-secret"
LENT_TOKEN = "lent-security-token"
OLD_ID = "old-key-id"
BOOT_TOKEN = "token-of-one-launch"
SECRETS = (KEY_SECRET, LENT_SECRET, LENT_TOKEN, BOOT_TOKEN)

GPU = "ecs.gn7i-c8g1.2xlarge"
EIGHT_GPUS = "ecs.gn7e-c16g1.32xlarge"
HERE, ELSEWHERE, NOWHERE = "cn-beijing-h", "cn-beijing-i", "cn-beijing-z"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
DEADLINE = 15.0

SETTINGS = (
    ("image_id", "m-image"),
    ("machine_types", f"{GPU},{EIGHT_GPUS}"),
    ("ram_role_name", "crossdock-node"),
    ("region", "cn-beijing"),
    ("security_group_id", "sg-nodes"),
    ("vswitches", f"{HERE}=vsw-h,{ELSEWHERE}=vsw-i,{NOWHERE}=vsw-z"),
)


@dataclass(slots=True)
class Clock:
    at: datetime = START

    def __call__(self) -> datetime:
        return self.at

    def wait(self, seconds: float = 60.0) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    clock: Clock
    server: EcsServer
    adapter: AlibabaAdapter
    cluster: ClusterRef

    @property
    def account(self) -> ServedAccount:
        return self.server.account

    @property
    def order(self) -> LaunchOrder:
        return LaunchOrder(
            cluster=self.cluster,
            claim_id="claim-1",
            launch_id="claim-1-g1-l1",
            zone=HERE,
            machine_type=GPU,
            capacity_type=CapacityType.SPOT,
            machines=2,
            boot=Boot(urls=("https://plane.example:8443",), token=BOOT_TOKEN),
        )

    def ensure(self, **changed: object) -> list[str]:
        order = replace(self.order, **changed)  # type: ignore[arg-type] # fields of the order
        return [machine.name for machine in self.adapter.ensure(order, deadline=DEADLINE)]

    def fail(self, action: str, **how: object) -> None:
        self.server.faults.append(Fault(action=action, **how))  # type: ignore[arg-type] # fields of the fault

    def alive(self) -> list[str]:
        """The truth."""
        return [machine.id for machine in self.account.machines]

    def with_keys(self, **keys: str) -> ClusterRef:
        return replace(self.cluster, secret=json.dumps(keys))

    def with_settings(self, **settings: str) -> ClusterRef:
        return replace(
            self.cluster, settings=tuple(sorted({**dict(self.cluster.settings), **settings}.items()))
        )


@contextmanager
def open_scene() -> Iterator[Scene]:
    clock = Clock()
    secrets = {
        KEY_ID: Secret(text=KEY_SECRET),
        LENT_ID: Secret(text=LENT_SECRET, security_token=LENT_TOKEN),
        OLD_ID: Secret(text=LENT_SECRET, security_token=LENT_TOKEN, has_expired=True),
    }
    with EcsServer(ServedAccount(now=clock, list_lag_seconds=20), secrets=secrets) as server:
        cluster = ClusterRef(
            id="cluster-1",
            name="beijing",
            endpoint=None,
            settings=(("endpoint", server.endpoint), *SETTINGS),
            secret=json.dumps({"access_key_id": KEY_ID, "access_key_secret": KEY_SECRET}),
        )
        yield Scene(clock=clock, server=server, adapter=AlibabaAdapter(now=clock), cluster=cluster)
