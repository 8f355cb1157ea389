"""The real loops buy at two clouds through both vendors' SDKs: what one cannot give whole, the other does."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from cloud_adapters.alibaba.adapter import AlibabaAdapter
from cloud_adapters.aws.adapter import AwsAdapter
from cloud_adapters.base import Amounts
from controlplane.domain.attempts import Attempt
from controlplane.domain.claims import Claim
from controlplane.domain.clusters import Cluster, ClusterState
from controlplane.domain.ids import ClusterId, JobId, QueueId
from controlplane.domain.queues import Queue
from controlplane.operations.endpoints import seal
from controlplane.runtime.process import Loops
from controlplane.store import QuotaNode, Tx
from controlplane.store.migrating import upgrade
from schedulers.fair.policy import Fair
from tests.hypervisor import clouds
from tests.hypervisor.clouds import Account, Alibaba, Aws
from tests.unit.runtime.site_world import START, World, opened

GANG = 4
AWS_IS_CHEAPER = "CNY=0.2,USD=1"
MACHINE = Amounts(cpu_milli=4000, gpu_milli=1000, memory_bytes=2**33)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoClouds:
    world: World
    aws: Aws
    alibaba: Alibaba

    def claims(self) -> list[Claim]:
        with self.world.context.store.read() as tx:
            return tx.claims.list(None, 100)

    def asked(self) -> list[tuple[str, str]]:
        """Plugin and zone of each purchase that was tried, without repeating one."""
        with self.world.context.store.read() as tx:
            tried = [
                (claim.cluster_id, launch.zone)
                for claim in self.claims()
                for launch in tx.launches.of_claim(claim.id)
            ]
        return list(dict.fromkeys(tried))

    def runs_on(self, job: JobId) -> tuple[Attempt, Claim]:
        """The machines of the one claim that came form a Ray cluster, and the job starts there."""
        (claim,) = [each for each in self.claims() if each.is_coming]
        names = [*self.aws.machines(), *self.alibaba.machines()]
        answer = self.world.check_in(claim, names[0], "up", host="10.0.0.9")
        assert answer.role == "head"
        self.world.reader.rays["https://10.0.0.9:8443"] = tuple(names)
        self.world.pass_time(20)
        (attempt,) = self.world.attempts(job)
        return attempt, claim


@pytest.fixture
def two(tmp_path: Path) -> Iterator[TwoClouds]:
    url = f"sqlite:///{tmp_path}/plane.db"
    upgrade(url)
    with opened(tmp_path, url, Fair(), rates=AWS_IS_CHEAPER) as world:

        def now() -> datetime:
            return world.now

        with clouds.aws(now) as aws, clouds.alibaba(now) as alibaba:
            world.reader.node = MACHINE
            world.loops = Loops(
                world.context,
                adapters={
                    "ray": world.reader,
                    "aws": AwsAdapter(now=now),
                    "alibaba": AlibabaAdapter(now=now),
                },
                executor=world.executor,
                policy=world.policy,
                holder="me",
            )
            for account in (aws, alibaba):
                world.context.store.write(partial(_register, world=world, account=account))
            world.context.store.write(_be_impatient)
            world.settle()
            yield TwoClouds(world=world, aws=aws, alibaba=alibaba)


def _register(tx: Tx, *, world: World, account: Account) -> None:
    cluster = Cluster(
        id=ClusterId(account.kind),
        name=account.kind,
        adapter=account.kind,
        state=ClusterState.PENDING,
        since=START,
        created_at=START,
        secret_id=seal(world.context, tx, account.secret),
        settings=tuple(sorted(account.settings().items())),
    )
    tx.clusters.add(cluster)
    for noun in ("cluster", "orphan", "leftover", "offer"):
        tx.work.poke(noun, cluster.id)


def _be_impatient(tx: Tx) -> None:
    for each in tx.queues.list(None, None, 10):
        node = Queue(id=QueueId(each.id), name="default/default", burst_after_seconds=1)
        tx.quotas.put(QuotaNode(queue=node, is_cohort=False), by="admin")


def submit(two: TwoClouds) -> JobId:
    return two.world.submit(tasks=GANG, resources={"cpus": 1, "gpus": 1})


def test_sold_out_in_one_zone_it_is_bought_in_the_next_and_then_at_the_other_cloud(two: TwoClouds) -> None:
    for zone in two.aws.zones:
        two.aws.sell_out(zone)
    job = submit(two)
    two.world.pass_time(60)
    attempt, claim = two.runs_on(job)
    assert (attempt.claim_id, attempt.cluster_id) == (claim.id, "alibaba")
    assert [*dict.fromkeys(two.asked())][:3] == [
        ("aws", two.aws.zones[0]),
        ("aws", two.aws.zones[1]),
        ("alibaba", two.alibaba.zones[0]),
    ]
    assert two.aws.bill() == []
    assert len(two.alibaba.machines()) == GANG


def test_a_gang_of_four_that_finds_three_machines_takes_none_and_is_placed_elsewhere(two: TwoClouds) -> None:
    for zone in two.aws.zones:
        two.aws.sell_out(zone, left=GANG - 1)
    two.alibaba.server.account.short = 1  # the first zone gives three of four, and says that all is well
    job = submit(two)
    two.world.pass_time(90)
    attempt, claim = two.runs_on(job)
    assert attempt.claim_id == claim.id
    sold = Counter(two.alibaba.bill())
    assert sorted(sold.values()) == [GANG - 1, GANG]
    kept = Counter(two.alibaba.launches())
    assert list(kept.values()) == [GANG]
    assert sold[next(iter(kept))] == GANG
    assert two.aws.bill() == []
