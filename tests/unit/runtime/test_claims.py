"""The claim and orphan loops, on both databases: nothing is bought twice, nothing stays, whichever call goes wrong."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from cloud_adapters.base import (
    Ambiguous,
    CapacityType,
    ClusterRef,
    LaunchOrder,
    OwnedMachine,
    PluginError,
    Transient,
)
from cloud_adapters.fake_cloud import FakeCloud
from controlplane.domain.attempts import Attempt, AttemptState
from controlplane.domain.claims import Claim, ClaimState, LaunchOutcome
from controlplane.domain.clusters import Cluster, ClusterState, Node
from controlplane.domain.errors import Conflict, Invalid, NotFound, StaleWrite
from controlplane.domain.ids import AskId, ClaimId, ClusterId, JobId, TokenId
from controlplane.executors.base import Phase
from controlplane.executors.fake import FakeExecutor
from controlplane.identity.attempt_tokens import attempt_token
from controlplane.identity.principals import Principal, Role
from controlplane.operations import claims, clusters, records, submission
from controlplane.operations.context import Context
from controlplane.operations.ids import RandomIds
from controlplane.operations.setting_up import set_up
from controlplane.runtime.budgets import Budgets
from controlplane.runtime.claims import ClaimStep
from controlplane.runtime.process import Loops
from controlplane.secrets.sealer import Sealer
from controlplane.settings import Settings
from controlplane.storage.file import FileStore
from controlplane.store import Store, Tx
from controlplane.wire.jobspec import JobSpec
from controlplane.wire.protocol import RecordBatch
from schedulers.base import Nomination, microseconds
from schedulers.priority import Priority
from tests.inline_pool import InlinePool

START = datetime(2026, 1, 1, tzinfo=UTC)
ADMIN = Principal(token_id=TokenId("token"), name="admin", role=Role.ADMIN, project_id=None)
BURST = ClusterId("cluster_burst")
HERE = ClusterRef(id=BURST, name="burst", endpoint=None)
TWO = claims.ClaimRequest(
    cluster="burst",
    machine_type="small",
    capacity_type=CapacityType.SPOT,
    zones=("a", "b"),
    machines_min=2,
    machines_want=2,
)
LONGEST_SECONDS = 1200

Answer = TypeVar("Answer")


class Crash(BaseException):
    """The replica dies here."""


class Perilous(FakeCloud):
    """One call goes wrong, counted from the first."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now)
        self.list_lag_seconds = 20
        self.wrong_call: int | None = None
        self.goes_wrong: Callable[[bool], BaseException] = lambda _: Crash()
        self.is_before = False

    def _call(
        self, verb: str, subject: str, deed: Callable[[], Answer], *, lost: type[PluginError] = Transient
    ) -> Answer:
        is_wrong = self.wrong_call == len(self.calls)
        if is_wrong and self.is_before:
            self.calls.append((verb, subject))
            raise self.goes_wrong(verb == "ensure")
        answer = super()._call(verb, subject, deed, lost=lost)
        if is_wrong:
            raise self.goes_wrong(verb == "ensure")
        return answer


def _crash(_: bool) -> BaseException:  # noqa: FBT001 # one of two ways to go wrong
    return Crash()


def _lose(buys: bool) -> BaseException:  # noqa: FBT001 # likewise
    return Ambiguous("no answer") if buys else Transient("no answer")


