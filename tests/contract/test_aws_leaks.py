"""The real loops buy at a strict EC2 through the real SDK, while calls fail and replicas die at any step.

In the end the cloud has what the database says: nothing.
"""

import random
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from time import monotonic

import pytest

from cloud_adapters.aws.adapter import AwsAdapter
from cloud_adapters.aws.client import Account, Act, Answer, Calls
from cloud_adapters.aws.server import Fault, StrictEc2
from tests.aws import TYPE, ZONES, Aws, account
from tests.leaks import Fate, Site, opened

HERE = ZONES[:2]
ACTIONS = (
    "RunInstances",
    "DescribeInstances",
    "TerminateInstances",
    "CreateSecurityGroup",
    "DescribeVolumes",
    "DeleteVolume",
    "*",
)
FAULTS = (
    Fault(action="", is_done=True),
    Fault(action=""),
    Fault(action="", code="InternalError", http_code=500, is_done=True),
    Fault(action="", code="Unavailable", http_code=503),
    Fault(action="", code="RequestLimitExceeded", http_code=503),
    Fault(action="", code="UnauthorizedOperation", http_code=403),
    Fault(action="", code="ExpiredToken", http_code=400),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MortalCalls(Calls):
    """Every call to the cloud may be the last thing that a replica does, or the last that it does not."""

    fate: Fate

    def ask(self, act: Act, region: str, **parameters: object) -> Answer:
        self.fate.risk()
        answer = Calls.ask(self, act, region, **parameters)
        self.fate.risk()
        return answer


class MortalAccount(Account):
    fate: Fate

    def until(self, deadline: float) -> Calls:
        return MortalCalls(account=self, ends_at=monotonic() + deadline, fate=self.fate)


def vex(cloud: StrictEc2, chance: random.Random) -> None:
    alive = [machine.id for machine in cloud.machines]
    match chance.randrange(6):
        case 0:
            way = chance.choice(("spot", "on-demand"))
            cloud.stock[TYPE, chance.choice(HERE), way] = chance.randrange(4)
        case 1 if alive:
            chance.choice((cloud.interrupt, cloud.machine_ended))(chance.choice(alive))
        case 2:
            cloud.leaves_disks = not cloud.leaves_disks
            cloud.list_lag_seconds = chance.uniform(0, 50)
        case _:
            how = chance.choice(FAULTS)
            fault = replace(
                how, action=chance.choice(ACTIONS), after=chance.randrange(3), times=chance.randint(1, 3)
            )
            cloud.faults.append(fault)


def site_of(aws: Aws, fate: Fate) -> Site:
    cloud = aws.cloud
    cluster = aws.cluster(
        regions="us-east-1",
        subnets=",".join(f"{zone}={cloud.subnet_of(zone)}" for zone in HERE),
        machine_types=TYPE,
    )
    adapter = AwsAdapter(list_lag=timedelta(seconds=60), now=aws.clock)
    mortal = MortalAccount(cluster.secret, aws.url)
    mortal.fate = fate
    adapter._account = lambda *_: mortal  # type: ignore[assignment]

    def wait(seconds: float) -> None:
        aws.clock.at += timedelta(seconds=seconds)
        cloud.tick()

    def calm() -> None:
        cloud.faults.clear()
        cloud.stock.clear()
        cloud.list_lag_seconds = 20

    def left() -> list[str]:
        found = adapter.leftovers(cluster, deadline=30.0)
        return [*(each.id for each in cloud.machines), *(each.name for each in found if each.claim_id)]

    return Site(
        kind="aws",
        adapter=adapter,
        cluster=cluster,
        machine_type=TYPE,
        zones=HERE,
        now=aws.clock,
        wait=wait,
        vex=lambda chance: vex(cloud, chance),
        calm=calm,
        bought=lambda: [machine.token for machine in cloud.bill],
        left=left,
    )


def live(seed: int, folder: Path, template: Path) -> tuple[int, int]:
    """How many machines were sold, and how often a replica died."""
    fate = Fate(chance=random.Random(seed))
    with account() as aws:
        world = opened(site_of(aws, fate), folder, fate, template=template)
        try:
            world.live()
            world.judge()
        finally:
            world.context.store.close()
        return len(aws.cloud.bill), world.replicas - 1


def test_nothing_is_bought_twice_and_nothing_stays(tmp_path: Path, sqlite_template: Path) -> None:
    sold, _ = live(101, tmp_path, sqlite_template)
    assert sold > 0


@pytest.mark.verify
@pytest.mark.timeout(3000)
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
