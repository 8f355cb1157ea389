"""The scheduling loop with the fair policy, on both databases: quotas, preemption and hand-over, as rows."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloud_adapters.base import Amounts, ClusterRef, Inventory, Machine
from controlplane.domain.attempts import Attempt, AttemptState, Outcome
from controlplane.domain.clusters import Cluster, ClusterState
from controlplane.domain.ids import AttemptId, ClusterId, JobId, QueueId, TokenId
from controlplane.domain.jobs import Job, JobState
from controlplane.domain.queues import Cell, Queue, Quota
from controlplane.executors.base import Phase
from controlplane.executors.fake import FakeExecutor
from controlplane.identity.attempt_tokens import attempt_token
from controlplane.identity.principals import Principal, Role
from controlplane.operations import explain, jobs, projects, records, submission
from controlplane.operations.context import Context
from controlplane.operations.ids import RandomIds
from controlplane.operations.setting_up import set_up
from controlplane.runtime.process import Loops
from controlplane.secrets.sealer import Sealer
from controlplane.settings import Settings
from controlplane.storage.file import FileStore
from controlplane.store import QuotaNode, Store, Tx
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

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        del cluster, deadline
        size = Amounts(cpu_milli=8000, gpu_milli=2000)
        machines = tuple(Machine(name=f"n{each}", host="127.0.0.1", allocatable=size) for each in range(4))
        return Inventory(machines=machines, complete=True, session="life-1")


@dataclass(slots=True)
class World:
    context: Context
    executor: FakeExecutor = field(default_factory=FakeExecutor)
    now: datetime = START
    loops: Loops = field(init=False)

    def __post_init__(self) -> None:
        self.loops = Loops(
            self.context, adapters={"ray": Lab()}, executor=self.executor, policy=Fair(), holder="me"
        )

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
        return explain.explain(self.context, ADMIN, job_id).code

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

    def go_on(self, attempt: Attempt, seconds: int) -> None:
        """It says that it is alive, twice a minute."""
        for _ in range(seconds // 30):
            self.now += timedelta(seconds=30)
            self._send(attempt.id)

    def stop(self, attempt: Attempt) -> None:
        self.executor.phases[attempt.id] = Phase.EXITED
        self.say(attempt.id, 2, "exit", code=143, reason="stopped", signal=15, final=True, log_bytes=0)

    def finish(self, attempt: Attempt) -> None:
        self.executor.phases[attempt.id] = Phase.EXITED
        self.say(attempt.id, 2, "exit", code=0, reason="completed", signal=None, final=True, log_bytes=0)


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


@pytest.fixture
def shared(world: World) -> World:
    """Two queues that own four GPUs each and lend them to each other."""
    world.quota("pool", cohort=None, gpus=0, is_cohort=True)
    for name in ("blue", "green"):
        world.quota(world.queue(name), cohort="pool", gpus=4)
    return world


def test_a_queue_borrows_what_nobody_uses(shared: World) -> None:
    job = shared.submit("blue", tasks=4)
    assert len(shared.nodes(shared.attempts(job)[0])) == 4


def test_the_owner_takes_its_quota_back_on_exactly_the_promised_seats(shared: World) -> None:
    first, second = shared.submit("blue", tasks=2), shared.submit("blue", tasks=2)
    for job in (first, second):
        shared.run(job)
    shared.pass_time(62)
    owner = shared.submit("green", tasks=2)

    assert shared.why(owner) == "waiting_for_seats"
    states = {job: shared.attempts(job)[0].state for job in (first, second)}
    (victim,) = (job for job, state in states.items() if state is AttemptState.STOPPING)
    stopped = shared.attempts(victim)[0]
    assert (stopped.stop_outcome, shared.attempts(owner)) == (Outcome.PREEMPTED, [])
    assert "takes back its own quota" in (stopped.reason or "")

    shared.stop(stopped)
    heir = shared.attempts(owner)[0]
    assert shared.nodes(heir) == shared.nodes(stopped)
    assert shared.attempts(victim)[0].outcome is Outcome.PREEMPTED
    assert shared.job(victim).state is JobState.QUEUED
    with shared.context.store.read() as tx:
        assert tx.memories.nominations() == []

    shared.run(owner)
    shared.pass_time(62)
    assert shared.attempts(victim)[-1].number == 1  # nobody takes the owner's seats away again
    shared.finish(heir)
    assert shared.attempts(victim)[-1].number == 2


def test_nobody_else_gets_the_promised_seats(shared: World) -> None:
    first, second = shared.submit("blue", tasks=2), shared.submit("blue", tasks=2)
    for job in (first, second):
        shared.run(job)
    shared.pass_time(62)
    owner = shared.submit("green", tasks=2)
    intruder = shared.submit("blue", tasks=1)
    (stopped,) = (
        attempt
        for job in (first, second)
        for attempt in shared.attempts(job)
        if attempt.state is AttemptState.STOPPING
    )
    shared.stop(stopped)
    assert len(shared.attempts(owner)) == 1
    assert shared.attempts(intruder) == []


def test_a_young_attempt_is_left_alone_until_its_time_is_over(shared: World) -> None:
    job = shared.submit("blue", tasks=4)
    shared.run(job)
    owner = shared.submit("green", tasks=2)
    assert shared.attempts(job)[0].state is AttemptState.RUNNING
    shared.pass_time(shared.context.settings.min_runtime_seconds + 1)
    assert shared.attempts(job)[0].state is AttemptState.STOPPING
    assert shared.why(owner) == "waiting_for_seats"


def test_a_promise_lapses_when_its_heir_is_cancelled(shared: World) -> None:
    job = shared.submit("blue", tasks=4)
    shared.run(job)
    shared.pass_time(62)
    owner = shared.submit("green", tasks=2)
    jobs.cancel(shared.context, ADMIN, owner)
    shared.settle()
    shared.stop(shared.attempts(job)[0])
    assert shared.attempts(job)[-1].number == 2


def test_more_than_the_quota_and_all_that_could_be_lent_says_so(shared: World) -> None:
    shared.submit("blue", tasks=4)
    waiting = shared.submit("blue", tasks=1)
    assert shared.why(waiting) == "no_quota"


def test_work_that_started_small_keeps_its_size_and_holds_nobody_up(shared: World) -> None:
    first = shared.submit("blue", tasks=3)
    small = shared.submit("blue", tasks=3, min_tasks=1)
    assert len(shared.nodes(shared.attempts(small)[0])) == 1
    for job in (first, small):
        shared.run(job)
    shared.finish(shared.attempts(first)[0])
    other = shared.submit("green", tasks=3)
    assert len(shared.nodes(shared.attempts(other)[0])) == 3
    assert len(shared.attempts(small)) == 1


def test_who_started_small_starts_again_larger_in_a_later_epoch_and_nobody_takes_its_seats(
    shared: World,
) -> None:
    first = shared.submit("blue", tasks=3)
    small = shared.submit("blue", tasks=3, min_tasks=1)
    for job in (first, small):
        shared.run(job)
    shared.finish(shared.attempts(first)[0])
    assert shared.attempts(small)[0].state is AttemptState.RUNNING

    shared.go_on(shared.attempts(small)[0], 330)
    stopping = shared.attempts(small)[0]
    assert (stopping.stop_outcome, stopping.reason) == (Outcome.RESIZED, "resized: 1 to 3 tasks")
    intruder = shared.submit("green", tasks=2)
    assert shared.attempts(intruder) == []
    shared.stop(stopping)
    larger = shared.attempts(small)[1]
    assert len(shared.nodes(larger)) == 3
    assert set(shared.nodes(stopping)) < set(shared.nodes(larger))
    assert shared.job(small).state is JobState.ACTIVE


def test_surplus_tasks_go_and_the_others_start_again_where_they_were(shared: World) -> None:
    elastic = shared.submit("blue", tasks=4, min_tasks=1)
    shared.run(elastic)
    shared.pass_time(62)
    owner = shared.submit("green", tasks=2)
    stopping = shared.attempts(elastic)[0]
    assert stopping.stop_outcome is Outcome.PREEMPTED
    shared.stop(stopping)
    smaller, heir = shared.attempts(elastic)[1], shared.attempts(owner)[0]
    assert len(shared.nodes(smaller)) == len(shared.nodes(heir)) == 2
    assert sorted(shared.nodes(smaller) + shared.nodes(heir)) == shared.nodes(stopping)
    shared.pass_time(700)
    assert len(shared.attempts(elastic)) == 2  # nothing is free, so it stays as it is
