"""The Ray clusters of claims, on both databases: built on lent nodes for one attempt, or formed by bought machines."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloud_adapters.base import Amounts, CapacityType, ClusterRef, Inventory, Machine, Transient
from cloud_adapters.fake_builder import FakeBuilder
from cloud_adapters.fake_cloud import FakeCloud
from controlplane.domain.attempts import Attempt, AttemptState, Outcome
from controlplane.domain.claims import Claim, ClaimState
from controlplane.domain.clusters import Cluster, ClusterState, Node
from controlplane.domain.errors import Gone, Unauthenticated
from controlplane.domain.ids import AttemptId, ClaimId, ClusterId, JobId, TokenId
from controlplane.executors.base import Phase
from controlplane.executors.fake import FakeExecutor
from controlplane.identity.attempt_tokens import attempt_token
from controlplane.identity.launch_tokens import launch_token
from controlplane.identity.principals import Principal, Role
from controlplane.operations import claims, machines, records, submission
from controlplane.operations.ids import RandomIds
from controlplane.operations.services import Services
from controlplane.operations.setting_up import set_up
from controlplane.runtime.process import Loops
from controlplane.secrets.sealer import Sealer
from controlplane.settings import Settings
from controlplane.storage.file import FileStore
from controlplane.store import Store, Tx
from controlplane.wire.jobspec import JobSpec
from controlplane.wire.machines import CheckInAnswer, CheckInRequest
from controlplane.wire.protocol import RecordBatch
from schedulers.priority import Priority
from tests.inline_pool import InlinePool

START = datetime(2026, 1, 1, tzinfo=UTC)
ADMIN = Principal(token_id=TokenId("token"), name="admin", role=Role.ADMIN, project_id=None)
NODE = Amounts(cpu_milli=4000, memory_bytes=2**33)
TWO = claims.ClaimRequest(
    cluster="cloud",
    machine_type="small",
    capacity_type=CapacityType.SPOT,
    zones=("a",),
    machines_min=2,
    machines_want=2,
)


@dataclass(slots=True)
class Reader:
    """Reads any Ray: what it lists is set by its address."""

    rays: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        assert cluster.endpoint is not None
        if cluster.endpoint.url not in self.rays:
            raise Transient(f"{cluster.endpoint.url} did not answer within {deadline:g} s")
        self.tokens.add(cluster.endpoint.token or "")
        names = self.rays[cluster.endpoint.url]
        nodes = tuple(
            Machine(name=f"ray-{each}", host=each, allocatable=NODE, labels=(("crossdock.io/machine", each),))
            for each in names
        )
        return Inventory(machines=nodes, complete=True, session=f"life-of-{cluster.endpoint.url}")


@dataclass(slots=True)
class World:
    services: Services
    now: datetime = START
    reader: Reader = field(default_factory=Reader)
    executor: FakeExecutor = field(default_factory=FakeExecutor)
    kube: FakeBuilder = field(init=False)
    cloud: FakeCloud = field(init=False)
    loops: Loops = field(init=False)

    def __post_init__(self) -> None:
        self.kube, self.cloud = FakeBuilder(lambda: self.now), FakeCloud(lambda: self.now)
        self.cloud.is_one_ray = False
        self.kube.nodes = tuple(
            Machine(name=f"n{each}", host=f"h{each}", allocatable=NODE) for each in (1, 2)
        )
        self.loops = Loops(
            self.services,
            adapters={"ray": self.reader, "kube": self.kube, "cloud": self.cloud},
            executor=self.executor,
            policy=Priority(),
            holder="me",
        )

    def settle(self) -> None:
        pool, store = InlinePool(), self.services.store
        seen: object = None
        while seen != (seen := store.change_marker()):
            self.loops.scheduling.step()
            for loop in self.loops.reconciling.values():
                loop.drain(pool)

    def pass_time(self, seconds: float, *, step: float = 5) -> None:
        until = self.now + timedelta(seconds=seconds)
        while self.now < until:
            self.now += timedelta(seconds=step)
            self.settle()

    def register(self, adapter: str) -> None:
        cluster = Cluster(
            id=ClusterId(f"cluster_{adapter}"),
            name=adapter,
            adapter=adapter,
            state=ClusterState.PENDING,
            since=START,
            created_at=START,
        )
        self.services.store.write(lambda tx: _register(tx, cluster))
        self.settle()

    def submit(self, **fields: object) -> JobId:
        spec = JobSpec.model_validate({"name": "work", "entrypoint": "true"} | fields)
        view = submission.submit(self.services, ADMIN, spec, spec.model_dump_json())
        self.settle()
        return view.job.id

    def attempts(self, job_id: JobId) -> list[Attempt]:
        with self.services.store.read() as tx:
            return tx.attempts.of_job(job_id)

    def claim(self, claim_id: ClaimId | None) -> Claim:
        assert claim_id is not None
        with self.services.store.read() as tx:
            claim = tx.claims.get(claim_id)
        assert claim is not None
        return claim

    def nodes(self) -> list[Node]:
        with self.services.store.read() as tx:
            return tx.nodes.present()

    def say(self, attempt_id: AttemptId, seq: int, kind: str, **fields: object) -> None:
        record = {"seq": seq, "kind": kind, "at": START.isoformat(), **fields}
        batch = RecordBatch.model_validate({"rank": 0, "records": [record]})
        records.ingest(self.services, attempt_id, attempt_token(self.services.server_key, attempt_id), batch)
        self.settle()

    def hello(self, attempt_id: AttemptId) -> None:
        self.executor.phases[attempt_id] = Phase.RUNNING
        self.say(attempt_id, 1, "hello", host="h", pid=1)

    def exit(self, attempt_id: AttemptId) -> None:
        self.executor.phases[attempt_id] = Phase.EXITED
        self.say(attempt_id, 2, "exit", code=0, reason="completed", signal=None, final=True, log_bytes=0)

    def check_in(self, claim: Claim, machine: str, phase: str = "booting", **fields: object) -> CheckInAnswer:
        with self.services.store.read() as tx:
            launch = tx.launches.of_claim(claim.id)[-1].id
        said = {
            "claim_id": claim.id,
            "launch_id": launch,
            "machine": machine,
            "host": f"10.0.0.{machine[-1]}",
        }
        token = launch_token(self.services.server_key, launch)
        return machines.check_in(
            self.services, token, CheckInRequest.model_validate(said | {"phase": phase} | fields)
        )

    def bought(self) -> Claim:
        """A claim whose two machines run and have not spoken yet."""
        self.register("cloud")
        claim = claims.request(self.services, ADMIN, TWO).claim
        self.settle()
        self.pass_time(30)
        return self.claim(claim.id)

    def formed(self) -> Claim:
        """A claim whose machines are one Ray cluster."""
        claim = self.bought()
        self.check_in(claim, "m-0001", "up")
        self.reader.rays["https://10.0.0.1:8443"] = ("m-0001", "m-0002")
        self.pass_time(20)
        return self.claim(claim.id)


def _register(tx: Tx, cluster: Cluster) -> None:
    tx.clusters.add(cluster)
    tx.work.poke("cluster", cluster.id)
    tx.work.poke("orphan", cluster.id)


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    here = {"CROSSDOCK_HOME": str(tmp_path), "CROSSDOCK_DATABASE_URL": database_url}
    settings = replace(Settings.read(here), local_cluster=False)
    clock: list[World] = []
    store = Store.open(settings.database_url, now=lambda: clock[0].now if clock else START)
    services = Services(
        store=store,
        objects=FileStore(tmp_path / "objects"),
        ids=RandomIds(),
        sealer=Sealer(b"k" * 32),
        settings=settings,
    )
    set_up(services)
    clock.append(World(services))
    yield clock[0]
    store.close()


def test_an_attempt_gets_a_ray_cluster_on_exactly_its_booked_nodes(world: World) -> None:
    world.register("kube")
    (attempt,) = world.attempts(world.submit(tasks=2, resources={"cpus": 3}))
    claim = world.claim(attempt.claim_id)

    assert [(each.node_name, each.amounts.cpu_milli) for each in claim.shares] == [("n1", 3000), ("n2", 3000)]
    assert (claim.trust_domain, claim.machines_min) == (attempt.project_id, 2)
    assert attempt.state is AttemptState.PLACED
    assert world.executor.orders == {}

    world.pass_time(60)

    assert world.claim(claim.id).state is ClaimState.READY
    order = world.executor.orders[attempt.id]
    assert order.endpoint.url == f"https://{claim.id}.invalid"
    assert order.endpoint.token == f"token-{claim.id}"
    assert [seat.node_name for seat in order.seats] == ["ray-m-0001", "ray-m-0002"]


def test_what_was_built_for_an_attempt_goes_with_it(world: World) -> None:
    world.register("kube")
    (attempt,) = world.attempts(world.submit())
    world.pass_time(60)
    world.hello(attempt.id)
    world.exit(attempt.id)
    world.pass_time(300)

    assert world.claim(attempt.claim_id).state is ClaimState.GONE
    assert world.kube.members.machines == ()
    with world.services.store.read() as tx:
        assert tx.sites.many([world.claim(attempt.claim_id).id]) == {}
    assert [node.foreign for node in world.nodes()] == [Amounts(), Amounts()]


def test_what_cannot_be_built_is_placed_again_and_not_held_against_the_job(world: World) -> None:
    world.register("kube")
    world.kube.members.sold_out.add(("lent", ""))
    job_id = world.submit()
    world.pass_time(30)
    (first, *_) = world.attempts(job_id)

    assert first.outcome is Outcome.NEVER_STARTED
    assert "sold out" in (first.reason or "")

    world.kube.members.sold_out.clear()
    world.pass_time(300)
    assert world.attempts(job_id)[-1].id in world.executor.orders


def test_a_ray_cluster_that_never_answers_is_given_up(world: World) -> None:
    world.register("kube")
    (attempt,) = world.attempts(world.submit())
    world.kube.silent.add(str(attempt.claim_id))
    world.pass_time(1200)

    assert world.claim(attempt.claim_id).state is ClaimState.GONE
    assert "not ready 900 s after" in (world.claim(attempt.claim_id).problem or "")
    (first, *_) = world.attempts(attempt.job_id)
    assert first.outcome is Outcome.NEVER_STARTED


def test_an_attempt_whose_member_was_evicted_is_moved(world: World) -> None:
    world.register("kube")
    (attempt,) = world.attempts(world.submit(tasks=2, resources={"cpus": 4}))
    world.pass_time(60)
    world.hello(attempt.id)
    world.kube.members.reclaim("m-0001")
    world.pass_time(600)

    first = world.attempts(attempt.job_id)[0]
    assert first.outcome is Outcome.EVICTED or first.stop_outcome is Outcome.EVICTED
    assert "members are gone" in (world.claim(attempt.claim_id).problem or "")


def test_the_first_machine_becomes_the_head_and_the_others_wait_for_it(world: World) -> None:
    claim = world.bought()
    head, waiting = world.check_in(claim, "m-0002"), world.check_in(claim, "m-0001")
    assert (head.role, waiting.role) == ("head", "wait")
    assert head.tls is not None
    assert head.ray_token
    assert (waiting.tls, waiting.ray_token) == (None, None)

    assert world.check_in(claim, "m-0002", "up").role == "head"
    joining = world.check_in(claim, "m-0001")
    assert (joining.role, joining.head_host, joining.ray_token) == ("node", "10.0.0.2", head.ray_token)
    assert joining.labels == {"crossdock.io/claim": claim.id, "crossdock.io/machine": "m-0001"}


def test_a_claim_is_ready_when_its_machines_have_joined_and_takes_the_work_that_waits(world: World) -> None:
    claim = world.bought()
    job_id = world.submit(tasks=2, resources={"cpus": 4})
    assert claim.state is ClaimState.LAUNCHING
    assert world.attempts(job_id) == []

    head = world.check_in(claim, "m-0001", "up")
    world.reader.rays["https://10.0.0.1:8443"] = ("m-0001",)
    world.pass_time(20)
    assert world.claim(claim.id).state is ClaimState.LAUNCHING

    world.reader.rays["https://10.0.0.1:8443"] = ("m-0001", "m-0002")
    world.pass_time(20)
    assert world.claim(claim.id).state is ClaimState.READY
    assert world.reader.tokens == {head.ray_token}
    (attempt,) = world.attempts(job_id)
    order = world.executor.orders[attempt.id]
    assert (attempt.claim_id, attempt.cluster_id) == (claim.id, "cluster_cloud")
    assert order.endpoint.url == "https://10.0.0.1:8443"
    assert order.endpoint.route.ca_pem is not None
    assert [seat.node_name for seat in order.seats] == ["ray-m-0001", "ray-m-0002"]


def test_machines_that_never_check_in_are_given_back(world: World) -> None:
    claim = world.bought()
    world.pass_time(1500, step=30)
    assert world.claim(claim.id).state is ClaimState.GONE
    assert "0 of 2 machines have joined" in (world.claim(claim.id).problem or "")
    assert world.cloud.machines == ()


def test_a_spot_notice_stops_what_runs_there_and_keeps_the_node_closed(world: World) -> None:
    claim = world.formed()
    (attempt,) = world.attempts(world.submit(tasks=2, resources={"cpus": 4}))
    world.hello(attempt.id)
    world.check_in(claim, "m-0001", "up", notice={"kind": "spot", "at": START.isoformat()})
    world.settle()

    stopped = world.attempts(attempt.job_id)[0]
    assert (stopped.state, stopped.stop_outcome) == (AttemptState.STOPPING, Outcome.EVICTED)
    world.pass_time(30)
    closed = {node.host: node.cordoned_at is not None for node in world.nodes()}
    assert closed == {"m-0001": True, "m-0002": False}


def test_a_machine_of_a_claim_that_is_over_is_told_to_end(world: World) -> None:
    claim = world.formed()
    claims.release(world.services, ADMIN, claim.id)
    world.pass_time(120)
    with pytest.raises(Gone):
        world.check_in(claim, "m-0001", "up")
    assert world.nodes() == []
    with world.services.store.read() as tx:
        assert tx.sites.get(claim.id) is None


def test_a_strangers_token_opens_nothing(world: World) -> None:
    claim = world.bought()
    said = {"claim_id": claim.id, "launch_id": f"{claim.id}-g1-l1", "machine": "m-0001", "host": "10.0.0.1"}
    with pytest.raises(Unauthenticated):
        machines.check_in(world.services, "cdl_00", CheckInRequest.model_validate(said | {"phase": "up"}))
    with world.services.store.read() as tx:
        assert tx.sites.get(claim.id) is None


def test_a_silent_site_takes_no_new_tasks_and_loses_none(world: World) -> None:
    world.formed()
    (attempt,) = world.attempts(world.submit())
    world.hello(attempt.id)
    del world.reader.rays["https://10.0.0.1:8443"]
    world.pass_time(45)
    assert all(node.cordoned_at is not None for node in world.nodes())
    assert world.attempts(attempt.job_id)[0].state is AttemptState.RUNNING

    world.reader.rays["https://10.0.0.1:8443"] = ("m-0001", "m-0002")
    world.pass_time(10)
    assert all(node.cordoned_at is None for node in world.nodes())
