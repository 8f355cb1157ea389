"""The real loops buy at our ECS server through the vendor's SDK, while calls fail and replicas die at any step.

In the end the cloud has what the database says: nothing.
"""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cloud_adapters.alibaba.client import Account, Answer
from cloud_adapters.alibaba.settings import settings_of
from cloud_adapters.base import CapacityType
from controlplane.domain.claims import Claim, ClaimState
from controlplane.domain.clusters import Cluster, ClusterState
from controlplane.domain.errors import Conflict
from controlplane.domain.ids import ClusterId, TokenId
from controlplane.executors.fake import FakeExecutor
from controlplane.identity.principals import Principal, Role
from controlplane.operations import claims
from controlplane.operations.context import Context
from controlplane.operations.endpoints import seal
from controlplane.operations.ids import RandomIds
from controlplane.operations.setting_up import set_up
from controlplane.runtime.process import Loops
from controlplane.secrets.sealer import Sealer
from controlplane.settings import Settings
from controlplane.storage.file import FileStore
from controlplane.store import Store, Tx
from controlplane.store.migrating import upgrade
from schedulers.priority import Priority
from tests.ecs_account import ELSEWHERE, GPU, HERE, Scene, open_scene
from tests.inline_pool import InlinePool

ADMIN = Principal(token_id=TokenId("token"), name="admin", role=Role.ADMIN, project_id=None)
STEPS = 30
LAST_STEPS = 60
LAST_STEP_SECONDS = 30.0
"""Together half an hour: no machine ends by itself before an hour is over, which would hide a leak."""

ACTIONS = (
    "RunInstances",
    "DescribeInstances",
    "DeleteInstances",
    "ModifyInstanceAutoReleaseTime",
    "DescribeDisks",
)
FAULTS: tuple[Mapping[str, object], ...] = (
    {"loses_answer": True},
    {"loses_request": True},
    {"code": "ServiceUnavailable", "http_code": 503},
    {"code": "InternalError", "http_code": 500, "does_deed": True},
    {"code": "Throttling.User"},
    {"is_garbled": True, "http_code": 502},
    {"code": "Idempotence.Processing", "http_code": 403},
    {"code": "Forbidden.RAM", "http_code": 403},
)


class Crash(BaseException):
    """The replica dies here."""


class Mortal(Account):
    """Every call to the cloud may be the last thing that a replica does, or the last that it does not."""

    chance: random.Random
    is_safe = False

    def call(self, action: str, parameters: Mapping[str, object], *, until: float) -> Answer:
        self._risk()
        answer = super().call(action, parameters, until=until)
        self._risk()
        return answer

    def _risk(self) -> None:
        if not self.is_safe and self.chance.random() < 0.02:
            raise Crash


@dataclass(slots=True)
class World:
    scene: Scene
    context: Context
    chance: random.Random
    account: Mortal
    loops: Loops = field(init=False)
    replicas: int = 0

    def restart(self) -> None:
        self.replicas += 1
        self.loops = Loops(
            self.context,
            adapters={"alibaba": self.scene.adapter},
            executor=FakeExecutor(),
            policy=Priority(),
            holder=f"replica-{self.replicas}",
        )

    def pass_time(self, seconds: float) -> None:
        self.scene.clock.wait(seconds)
        is_due = True
        while is_due:
            try:
                for loop in self.loops.reconciling.values():
                    loop.drain(InlinePool())
            except Crash:
                self.restart()
            with self.context.store.read() as tx:
                dues = [tx.work.next_due(noun) for noun in self.loops.reconciling]
            is_due = any(due is not None and due <= self.scene.clock.at for due in dues)

    def claims(self) -> list[Claim]:
        return [view.claim for view in claims.listed(self.context, ADMIN, after=None, limit=1000)]

    def request(self) -> None:
        zones = [HERE, ELSEWHERE]
        self.chance.shuffle(zones)
        size = self.chance.randint(1, 3)
        wanted = claims.ClaimRequest(
            cluster="beijing",
            machine_type=GPU,
            capacity_type=self.chance.choice((CapacityType.SPOT, CapacityType.ON_DEMAND)),
            zones=tuple(zones),
            machines_min=size,
            machines_want=size + self.chance.randint(0, 1),
        )
        claims.request(self.context, ADMIN, wanted)

    def release(self) -> None:
        live = [claim for claim in self.claims() if claim.is_live]
        if live:
            try:
                claims.release(self.context, ADMIN, self.chance.choice(live).id)
            except Conflict:
                return  # it is being ended already

    def vex(self) -> None:
        """One thing goes wrong at the cloud."""
        served, chance = self.scene.account, self.chance
        alive = [machine.id for machine in served.machines]
        match chance.randrange(6):
            case 0:
                served.stock[GPU, chance.choice((HERE, ELSEWHERE))] = chance.randrange(4)
            case 1:
                served.doomed += 1
            case 2:
                served.short += 1
            case 3 if alive:
                chance.choice((served.reclaim, served.shut_down))(chance.choice(alive))
            case 4:
                served.keeps_disks = not served.keeps_disks
                served.list_lag_seconds = chance.uniform(0, 50)
            case _:
                how = dict(chance.choice(FAULTS))
                self.scene.fail(chance.choice(ACTIONS), skips=chance.randrange(3), **how)

    def step(self) -> None:
        match self.chance.randrange(6):
            case 0:
                self.request()
            case 1:
                self.release()
            case 2 | 3:
                self.vex()
            case _:
                self.pass_time(self.chance.uniform(1, 45))

    def calm_down(self) -> None:
        """No more faults, and nobody wants anything."""
        self.scene.server.faults.clear()
        self.scene.account.stock.clear()
        self.scene.account.list_lag_seconds = 20
        self.account.is_safe = True
        for claim in self.claims():
            if claim.state not in (ClaimState.TERMINATING, ClaimState.GONE):
                claims.release(self.context, ADMIN, claim.id)