@dataclass(slots=True)
class World:
    """One replica at a time, run by hand; time passes only when a test says so."""

    context: Context
    now: datetime = START
    executor: FakeExecutor = field(default_factory=FakeExecutor)
    cloud: Perilous = field(init=False)
    loops: Loops = field(init=False)
    replicas: int = 0

    def __post_init__(self) -> None:
        self.cloud = Perilous(lambda: self.now)
        self.restart()

    def restart(self) -> None:
        """Another process takes over; what the last one had claimed is free only when its time is over."""
        self.replicas += 1
        self.loops = Loops(
            self.context,
            adapters={"burst": self.cloud},
            executor=self.executor,
            policy=Priority(),
            holder=f"replica-{self.replicas}",
        )
        self.loops.scheduling._policy_seconds = math.inf  # else each plan is watched by a thread

    def settle(self) -> None:
        """Runs every loop until nothing is due."""
        is_due = True
        while is_due:
            try:
                for loop in self.loops.reconciling.values():
                    loop.drain(InlinePool())
                self.loops.scheduling.step()
            except Crash:
                self.restart()
            with self.context.store.read() as tx:
                dues = [tx.work.next_due(noun) for noun in self.loops.reconciling]
            is_due = any(due is not None and due <= self.now for due in dues)

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.settle()

    def until(self, holds: Callable[[], bool], *, tick: float = 10) -> None:
        started = self.now
        while not holds():
            assert (self.now - started).total_seconds() < LONGEST_SECONDS, (self.claims(), self.cloud.calls)
            self.pass_time(tick)

    def request(self, **changed: object) -> Claim:
        wanted = replace(TWO, **changed)  # type: ignore[arg-type] # fields of the request
        claim = claims.request(self.context, ADMIN, wanted).claim
        self.settle()
        return claim

    def release(self, claim: Claim) -> None:
        claims.release(self.context, ADMIN, claim.id)
        self.settle()

    def claim(self, claim: Claim) -> Claim:
        return claims.get(self.context, ADMIN, claim.id).claim

    def claims(self) -> list[Claim]:
        return [view.claim for view in claims.listed(self.context, ADMIN, after=None, limit=100)]

    def launches(self, claim: Claim) -> list[tuple[str, str, LaunchOutcome | None]]:
        found = claims.get(self.context, ADMIN, claim.id).launches
        return [(each.id.removeprefix(f"{claim.id}-"), each.zone, each.outcome) for each in found]

    def is_in(self, claim: Claim, state: ClaimState) -> Callable[[], bool]:
        return lambda: self.claim(claim).state is state

    def ready(self, **changed: object) -> Claim:
        claim = self.request(**changed)
        self.until(lambda: self.claim(claim).takes_tasks and len(self.nodes()) == 2)
        return claim

    def nodes(self) -> list[Node]:
        with self.context.store.read() as tx:
            return tx.nodes.present(BURST)

    def open_nodes(self) -> int:
        return sum(node.cordoned_at is None for node in self.nodes())

    def submit(self, **fields: object) -> JobId:
        spec = JobSpec.model_validate({"name": "work", "entrypoint": "true"} | fields)
        view = submission.submit(self.context, ADMIN, spec, spec.model_dump_json())
        self.settle()
        return view.job.id

    def attempts(self, job_id: JobId) -> list[Attempt]:
        with self.context.store.read() as tx:
            return tx.attempts.of_job(job_id)

    def hello(self, attempt: Attempt) -> None:
        self.executor.phases[attempt.id] = Phase.RUNNING
        self._say(attempt, 1, "hello", host="h", pid=1)

    def exit(self, attempt: Attempt) -> None:
        self.executor.phases[attempt.id] = Phase.EXITED
        self._say(attempt, 2, "exit", code=0, reason="completed", signal=None, final=True, log_bytes=0)

    def _say(self, attempt: Attempt, seq: int, kind: str, **fields: object) -> None:
        record = {"seq": seq, "kind": kind, "at": START.isoformat(), **fields}
        batch = RecordBatch.model_validate({"rank": 0, "records": [record]})
        token = attempt_token(self.context.server_key, attempt.id)
        records.ingest(self.context, attempt.id, token, batch)
        self.settle()

    def events(self) -> list[str]:
        with self.context.store.read() as tx:
            return [event.kind for _, event in tx.events.after(None, 1000)[0]]


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    here = {"CROSSDOCK_HOME": str(tmp_path), "CROSSDOCK_DATABASE_URL": database_url}
    settings = replace(Settings.read(here), local_cluster=False)
    clock: list[World] = []
    store = Store.open(settings.database_url, now=lambda: clock[0].now if clock else START)
    context = Context(
        store=store,
        objects=FileStore(tmp_path / "objects"),
        ids=RandomIds(),
        sealer=Sealer(b"k" * 32),
        settings=settings,
    )
    set_up(context)
    clock.append(World(context))
    store.write(_register)
    clock[0].settle()
    yield clock[0]
    store.close()


def _register(tx: Tx) -> None:
    cluster = Cluster(
        id=BURST,
        name="burst",
        adapter="burst",
        state=ClusterState.PENDING,
        since=tx.now,
        created_at=tx.now,
        url="http://127.0.0.1:9",
    )
    tx.clusters.add(cluster)
    tx.work.poke("cluster", cluster.id)


def _live_once(world: World) -> Claim:
    """A whole life: bought, ready, released, gone."""
    claim = world.ready()
    world.release(claim)
    world.until(world.is_in(claim, ClaimState.GONE))
    return claim


def test_a_claim_is_bought_used_drained_and_gone(world: World) -> None:
    claim = world.ready()
    job_id = world.submit()
    (attempt,) = world.attempts(job_id)
    world.hello(attempt)
    world.release(claim)
    assert (world.claim(claim).state, world.open_nodes()) == (ClaimState.DRAINING, 0)
    assert world.attempts(world.submit()) == []
    assert world.attempts(job_id)[0].state is AttemptState.RUNNING
    world.exit(attempt)
    world.until(world.is_in(claim, ClaimState.GONE))
    assert world.cloud.machines == ()
    assert [sold.launch_id for sold in world.cloud.bill] == [f"{claim.id}-g1-l1"] * 2
    assert [kind for kind in world.events() if kind.startswith(("claim.", "launch."))] == [
        "claim.requested",
        "claim.launching",
        "launch.created",
        "launch.resolved",
        "claim.ready",
        "claim.release_requested",
        "claim.draining",
        "claim.terminating",
        "claim.gone",
    ]


