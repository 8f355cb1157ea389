"""A world with the fair policy: four nodes on an executor that does what it is told, and a clock that is set."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cloud_adapters.base import Amounts, ClusterRef, Inventory, Machine
from controlplane.domain.attempts import Attempt
from controlplane.domain.clusters import Cluster, ClusterState
from controlplane.domain.ids import AttemptId, ClusterId, JobId, QueueId, TokenId
from controlplane.domain.jobs import Job
from controlplane.domain.queues import Cell, Queue, Quota
from controlplane.executors.base import Phase
from controlplane.executors.fake import FakeExecutor
from controlplane.identity.attempt_tokens import attempt_token
from controlplane.identity.principals import Principal, Role
from controlplane.operations import explain, projects, records, submission
from controlplane.operations.context import Context
from controlplane.operations.ids import RandomIds
from controlplane.operations.setting_up import set_up
from controlplane.runtime.process import Loops
from controlplane.secrets.sealer import Sealer
from controlplane.settings import Settings
from controlplane.storage.file import FileStore
from controlplane.store import QuotaNode, Store, Tx
from controlplane.wire.jobs import Explanation
from controlplane.wire.jobspec import JobSpec
from controlplane.wire.protocol import RecordBatch
from schedulers.base import DEFAULT_FLAVOR
from schedulers.fair.policy import Fair
from tests.inline_pool import InlinePool

START = datetime(2026, 1, 1, tzinfo=UTC)
ADMIN = Principal(token_id=TokenId("token"), name="admin", role=Role.ADMIN, project_id=None)
GPU = Cell(DEFAULT_FLAVOR, "gpu")


@dataclass(slots=True)
class Lab:
    """Four nodes with two GPUs each."""

    cordoned: set[str] = field(default_factory=set)

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        del cluster, deadline
        size = Amounts(cpu_milli=8000, gpu_milli=2000)
        names = [f"n{each}" for each in range(4)]
        machines = [
            Machine(name=name, host="127.0.0.1", allocatable=size, is_schedulable=name not in self.cordoned)
            for name in names
        ]
        return Inventory(machines=tuple(machines), complete=True, session="life-1")


@dataclass(slots=True)
class World:
    context: Context
    lab: Lab = field(default_factory=Lab)
    executor: FakeExecutor = field(default_factory=FakeExecutor)
    now: datetime = START
    loops: Loops = field(init=False)

    def __post_init__(self) -> None:
        self.loops = Loops(
            self.context, adapters={"ray": self.lab}, executor=self.executor, policy=Fair(), holder="me"
        )
        self.loops.scheduling._policy_seconds = math.inf  # else each plan is watched by a thread

    def settle(self) -> None:
        pool, store = InlinePool(), self.context.store
        seen: object = None
        while seen != (seen := store.change_marker()):
            self.loops.scheduling.step()
            for loop in self.loops.reconciling.values():
                loop.drain(pool)

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.settle()

    def queue(self, name: str) -> QueueId:
        return projects.create_queue(self.context, ADMIN, project="default", name=name).queue.id

    def quota(self, queue: QueueId | str, *, cohort: str | None, gpus: int, is_cohort: bool = False) -> None:
        limits = (Quota(cell=GPU, nominal=1000 * gpus),) if not is_cohort else ()
        parent = QueueId(cohort) if cohort is not None else None
        node = Queue(id=QueueId(queue), name=str(queue), parent_id=parent, quotas=limits)
        self.context.store.write(
            lambda tx: tx.quotas.put(QuotaNode(queue=node, is_cohort=is_cohort), by="admin")
        )

    def submit(self, queue: str, *, tasks: int = 1, gpus: int = 2, **fields: object) -> JobId:
        spec = JobSpec.model_validate(
            {"name": "work", "entrypoint": "true", "queue": queue, "tasks": tasks}
            | {"resources": {"cpus": 1, "gpus": gpus}}
            | fields
        )
        view = submission.submit(self.context, ADMIN, spec, spec.model_dump_json())
        self.settle()
        return view.job.id

    def job(self, job_id: JobId) -> Job:
        with self.context.store.read() as tx:
            job = tx.jobs.get(job_id)
        assert job is not None
        return job

    def attempts(self, job_id: JobId) -> list[Attempt]:
        with self.context.store.read() as tx:
            return tx.attempts.of_job(job_id)

    def why(self, job_id: JobId) -> str:
        return self.explain(job_id).code

    def explain(self, job_id: JobId) -> Explanation:
        return explain.explain(self.context, ADMIN, job_id)

    def nodes(self, attempt: Attempt) -> list[str]:
        with self.context.store.read() as tx:
            return sorted(seat.node_id for seat in tx.attempts.seats(attempt.id))

    def say(self, attempt_id: AttemptId, seq: int, kind: str, **fields: object) -> None:
        self._send(attempt_id, {"seq": seq, "kind": kind, "at": START.isoformat(), **fields})

    def _send(self, attempt_id: AttemptId, *said: dict[str, object]) -> None:
        batch = RecordBatch.model_validate({"rank": 0, "records": list(said)})
        records.ingest(self.context, attempt_id, attempt_token(self.context.server_key, attempt_id), batch)
        self.settle()

    def run(self, job_id: JobId) -> Attempt:
        attempt = self.attempts(job_id)[-1]
        self.executor.phases[attempt.id] = Phase.RUNNING
        self.say(attempt.id, 1, "hello", host="h", pid=1)
        return self.attempts(job_id)[-1]

    def go_on(self, seconds: int, *attempts: Attempt) -> None:
        """They say that they are alive, twice a minute."""
        for _ in range(seconds // 30):
            self.now += timedelta(seconds=30)
            for attempt in attempts:
                self._send(attempt.id)

    def stop(self, attempt: Attempt) -> None:
        self.executor.phases[attempt.id] = Phase.EXITED
        self.say(attempt.id, 2, "exit", code=143, reason="stopped", signal=15, final=True, log_bytes=0)

    def finish(self, attempt: Attempt) -> None:
        self.executor.phases[attempt.id] = Phase.EXITED
        self.say(attempt.id, 2, "exit", code=0, reason="completed", signal=None, final=True, log_bytes=0)


@contextmanager
def opened(folder: Path, database_url: str) -> Iterator[World]:
    here = {"CROSSDOCK_HOME": str(folder), "CROSSDOCK_DATABASE_URL": database_url}
    settings = replace(Settings.read(here), local_cluster=False)
    clock: list[World] = []
    store = Store.open(settings.database_url, now=lambda: clock[0].now if clock else START)
    context = Context(
        store=store,
        objects=FileStore(folder / "objects"),
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


def share(world: World) -> None:
    """Two queues that own four GPUs each and lend them to each other."""
    world.quota("pool", cohort=None, gpus=0, is_cohort=True)
    for name in ("blue", "green"):
        world.quota(world.queue(name), cohort="pool", gpus=4)


def _register(tx: Tx) -> None:
    lab = Cluster(
        id=ClusterId("lab"),
        name="lab",
        adapter="ray",
        state=ClusterState.PENDING,
        since=START,
        created_at=START,
        url="http://127.0.0.1:1",
    )
    tx.clusters.add(lab)
    tx.work.poke("cluster", lab.id)
