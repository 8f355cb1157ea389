"""Burst, on both databases: machines are bought when waiting costs more, form their Ray, run the work, and go."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.domain.attempts import AttemptState
from controlplane.domain.claims import CapacityType, Claim, ClaimState
from controlplane.domain.ids import JobId, QueueId
from controlplane.domain.queues import Queue
from controlplane.operations import explain
from controlplane.store import QuotaNode, Tx
from schedulers.fair.policy import Fair
from tests.unit.runtime.site_world import ADMIN, World, opened


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    """A cloud, and a queue whose work does not wait longer than a minute."""
    with opened(tmp_path, database_url, Fair()) as made:
        del made.cloud.machine_types["large"]  # costs no more there, and would always be taken
        made.register("cloud")
        made.services.store.write(_impatient)
        yield made


def _impatient(tx: Tx) -> None:
    for each in tx.queues.list(None, None, 10):
        node = Queue(id=QueueId(each.id), name="default/default", burst_after_seconds=60)
        tx.quotas.put(QuotaNode(queue=node, is_cohort=False), by="admin")


def claims(world: World) -> list[Claim]:
    with world.services.store.read() as tx:
        return tx.claims.list(None, 100)


def why(world: World, job: JobId) -> str:
    return explain.explain(world.services, ADMIN, job).code


def bought(world: World) -> tuple[JobId, Claim]:
    job = world.submit(tasks=2, resources={"cpus": 4})
    world.pass_time(70)
    (claim,) = claims(world)
    return job, claim


def test_nothing_is_bought_before_the_queue_has_lost_its_patience(world: World) -> None:
    job = world.submit(tasks=2, resources={"cpus": 4})
    world.pass_time(50)
    assert claims(world) == []
    world.pass_time(20)
    (claim,) = claims(world)
    assert (claim.machine_type, claim.machines_min, claim.capacity_type) == ("small", 2, CapacityType.SPOT)
    assert claim.price_millionths == 1_000_000
    assert claim.wanted_by == f"{job}.0"
    assert why(world, job) == "waiting_for_machines"


def test_what_was_bought_runs_the_work_and_goes_when_it_stands_idle(world: World) -> None:
    job, claim = bought(world)
    world.pass_time(20)
    world.check_in(claim, "m-0001", "up")
    world.reader.rays["https://10.0.0.1:8443"] = ("m-0001", "m-0002")
    world.pass_time(20)
    (attempt,) = world.attempts(job)
    assert attempt.claim_id == claim.id
    world.hello(attempt.id)
    world.exit(attempt.id)
    assert world.attempts(job)[0].state is AttemptState.ENDED
    world.pass_time(900, step=15)
    assert world.claim(claim.id).state is ClaimState.GONE
    assert world.cloud.machines == ()
    assert len(claims(world)) == 1


def test_a_sold_out_offer_leads_to_the_next_one(world: World) -> None:
    world.cloud.sold_out.add(("small", "a"))
    world.submit(tasks=2, resources={"cpus": 4})
    world.pass_time(200)
    gone = [each for each in claims(world) if each.state is ClaimState.GONE]
    live = [each for each in claims(world) if each.is_live]
    assert [each.zones for each in gone] == [("a",)]
    assert [each.zones for each in live] == [("b",)]
    assert {sold.zone for sold in world.cloud.bill} == {"b"}


def test_a_price_that_nobody_verified_buys_nothing(world: World) -> None:
    with world.services.store.read() as tx:
        offers = tx.offers.list()
    assert offers
    doubtful = [replace(each, is_price_verified=False) for each in offers]
    world.services.store.write(lambda tx: tx.offers.put(doubtful))
    world.submit(tasks=2, resources={"cpus": 4})
    world.pass_time(120)
    assert claims(world) == []