# Whole lives of claims by the dozen; single ones are lived on both databases above and below.
@pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.verify)], indirect=True
)
@pytest.mark.parametrize(
    ("goes_wrong", "is_before"), [(_lose, False), (_lose, True), (_crash, False), (_crash, True)]
)
def test_whichever_call_goes_wrong_once_nothing_is_bought_twice_and_nothing_stays(
    world: World, goes_wrong: Callable[[bool], BaseException], *, is_before: bool
) -> None:
    world.cloud.goes_wrong, world.cloud.is_before = goes_wrong, is_before
    _live_once(world)
    calls = len(world.cloud.calls)
    verbs = {verb for verb, _ in world.cloud.calls}
    assert verbs >= {"inventory", "ensure", "list_owned", "terminate"}
    for number in range(calls):
        bought = len(world.cloud.bill)
        world.cloud.wrong_call = len(world.cloud.calls) + number
        _live_once(world)
        assert len(world.cloud.bill) == bought + 2
        assert world.cloud.machines == ()


def test_a_replica_that_was_taken_over_buys_nothing(world: World) -> None:
    world.cloud.is_unreachable = True
    claim = world.request()
    world.cloud.is_unreachable = False
    world.now += timedelta(seconds=30)
    asleep = ClaimStep(world.context, {"burst": world.cloud}, Budgets(calls_per_second=5, burst=20))
    items = world.context.store.write(lambda tx: tx.work.claim("claim", "asleep", 1, 120))
    turns = asleep.begin(items, [])
    assert [turn.lane for turn in turns] == [BURST]
    world.until(world.is_in(claim, ClaimState.READY))
    calls = [call for call in world.cloud.calls if call[0] == "ensure"]
    with pytest.raises(StaleWrite):
        asleep.act(turns)
    assert [call for call in world.cloud.calls if call[0] == "ensure"] == calls


def test_the_nodes_of_a_claim_that_is_not_ready_take_no_tasks(world: World) -> None:
    world.cloud.list_lag_seconds = 0
    claim = world.request()
    world.cloud.boot_seconds = 0
    world.until(lambda: len(world.nodes()) == 2, tick=1)
    if not world.claim(claim).takes_tasks:
        assert world.open_nodes() == 0
    world.until(lambda: world.claim(claim).takes_tasks)
    world.pass_time(30)
    assert world.open_nodes() == 2


def test_a_release_that_is_taken_back_opens_the_nodes_again(world: World) -> None:
    claim = world.ready()
    (attempt,) = world.attempts(world.submit())
    world.hello(attempt)
    world.release(claim)
    claims.keep(world.context, ADMIN, claim.id)
    world.settle()
    assert (world.claim(claim).state, world.open_nodes()) == (ClaimState.READY, 2)


def test_a_sold_out_zone_is_followed_by_the_next_with_another_launch(world: World) -> None:
    world.cloud.sold_out.add(("small", "a"))
    claim = world.ready()
    assert world.launches(claim) == [
        ("g1-l1", "a", LaunchOutcome.REFUSED),
        ("g1-l2", "b", LaunchOutcome.GRANTED),
    ]


def test_after_all_zones_refused_it_cools_down_and_tries_again(world: World) -> None:
    world.cloud.quota = 1
    claim = world.request()
    assert [launch[0] for launch in world.launches(claim)] == ["g1-l1", "g1-l2"]
    world.pass_time(55)
    assert len(world.launches(claim)) == 2
    world.cloud.quota = None
    world.until(world.is_in(claim, ClaimState.READY))
    assert world.launches(claim)[2:] == [("g2-l1", "a", LaunchOutcome.GRANTED)]


def test_a_part_of_a_gang_is_given_back(world: World) -> None:
    world.cloud.partial = 1
    claim = world.ready()
    assert [launch[2] for launch in world.launches(claim)] == [LaunchOutcome.REFUSED, LaunchOutcome.GRANTED]
    assert len(world.cloud.machines) == 2


