"""The ledger over real rows: attempts and idle time add up to claims, however it is cut and what is archived."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from controlplane.domain.amounts import Amounts
from controlplane.domain.attempts import Attempt, AttemptState, Outcome, Seat
from controlplane.domain.claims import CLAIM_LABEL, Claim, ClaimState, LaunchOutcome
from controlplane.domain.cost_reports import GroupBy, report
from controlplane.domain.costs import Line, Owner, Per, Rate, Span
from controlplane.domain.ids import AttemptId, ClaimId, ClusterId, JobId, LaunchId, NodeId
from controlplane.domain.jobs import JobState, ask_id
from controlplane.domain.leases import Lease
from controlplane.operations import retention
from controlplane.operations.ledger import Ledger
from controlplane.store import Store, Tx
from tests import factories
from tests.databases import DIALECTS
from tests.unit.operations.world import START, World, other_project, world

BOTH = pytest.mark.parametrize("plane", DIALECTS, indirect=True)
BIG = Amounts(cpu_milli=8000, gpu_milli=4000)
CLUSTER = ClusterId("cluster_lab")
NOTHING = (0, 0, 0, 0)


@pytest.fixture
def plane(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    url: str = request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_url")
    with world(tmp_path, url) as made:
        yield made


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def buy(plane: World, number: int, *, price: int | None = 3_600_000, machines: int = 2) -> Claim:
    """Machines from now on, each a node."""
    claim = factories.claim(
        number,
        cluster_id=CLUSTER,
        machines_min=machines,
        machines_want=machines,
        price_millionths=price,
        currency=None if price is None else "USD",
        state=ClaimState.READY,
        since=plane.clock.at,
        created_at=plane.clock.at,
    )
    launch = factories.launch(
        id=LaunchId(f"launch-{number}"),
        claim_id=claim.id,
        machines=machines,
        created_at=plane.clock.at,
        resolved_at=plane.clock.at,
    )

    def unit(tx: Tx) -> None:
        tx.claims.add(claim)
        tx.launches.add(replace(launch, resolved_at=None, outcome=None))
        tx.launches.resolve(launch.resolve(LaunchOutcome.GRANTED, at=plane.clock.at))
        for place in range(machines):
            tx.nodes.put(
                factories.node(
                    id=NodeId(f"bought-{number}-{place}"),
                    name=f"bought-{number}-{place}",
                    cluster_id=CLUSTER,
                    allocatable=BIG,
                    labels=((CLAIM_LABEL, claim.id),),
                )
            )

    plane.store.write(unit)
    return claim


def end_claim(plane: World, claim: Claim) -> None:
    def unit(tx: Tx) -> None:
        kept = tx.claims.get(claim.id)
        assert kept is not None
        going = kept.move(ClaimState.TERMINATING, at=tx.now)
        tx.claims.save(going)
        tx.claims.save(going.move(ClaimState.GONE, at=tx.now))

    plane.store.write(unit)


def seat(
    plane: World, node: str, amounts: Amounts, *, project: str = "default", rank_count: int = 1
) -> Attempt:
    """A job of one attempt whose tasks all sit on one node, from now on."""
    job = plane.submit(project=project).job

    def unit(tx: Tx) -> Attempt:
        known = tx.jobs.get(job.id)
        assert known is not None
        tx.jobs.save(known.move(JobState.ACTIVE, at=tx.now))
        attempt = Attempt(
            id=AttemptId(f"{job.id}-a1"),
            job_id=job.id,
            ask_id=ask_id(job.id),
            project_id=job.project_id,
            cluster_id=CLUSTER,
            number=1,
            state=AttemptState.PLACED,
            since=tx.now,
            placed_at=tx.now,
        )
        seats = [
            Seat(attempt_id=attempt.id, rank=rank, node_id=NodeId(node), amounts=amounts)
            for rank in range(rank_count)
        ]
        tx.attempts.add(attempt, seats)
        return attempt

    return plane.store.write(unit)


def finish(plane: World, attempt: Attempt) -> None:
    plane.end(plane.attempt(attempt.id), Outcome.SUCCEEDED)
    plane.finish(attempt.job_id, JobState.SUCCEEDED)


def put_rate(plane: World, rate: Rate) -> None:
    plane.store.write(lambda tx: tx.costs.put_rate(rate, by="root"))


def lines(store: Store, window: Span) -> list[Line]:
    with store.read() as tx:
        return Ledger.open(tx).lines(window, is_by_job=True)


def used(found: list[Line], claim: ClaimId | None = None) -> int:
    return sum(line.used_units for line in found if line.owner.claim_id == claim)


def archive(plane: World, jobs: list[str]) -> None:
    """As retention does it."""
    with plane.store.read() as tx:
        versions = {job.id: job.version for job in tx.jobs.many([JobId(each) for each in jobs])}

    def unit(tx: Tx) -> None:
        charges = Ledger.open(tx).charges(list(versions))
        assert len(tx.retention.remove(versions)) == len(jobs)
        tx.costs.charge(charges)

    plane.store.write(unit)


@BOTH
def test_what_is_not_used_of_a_claim_is_its_idle_time(plane: World) -> None:
    plane.cluster()
    claim = buy(plane, 1)
    plane.clock.pass_seconds(10)
    half = seat(plane, "bought-1-0", Amounts(cpu_milli=4000, gpu_milli=2000))
    plane.clock.pass_seconds(20)
    finish(plane, half)
    plane.clock.pass_seconds(30)
    end_claim(plane, claim)
    plane.clock.pass_seconds(1000)
    found = lines(plane.store, Span(START, plane.clock.at))
    (task,) = (line for line in found if line.owner.job_id == half.job_id)
    assert (task.used_units, task.task_seconds, task.currency) == (1_800_000 * 20, 20, "USD")
    (idle,) = (line for line in found if line.machine_seconds)
    assert (idle.owner.claim_id, idle.machine_seconds) == (claim.id, 2 * 60)
    assert idle.idle_units + task.used_units == 3_600_000 * 2 * 60


def test_what_seemed_to_run_on_after_its_claim_was_gone_is_not_paid_for(plane: World) -> None:
    plane.cluster()
    claim = buy(plane, 1)
    attempt = seat(plane, "bought-1-0", BIG)
    plane.clock.pass_seconds(30)
    end_claim(plane, claim)
    plane.clock.pass_seconds(300)
    finish(plane, attempt)
    window = Span(START, plane.clock.at)
    assert used(lines(plane.store, window), claim.id) == 3_600_000 * 30
    archive(plane, [attempt.job_id])
    assert used(lines(plane.store, window), claim.id) == 3_600_000 * 30


def test_a_machine_that_nobody_priced_is_time_without_a_currency(plane: World) -> None:
    plane.cluster()
    claim = buy(plane, 1, price=None)
    seat(plane, "bought-1-0", BIG)
    plane.clock.pass_seconds(10)
    found = lines(plane.store, Span(START, plane.clock.at))
    assert {(line.currency, line.used_units, line.idle_units) for line in found} == {(None, 0, 0)}
    assert [line.machine_seconds for line in found if line.owner.claim_id == claim.id] == [0, 20]


def test_a_rate_that_changes_splits_what_runs(plane: World) -> None:
    plane.cluster(gpus=2)
    rates = [
        Rate(
            cluster_id=None,
            flavor=None,
            per=Per.GPU,
            currency="EUR",
            price_millionths=price,
            valid_from=START + seconds(at),
        )
        for at, price in ((0, 1_000_000), (60, 2_000_000))
    ]
    for rate in rates:
        put_rate(plane, rate)
    attempt = seat(plane, "node_lab_0", Amounts(cpu_milli=1000, gpu_milli=1000), rank_count=2)
    plane.clock.pass_seconds(100)
    finish(plane, attempt)
    whole = 2 * (60 * 1_000_000 + 40 * 2_000_000)
    assert used(lines(plane.store, Span(START, plane.clock.at))) == whole
    archive(plane, [attempt.job_id])
    assert used(lines(plane.store, Span(START, plane.clock.at))) == whole
    assert used(lines(plane.store, Span(START, START + seconds(70)))) == 2 * (60 * 1_000_000 + 10 * 2_000_000)


def test_a_node_that_is_gone_costs_nothing_more(plane: World) -> None:
    plane.cluster(gpus=2)
    rate = Rate(per=Per.CPU, currency="EUR", price_millionths=7, valid_from=START)
    put_rate(plane, rate)
    attempt = seat(plane, "node_lab_0", Amounts(cpu_milli=1000))
    plane.clock.pass_seconds(10)
    with plane.store.read() as tx:
        node = tx.nodes.by_ids([NodeId("node_lab_0")])[NodeId("node_lab_0")]
    plane.store.write(lambda tx: tx.nodes.put(replace(node, gone_at=tx.now)))
    plane.clock.pass_seconds(500)
    finish(plane, attempt)
    assert used(lines(plane.store, Span(START, plane.clock.at))) == 70


class Hour:
    """Claims and owned nodes with whatever fits, beginning and ending at odd moments; some of it still runs."""

    def __init__(self, plane: World, rng: random.Random) -> None:
        self.plane = plane
        self.rng = rng
        self.live: list[tuple[Attempt, str, Amounts]] = []
        self.claims: list[Claim] = []
        self.ended: list[Attempt] = []

    def pass_by(self, steps: int) -> None:
        deeds = (self.buy, self.seat, self.seat, self.seat, self.finish, self.end, self.rate)
        for step in range(steps):
            self.plane.clock.pass_seconds(self.rng.random() * 90)
            self.rng.choice(deeds)(step + 1)

    def buy(self, step: int) -> None:
        self.claims.append(buy(self.plane, step, price=self.rng.choice([None, 999_983, 3_600_007])))

    def seat(self, _step: int) -> None:
        numbers = [claim.id.removeprefix("claim-") for claim in self.claims]
        bought = [f"bought-{number}-{place}" for number in numbers for place in (0, 1)]
        node = self.rng.choice([*bought, "node_lab_0", "node_lab_1"])
        amounts = Amounts(
            cpu_milli=self.rng.randint(1, 2000), gpu_milli=self.rng.choice([0, 0, 250, 1000, 2000])
        )
        left = BIG if node in bought else Amounts(cpu_milli=4000, gpu_milli=2000)
        for _, place, taken in self.live:
            left = left.minus(taken) if place == node else left
        if amounts.fits_in(left):
            project = self.rng.choice(["default", "other"])
            self.live.append((seat(self.plane, node, amounts, project=project), node, amounts))

    def finish(self, _step: int) -> None:
        if self.live:
            attempt, *_ = self.live.pop(self.rng.randrange(len(self.live)))
            finish(self.plane, attempt)
            self.ended.append(attempt)

    def end(self, _step: int) -> None:
        if self.claims:
            end_claim(self.plane, self.claims.pop(self.rng.randrange(len(self.claims))))

    def rate(self, _step: int) -> None:
        rate = Rate(
            flavor=self.rng.choice([None, "default"]),
            per=self.rng.choice(list(Per)),
            currency=self.rng.choice(["USD", "EUR"]),
            price_millionths=self.rng.randint(0, 10**7),
            valid_from=self.plane.clock.at,
        )
        put_rate(self.plane, rate)


Sums = dict[tuple[Owner, str | None], tuple[int, ...]]


def sums_of(found: list[Line]) -> Sums:
    """By owner and currency; what is nothing is left out."""
    sums: Sums = {}
    for line in found:
        old = sums.get((line.owner, line.currency), NOTHING)
        new = (line.used_units, line.idle_units, line.task_seconds, line.machine_seconds)
        sums[line.owner, line.currency] = added(old, new)
    return {key: value for key, value in sums.items() if any(value)}


def added(*each: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*each, strict=True)))


def claim_costs(plane: World, window: Span) -> dict[str, int]:
    with plane.store.read() as tx:
        ledger = Ledger.open(tx)
        return {claim.id: ledger.cost_of(claim, window) for claim in ledger.claims(window)}


@pytest.mark.parametrize("seed", range(4))
def test_attempts_and_idle_time_add_up_to_the_claims_and_outlast_the_archive(plane: World, seed: int) -> None:
    rng = random.Random(seed)
    plane.cluster(gpus=2)
    other_project(plane)
    hour = Hour(plane, rng)
    hour.pass_by(60)
    end = plane.clock.at
    cuts = sorted(rng.sample(range(int((end - START).total_seconds())), 3))
    parts = [Span(*each) for each in pairwise([START, *(START + seconds(each) for each in cuts), end])]
    windows = [Span(START, end), *parts]
    before = [sums_of(lines(plane.store, window)) for window in windows]

    for window, sums in zip(windows, before, strict=True):
        for claim_id, cost in claim_costs(plane, window).items():
            of_claim = [value for (owner, _), value in sums.items() if owner.claim_id == claim_id]
            assert sum(each[0] + each[1] for each in of_claim) == cost
            assert all(each[1] >= 0 for each in of_claim)
    for key, value in before[0].items():
        assert added(*(sums.get(key, NOTHING) for sums in before[1:])) == value

    archive(plane, sorted({each.job_id for each in rng.sample(hour.ended, len(hour.ended) // 2)}))
    assert [sums_of(lines(plane.store, window)) for window in windows] == before


def test_retention_keeps_what_it_archives_in_the_ledger(plane: World) -> None:
    plane.cluster()
    claim = buy(plane, 1)
    attempt = seat(plane, "bought-1-0", BIG)
    plane.clock.pass_seconds(50)
    finish(plane, attempt)
    window = Span(START, plane.clock.at)
    before = report(lines(plane.store, window), GroupBy.PROJECT)
    assert used(lines(plane.store, window), claim.id) == 3_600_000 * 50
    plane.clock.pass_seconds(86_400 * 100)
    lease = plane.store.write(lambda tx: tx.leases.take("retention", "test", 60.0))
    assert isinstance(lease, Lease)
    assert retention.step(plane.context, lease, retention.Walk()).archived == 1
    assert report(lines(plane.store, window), GroupBy.PROJECT) == before
