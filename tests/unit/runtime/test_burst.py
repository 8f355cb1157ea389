"""Burst, on both databases: machines are bought when waiting costs more, form their Ray, run the work, and go."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from cloud_adapters.base import AuthFailed, PluginError, Transient
from cloud_adapters.fake_cloud import FakeCloud
from controlplane.domain.amounts import Amounts
from controlplane.domain.attempts import AttemptState
from controlplane.domain.budgets import Budget, Window
from controlplane.domain.claims import CapacityType, Claim, ClaimState
from controlplane.domain.costs import UNITS
from controlplane.domain.ids import JobId, QueueId
from controlplane.domain.jobs import ask_id
from controlplane.domain.queues import Queue
from controlplane.domain.residency import Residency, Subject
from controlplane.operations import budgets, explain
from controlplane.operations.purchases import PurchaseRefusal, Purchasing, apply_provisions, offer_id
from controlplane.reconcilers.claims import PATIENCE
from controlplane.runtime.process import Loops
from controlplane.store import QuotaNode, Tx
from schedulers.base import Provision
from schedulers.fair.policy import Fair
from tests.databases import postgresql_in_verify
from tests.unit.runtime.site_world import ADMIN, World, opened

Answer = TypeVar("Answer")


class Revoked(FakeCloud):
    """Whoever orders there finds that its keys are no longer taken."""

    has_keys = True

    def _call(
        self, verb: str, subject: str, deed: Callable[[], Answer], *, lost: type[PluginError] = Transient
    ) -> Answer:
        self.has_keys = self.has_keys and verb != "ensure"
        if not self.has_keys:
            raise AuthFailed(f"{verb}: the keys were refused")
        return super()._call(verb, subject, deed, lost=lost)


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    """A cloud, and a queue whose work does not wait longer than a minute."""
    with opened(tmp_path, database_url, Fair(), rates="CNY=0.14,USD=1") as made:
        del made.cloud.machine_types["large"]  # costs no more there, and would always be taken
        made.register("cloud")
        made.context.store.write(_impatient)
        yield made


def _impatient(tx: Tx) -> None:
    for each in tx.queues.list(None, None, 10):
        node = Queue(id=QueueId(each.id), name="default/default", burst_after_seconds=60)
        tx.quotas.put(QuotaNode(queue=node, is_cohort=False), by="admin")


def claims(world: World) -> list[Claim]:
    with world.context.store.read() as tx:
        return tx.claims.list(None, 100)


def why(world: World, job: JobId) -> str:
    return explain.explain(world.context, ADMIN, job).code


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


def test_machines_for_a_gang_with_roles_are_of_one_kind_as_one_ray_cluster_is(world: World) -> None:
    world.cloud.machine_types["little"] = Amounts(cpu_milli=1000)  # first of equal prices, for the head alone
    world.pass_time(600)
    head, rest = {"name": "head", "resources": {"cpus": 1}}, {"name": "rest", "resources": {"cpus": 4}}
    job = world.submit(roles=[head, rest | {"tasks": 2}])
    world.pass_time(70)
    (claim,) = claims(world)
    assert (claim.machine_type, claim.machines_min) == ("small", 3)
    assert why(world, job) == "waiting_for_machines"


@postgresql_in_verify
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
    world.pass_time(world.context.settings.idle_seconds - 60, step=15)
    assert world.claim(claim.id).release_requested_at is None  # no plan gives it back before
    world.pass_time(360, step=15)
    assert world.claim(claim.id).state is ClaimState.GONE
    assert world.cloud.machines == ()
    assert len(claims(world)) == 1


def test_what_is_taken_back_is_bought_anew_wherever_it_is_to_be_had_then(world: World) -> None:
    job, claim = bought(world)
    world.pass_time(20)
    world.check_in(claim, "m-0001", "up")
    world.reader.rays["https://10.0.0.1:8443"] = ("m-0001", "m-0002")
    world.pass_time(20)
    world.hello(world.attempts(job)[0].id)
    world.cloud.sold_out.add(("small", claim.zones[0]))
    notice = {"kind": "spot", "at": "2026-01-01T00:05:00Z"}
    world.check_in(claim, "m-0002", "up", notice=notice)
    world.settle()
    attempt = world.attempts(job)[0]
    assert attempt.state is AttemptState.STOPPING
    world.say(attempt.id, 2, "exit", code=143, reason="stopped", signal=15, final=True, log_bytes=0)
    world.pass_time(60)
    assert world.claim(claim.id).release_requested_at is not None
    (anew,) = [each for each in claims(world) if each.is_coming]
    assert anew.wanted_by == claim.wanted_by
    assert anew.zones != claim.zones
    assert {sold.zone for sold in world.cloud.machines} == set(anew.zones)


def test_a_sold_out_offer_leads_to_the_next_one(world: World) -> None:
    world.cloud.sold_out.add(("small", "a"))
    world.submit(tasks=2, resources={"cpus": 4})
    world.pass_time(200)
    gone = [each for each in claims(world) if each.state is ClaimState.GONE]
    live = [each for each in claims(world) if each.is_live]
    assert [each.zones for each in gone] == [("a",)]
    assert [each.zones for each in live] == [("b",)]
    assert {sold.zone for sold in world.cloud.bill} == {"b"}


@postgresql_in_verify
def test_a_cloud_that_takes_the_keys_no_more_is_not_waited_for(world: World) -> None:
    first, second = Revoked(lambda: world.now), world.cloud
    first.is_one_ray = False
    world.loops = Loops(
        world.context,
        adapters={"ray": world.reader, "cloud": first, "other": second},
        executor=world.executor,
        policy=world.policy,
        holder="me",
    )
    world.loops.scheduling._policy_seconds = math.inf  # else each plan is watched by a thread
    _, claim = bought(world)
    world.register("other")
    world.pass_time(PATIENCE.total_seconds() - 30)
    assert [each.id for each in claims(world)] == [claim.id]

    world.pass_time(120)
    (anew,) = [each for each in claims(world) if each.is_coming]
    assert (anew.cluster_id, anew.wanted_by) == ("cluster_other", claim.wanted_by)
    assert len(second.machines) == 2
    left = world.claim(claim.id)
    assert (left.state, left.problem) == (ClaimState.TERMINATING, "terminate: the keys were refused")

    world.pass_time(3600, step=60)
    assert world.claim(claim.id).state is ClaimState.TERMINATING  # nobody knows what it holds

    first.has_keys = True
    world.pass_time(120)
    assert world.claim(claim.id).state is ClaimState.GONE


def test_a_price_that_nobody_verified_buys_nothing(world: World) -> None:
    with world.context.store.read() as tx:
        offers = tx.offers.list()
    assert offers
    doubtful = [replace(each, is_price_verified=False) for each in offers]
    world.context.store.write(lambda tx: tx.offers.put(doubtful))
    world.submit(tasks=2, resources={"cpus": 4})
    world.pass_time(120)
    assert claims(world) == []


def test_nothing_is_bought_where_the_project_may_not_be(world: World) -> None:
    def rule(regions: tuple[str, ...]) -> None:
        def unit(tx: Tx) -> None:
            for project in tx.projects.list(None, 10):
                tx.residencies.put(Subject.PROJECT, project.id, Residency(regions=regions), by="admin")

        world.context.store.write(unit)

    job = world.submit(tasks=2, resources={"cpus": 4})
    rule(("eu",))
    world.pass_time(120)
    assert claims(world) == []
    told = explain.explain(world.context, ADMIN, job)
    assert (told.code, "may run on regions eu" in told.sentence) == ("residency", True)
    rule(())
    world.pass_time(10)
    assert len(claims(world)) == 1


def allow(world: World, millionths: int, currency: str = "USD") -> None:
    def unit(tx: Tx) -> None:
        for each in tx.queues.list(None, None, 10):
            budget = Budget(
                queue_id=QueueId(each.id),
                currency=currency,
                window=Window.MONTH,
                limit_millionths=millionths,
            )
            tx.budgets.put(budget, by="admin")

    world.context.store.write(unit)


@postgresql_in_verify
def test_a_budget_that_is_too_small_buys_nothing_and_says_so(world: World) -> None:
    allow(world, 1_900_000)
    job = world.submit(tasks=2, resources={"cpus": 4})
    world.pass_time(120)
    assert claims(world) == []
    told = explain.explain(world.context, ADMIN, job)
    assert told.code == "over_budget"
    assert "USD, and 1.90 are left in the budget of" in told.sentence


def test_what_is_promised_to_one_purchase_is_not_spent_on_the_next(world: World) -> None:
    allow(world, 3_000_000)
    world.submit(tasks=2, resources={"cpus": 4})
    world.submit(tasks=2, resources={"cpus": 4})
    world.pass_time(200)
    (claim,) = claims(world)
    assert claim.queue_id is not None
    assert claim.expected_millionths is not None
    assert 2_000_000 < claim.expected_millionths < 3_000_000
    with world.context.store.read() as tx:
        (standing,) = budgets.standings(tx)
    assert standing.promised_units + standing.spent_units == claim.expected_millionths * UNITS
    assert standing.spent_units > 0


def test_money_of_another_currency_buys_nothing(world: World) -> None:
    allow(world, 10**9, currency="CNY")
    job = world.submit(tasks=2, resources={"cpus": 4})
    world.pass_time(120)
    assert claims(world) == []
    assert why(world, job) == "over_budget"


def test_a_plan_that_would_overdraw_a_budget_is_refused(world: World) -> None:
    job = world.submit(tasks=2, resources={"cpus": 4})
    world.pass_time(10)
    allow(world, 5_000_000)
    with world.context.store.read() as tx:
        offer = next(each for each in tx.offers.list() if each.zone == "a")
    provision = Provision(
        ask_id=ask_id(job),
        cluster_id=offer.cluster_id,
        orders=((offer_id(offer.cluster_id, offer.key), 2),),
        price_millionths_per_hour=2_000_000,
        cost_millionths=5_000_001,
        sentence="because",
    )
    lease = world.context.store.write(lambda tx: tx.leases.take("test", "test", 60.0))
    assert lease is not None
    means = Purchasing(ids=world.context.ids, idle=timedelta(seconds=60), on_unverified_prices=False)

    def refused(provision: Provision) -> tuple[PurchaseRefusal, ...]:
        return world.context.store.write(lambda tx: apply_provisions(tx, lease, [provision], means=means))

    (refusal,) = refused(provision)
    assert "5000001" in refusal.why
    assert refused(replace(provision, cost_millionths=5_000_000)) == ()


@pytest.mark.parametrize(
    ("currency", "price", "zone"),
    [("CNY", 3_000_000, "b"), ("CNY", 9_000_000, "a"), ("XXX", 1, "a")],
    ids=["worth less", "worth more", "worth nobody knows what"],
)
def test_offers_of_several_currencies_are_compared_by_what_they_are_worth(
    world: World, currency: str, price: int, zone: str
) -> None:
    with world.context.store.read() as tx:
        offers = [each for each in tx.offers.list() if each.capacity_type is CapacityType.ON_DEMAND]
        others = [each for each in tx.offers.list() if each not in offers]
    here = [replace(each, price_millionths=500_000, currency="USD") for each in offers if each.zone == "a"]
    there = [replace(each, price_millionths=price, currency=currency) for each in offers if each.zone == "b"]
    dear = [replace(each, price_millionths=10**9, currency="USD") for each in others]
    world.context.store.write(lambda tx: tx.offers.put([*here, *there, *dear]))
    bought(world)
    (claim,) = claims(world)
    assert claim.zones == (zone,)