def test_a_slow_cloud_is_asked_for_each_of_many_claims_and_none_is_given_up_unasked(world: World) -> None:
    asked: list[tuple[str, timedelta]] = []

    def slow(launch: LaunchOrder, *, deadline: float) -> tuple[OwnedMachine, ...]:
        with world.context.store.read() as tx:
            claim = tx.claims.get(ClaimId(launch.claim_id))
        assert claim is not None
        assert claim.last_launch_at is not None
        asked.append((launch.launch_id, world.now - claim.last_launch_at))
        world.now += timedelta(seconds=25)
        return FakeCloud.ensure(world.cloud, launch, deadline=deadline)

    world.cloud.ensure = slow  # type: ignore[method-assign] # this cloud takes its time
    made = [claims.request(world.context, ADMIN, TWO).claim for _ in range(20)]
    world.settle()
    assert sorted(asked) == sorted((f"{claim.id}-g1-l1", timedelta()) for claim in made)
    assert [world.launches(claim) for claim in made] == [[("g1-l1", "a", LaunchOutcome.GRANTED)]] * 20


def test_a_zone_that_does_not_answer_is_left_after_a_while(world: World) -> None:
    world.cloud.cut_zones = {"a"}
    claim = world.ready()
    assert world.launches(claim) == [
        ("g1-l1", "a", LaunchOutcome.REFUSED),
        ("g1-l2", "b", LaunchOutcome.GRANTED),
    ]


def test_a_reclaimed_machine_is_bought_again_once(world: World) -> None:
    claim = world.ready()
    world.cloud.reclaim(world.cloud.machines[0].name)
    world.until(lambda: len(world.nodes()) == 1)
    world.until(lambda: len(world.nodes()) == 2)
    world.pass_time(120)
    assert world.launches(claim)[1:] == [("g2-l1", "a", LaunchOutcome.GRANTED)]
    assert [len(world.cloud.machines), len(world.cloud.bill)] == [2, 3]


def test_a_claim_grows_to_what_it_wants_when_it_is_ready(world: World) -> None:
    claim = world.request(machines_want=3)
    world.until(lambda: len(world.nodes()) == 3)
    assert [launch[0] for launch in world.launches(claim)] == ["g1-l1", "g2-l1"]


def test_a_claim_that_is_released_while_its_launch_is_open_leaves_nothing(world: World) -> None:
    world.cloud.lost_answers = 1
    claim = world.request()
    bought = len(world.cloud.machines)
    world.release(claim)
    assert (world.claim(claim).state, bought) == (ClaimState.TERMINATING, 2)
    world.until(world.is_in(claim, ClaimState.GONE))
    assert world.cloud.machines == ()


def test_machines_that_are_promised_to_who_waits_do_not_go_as_idle_ones(world: World) -> None:
    claim = world.ready(idle_seconds=60.0)
    promise = Nomination(
        ask_id=AskId("heir.0"),
        cluster_id=BURST,
        seats=((0, world.nodes()[0].id),),
        until=microseconds(world.now + timedelta(seconds=300)),
    )
    world.context.store.write(lambda tx: tx.memories.nominate(promise))
    started = world.now
    world.until(lambda: world.claim(claim).release_requested_at is not None)
    assert (world.now - started).total_seconds() >= 300 + 60


def test_a_drained_cluster_releases_its_claims(world: World) -> None:
    claim = world.ready()
    clusters.drain(world.context, ADMIN, "burst")
    world.until(world.is_in(claim, ClaimState.GONE))
    assert world.cloud.machines == ()


def test_a_machine_that_nobody_claims_is_told_of_and_ended(world: World) -> None:
    order = LaunchOrder(
        cluster=HERE,
        claim_id="claim-unknown",
        launch_id="claim-unknown-g1-l1",
        zone="a",
        machine_type="small",
        capacity_type=CapacityType.SPOT,
        machines=1,
    )
    claim = world.ready()
    world.cloud.ensure(order, deadline=1)
    world.until(lambda: "machine.orphaned" in world.events())
    assert len(world.cloud.machines) == 3
    world.pass_time(0)
    assert world.open_nodes() == 2
    world.until(lambda: len(world.cloud.machines) == 2)
    world.pass_time(120)
    with world.context.store.read() as tx:
        assert tx.orphans.of_cluster(BURST) == []
    assert world.events().count("machine.orphaned") == 1
    assert world.claim(claim).state is ClaimState.READY


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"zones": ()}, "zones"),
        ({"zones": ("a", "a")}, "zones"),
        ({"machines_min": 0}, "machines_min"),
        ({"machines_want": 1}, "machines_want"),
        ({"capacity_type": CapacityType.OWNED}, "capacity_type"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(world: World, wrong: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        world.request(**wrong)
    assert refused.value.field == field
    assert world.claims() == []


def test_words_about_claims_that_cannot_be_kept_are_refused(world: World) -> None:
    with pytest.raises(NotFound):
        world.request(cluster="nowhere")
    claim = world.request()
    world.release(claim)
    with pytest.raises(Conflict, match="is terminating"):
        claims.keep(world.context, ADMIN, claim.id)
    clusters.drain(world.context, ADMIN, "burst")
    with pytest.raises(Conflict, match="is being left"):
        world.request()