def register(context: Context, tx: Tx, scene: Scene) -> None:
    assert scene.cluster.secret is not None
    cluster = Cluster(
        id=ClusterId(scene.cluster.id),
        name=scene.cluster.name,
        adapter="alibaba",
        state=ClusterState.PENDING,
        since=tx.now,
        created_at=tx.now,
        secret_id=seal(context, tx, scene.cluster.secret),
        settings=scene.cluster.settings,
    )
    tx.clusters.add(cluster)
    for noun in ("cluster", "orphan", "leftover"):
        tx.work.poke(noun, cluster.id)


def opened(scene: Scene, folder: Path, chance: random.Random) -> World:
    here = {"CROSSDOCK_HOME": str(folder), "CROSSDOCK_DATABASE_URL": f"sqlite:///{folder}/plane.db"}
    settings = replace(Settings.read(here), local_cluster=False)
    upgrade(settings.database_url)
    context = Context(
        store=Store.open(settings.database_url, now=scene.clock),
        objects=FileStore(folder / "objects"),
        ids=RandomIds(),
        sealer=Sealer(b"k" * 32),
        settings=settings,
    )
    set_up(context)
    context.store.write(lambda tx: register(context, tx, scene))
    access = settings_of(scene.cluster).access
    account = Mortal(access)
    account.chance = chance
    scene.adapter._accounts[access] = account
    world = World(scene=scene, context=context, chance=chance, account=account)
    world.restart()
    return world


def live(seed: int, folder: Path) -> World:
    chance = random.Random(seed)
    with open_scene() as scene:
        world = opened(scene, folder, chance)
        try:
            for _ in range(STEPS):
                world.step()
            world.calm_down()
            for _ in range(LAST_STEPS):
                world.pass_time(LAST_STEP_SECONDS)
            judge(world)
        finally:
            world.context.store.close()
    return world


def judge(world: World) -> None:
    served = world.scene.account
    assert {claim.state for claim in world.claims()} <= {ClaimState.GONE}
    assert [machine.id for machine in served.machines] == []
    assert list(served.things) == []
    bought = Counter(dict(machine.tags)["crossdock.io/launch"] for machine in served.bill.values())
    for claim in world.claims():
        for launch in claims.get(world.context, ADMIN, claim.id).launches:
            assert bought.pop(launch.id, 0) <= launch.machines
    assert not bought


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_bought_twice_and_nothing_stays(seed: int, tmp_path: Path) -> None:
    live(seed, tmp_path)


@pytest.mark.verify
@pytest.mark.timeout(1800)
def test_nothing_is_bought_twice_and_nothing_stays_on_fifty_more_seeds(tmp_path: Path) -> None:
    sold = crashes = 0
    for seed in range(100, 150):
        folder = tmp_path / str(seed)
        folder.mkdir()
        world = live(seed, folder)
        sold += len(world.scene.account.bill)
        crashes += world.replicas - 1
    assert sold > 200
    assert crashes > 50
