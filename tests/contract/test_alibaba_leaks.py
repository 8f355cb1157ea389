"""The real loops buy at our ECS server through the vendor's SDK, while calls fail and replicas die at any step.

In the end the cloud has what the database says: nothing.
"""

import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from cloud_adapters.alibaba.client import Account, Answer
from cloud_adapters.alibaba.settings import settings_of
from tests.ecs_account import ELSEWHERE, GPU, HERE, Scene, open_scene
from tests.leaks import Fate, Site, opened

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


class Mortal(Account):
    """Every call to the cloud may be the last thing that a replica does, or the last that it does not."""

    fate: Fate

    def call(self, action: str, parameters: Mapping[str, object], *, until: float) -> Answer:
        self.fate.risk()
        answer = super().call(action, parameters, until=until)
        self.fate.risk()
        return answer


def vex(scene: Scene, chance: random.Random) -> None:
    served = scene.account
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
            scene.fail(chance.choice(ACTIONS), skips=chance.randrange(3), **how)


def site_of(scene: Scene, fate: Fate) -> Site:
    access = settings_of(scene.cluster).access
    mortal = Mortal(access)
    mortal.fate = fate
    scene.adapter._accounts[access] = mortal

    def calm() -> None:
        scene.server.faults.clear()
        scene.account.stock.clear()
        scene.account.list_lag_seconds = 20

    return Site(
        kind="alibaba",
        adapter=scene.adapter,
        cluster=scene.cluster,
        machine_type=GPU,
        zones=(HERE, ELSEWHERE),
        now=scene.clock,
        wait=scene.clock.wait,
        vex=lambda chance: vex(scene, chance),
        calm=calm,
        bought=lambda: [dict(each.tags)["crossdock.io/launch"] for each in scene.account.bill.values()],
        left=lambda: [*(each.id for each in scene.account.machines), *scene.account.things],
    )


def live(seed: int, folder: Path, template: Path) -> tuple[int, int]:
    """How many machines were sold, and how often a replica died."""
    fate = Fate(chance=random.Random(seed))
    with open_scene() as scene:
        world = opened(site_of(scene, fate), folder, fate, template=template)
        try:
            world.live()
            world.judge()
        finally:
            world.context.store.close()
        return len(scene.account.bill), world.replicas - 1


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_bought_twice_and_nothing_stays(seed: int, tmp_path: Path, sqlite_template: Path) -> None:
    live(seed, tmp_path, sqlite_template)


@pytest.mark.verify
@pytest.mark.timeout(1800)
def test_nothing_is_bought_twice_and_nothing_stays_on_fifty_more_seeds(
    tmp_path: Path, sqlite_template: Path
) -> None:
    sold = crashes = 0
    for seed in range(100, 150):
        folder = tmp_path / str(seed)
        folder.mkdir()
        machines, deaths = live(seed, folder, sqlite_template)
        sold += machines
        crashes += deaths
    assert sold > 200
    assert crashes > 50
