"""A control plane run by hand over a cluster that builds Ray clusters and a cloud whose machines form them."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cloud_adapters.base import Amounts, CapacityType, ClusterRef, Inventory, Machine, Transient
from cloud_adapters.fake_builder import FakeBuilder
from cloud_adapters.fake_cloud import FakeCloud
from controlplane.domain.attempts import Attempt
from controlplane.domain.claims import Claim
from controlplane.domain.clusters import Cluster, ClusterState, Node
from controlplane.domain.ids import AttemptId, ClaimId, ClusterId, JobId, TokenId
from controlplane.executors.base import Phase
from controlplane.executors.fake import FakeExecutor
from controlplane.identity.attempt_tokens import attempt_token
from controlplane.identity.launch_tokens import launch_token
from controlplane.identity.principals import Principal, Role
from controlplane.operations import claims, machines, records, submission
from controlplane.operations.context import Context
from controlplane.operations.ids import RandomIds
from controlplane.operations.setting_up import set_up
from controlplane.runtime.process import Loops
from controlplane.secrets.sealer import Sealer
from controlplane.settings import Settings
from controlplane.storage.file import FileStore
from controlplane.store import Store, Tx
from controlplane.wire.jobspec import JobSpec
from controlplane.wire.machines import CheckInAnswer, CheckInRequest
from controlplane.wire.protocol import RecordBatch
from schedulers.base import Policy
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
    node: Amounts = NODE

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        assert cluster.endpoint is not None
        if cluster.endpoint.url not in self.rays:
            raise Transient(f"{cluster.endpoint.url} did not answer within {deadline:g} s")
        self.tokens.add(cluster.endpoint.token or "")
        names = self.rays[cluster.endpoint.url]
        nodes = tuple(
            Machine(
                name=f"ray-{each}", host=each, allocatable=self.node, labels=(("crossdock.io/machine", each),)
            )
            for each in names
        )
        return Inventory(machines=nodes, complete=True, session=f"life-of-{cluster.endpoint.url}")


@dataclass(slots=True)
class World:
    context: Context
    policy: Policy = field(default_factory=Priority)
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
            self.context,
            adapters={"ray": self.reader, "kube": self.kube, "cloud": self.cloud},
            executor=self.executor,
            policy=self.policy,
            holder="me",
        )
        self.loops.scheduling._policy_seconds = math.inf  # else each plan is watched by a thread

    def settle(self) -> None:
        pool, store = InlinePool(), self.context.store
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

    def register(self, adapter: str, *, name: str | None = None, **settings: str) -> None:
        cluster = Cluster(
            id=ClusterId(f"cluster_{name or adapter}"),
            name=name or adapter,
            adapter=adapter,
            state=ClusterState.PENDING,
            since=START,
            created_at=START,
            settings=tuple(sorted(settings.items())),
        )
        self.context.store.write(lambda tx: _register(tx, cluster))
        self.settle()

    def submit(self, **fields: object) -> JobId:
        spec = JobSpec.model_validate({"name": "work", "entrypoint": "true"} | fields)
        view = submission.submit(self.context, ADMIN, spec, spec.model_dump_json())
        self.settle()
        return view.job.id

    def attempts(self, job_id: JobId) -> list[Attempt]:
        with self.context.store.read() as tx:
            return tx.attempts.of_job(job_id)

    def claim(self, claim_id: ClaimId | None) -> Claim:
        assert claim_id is not None
        with self.context.store.read() as tx:
            claim = tx.claims.get(claim_id)
        assert claim is not None
        return claim

    def nodes(self) -> list[Node]:
        with self.context.store.read() as tx:
            return tx.nodes.present()

    def say(self, attempt_id: AttemptId, seq: int, kind: str, **fields: object) -> None:
        record = {"seq": seq, "kind": kind, "at": START.isoformat(), **fields}
        batch = RecordBatch.model_validate({"rank": 0, "records": [record]})
        records.ingest(self.context, attempt_id, attempt_token(self.context.server_key, attempt_id), batch)
        self.settle()

    def hello(self, attempt_id: AttemptId) -> None:
        self.executor.phases[attempt_id] = Phase.RUNNING
        self.say(attempt_id, 1, "hello", host="h", pid=1)

    def exit(self, attempt_id: AttemptId) -> None:
        self.executor.phases[attempt_id] = Phase.EXITED
        self.say(attempt_id, 2, "exit", code=0, reason="completed", signal=None, final=True, log_bytes=0)

    def check_in(self, claim: Claim, machine: str, phase: str = "booting", **fields: object) -> CheckInAnswer:
        with self.context.store.read() as tx:
            launch = tx.launches.of_claim(claim.id)[-1].id
        said = {
            "claim_id": claim.id,
            "launch_id": launch,
            "machine": machine,
            "host": f"10.0.0.{machine[-1]}",
        }
        token = launch_token(self.context.server_key, launch)
        return machines.check_in(
            self.context, token, CheckInRequest.model_validate(said | {"phase": phase} | fields)
        )

    def bought(self) -> Claim:
        """A claim whose two machines run and have not spoken yet."""
        self.register("cloud")
        claim = claims.request(self.context, ADMIN, TWO).claim
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
    for noun in ("cluster", "orphan", "leftover", "offer"):
        tx.work.poke(noun, cluster.id)


@contextmanager
def opened(tmp_path: Path, database_url: str, policy: Policy, *, rates: str = "USD=1") -> Iterator[World]:
    here = {"CROSSDOCK_HOME": str(tmp_path), "CROSSDOCK_DATABASE_URL": database_url}
    settings = replace(Settings.read(here), local_cluster=False, exchange_rates=rates)
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
    clock.append(World(context, policy))
    yield clock[0]
    store.close()
