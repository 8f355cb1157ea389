"""The loops, step by step and on both databases: real operations, store, policy and reconcilers around fakes."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloud_adapters.base import Amounts, ClusterRef, Inventory, Machine, Transient
from controlplane.domain.attempts import Attempt, AttemptState, Outcome
from controlplane.domain.clusters import Cluster, ClusterState, Endpoint
from controlplane.domain.ids import AttemptId, ClusterId, JobId, TokenId
from controlplane.domain.jobs import Job, JobState
from controlplane.executors.base import Observation, Phase
from controlplane.executors.fake import FakeExecutor, Vice
from controlplane.identity.attempt_tokens import attempt_token
from controlplane.identity.principals import Principal, Role
from controlplane.operations import jobs, records, submission
from controlplane.operations.context import Context
from controlplane.operations.ids import RandomIds
from controlplane.operations.setting_up import set_up
from controlplane.runtime.process import Loops
from controlplane.secrets.sealer import Sealer
from controlplane.settings import Settings
from controlplane.storage.file import FileStore
from controlplane.store import Store, Tx
from controlplane.wire.jobspec import JobSpec
from controlplane.wire.protocol import RecordBatch
from schedulers.priority import Priority
from tests.inline_pool import InlinePool

START = datetime(2026, 1, 1, tzinfo=UTC)
ADMIN = Principal(token_id=TokenId("token"), name="admin", role=Role.ADMIN, project_id=None)
NODE = Amounts(cpu_milli=2000, gpu_milli=2000)


@dataclass(slots=True)
class Lab:
    """Lends two nodes, unless it is cut off."""

    session: str = "life-1"
    is_cut_off: bool = False

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        if self.is_cut_off:
            raise Transient(f"{cluster.name} did not answer within {deadline:g} s")
        names = (f"{self.session}-n1", f"{self.session}-n2")
        machines = tuple(Machine(name=name, host="127.0.0.1", allocatable=NODE) for name in names)
        return Inventory(machines=machines, complete=True, session=self.session)


@dataclass(slots=True)
class World:
    """One replica of every role, run by hand; time passes only when a test says so."""

    context: Context
    lab: Lab = field(default_factory=Lab)
    executor: FakeExecutor = field(default_factory=FakeExecutor)
    now: datetime = START

    def __post_init__(self) -> None:
        self.loops = Loops(
            self.context,
            adapters={"ray": self.lab},
            executor=self.executor,
            policy=Priority(),
            holder="me",
        )
        self.loops.scheduling._policy_seconds = math.inf  # else each plan is watched by a thread

    loops: Loops = field(init=False)

    def settle(self) -> None:
        """Runs every loop until nothing is due."""
        pool, store = InlinePool(), self.context.store
        seen: object = None
        while seen != (seen := store.change_marker()):
            self.loops.scheduling.step()
            for loop in self.loops.reconciling.values():
                loop.drain(pool)

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.settle()

    def submit(self, **fields: object) -> JobId:
        spec = JobSpec.model_validate({"name": "work", "entrypoint": "true"} | fields)
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

    def say(self, attempt_id: AttemptId, seq: int, kind: str, **fields: object) -> None:
        self.push(attempt_id, seq, kind, **fields)
        self.settle()

    def push(self, attempt_id: AttemptId, seq: int, kind: str, **fields: object) -> None:
        """Says it, and nobody looks at it yet."""
        record = {"seq": seq, "kind": kind, "at": START.isoformat(), **fields}
        batch = RecordBatch.model_validate({"rank": 0, "records": [record]})
        token = attempt_token(self.context.server_key, attempt_id)
        records.ingest(self.context, attempt_id, token, batch)

    def hello(self, attempt_id: AttemptId) -> None:
        self.executor.phases[attempt_id] = Phase.RUNNING
        self.say(attempt_id, 1, "hello", host="h", pid=1)

    def exit(self, attempt_id: AttemptId, code: int, reason: str) -> None:
        self.executor.phases[attempt_id] = Phase.EXITED
        self.say(attempt_id, 2, "exit", code=code, reason=reason, signal=None, final=True, log_bytes=0)


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
        id=ClusterId("cluster_lab"),
        name="lab",
        adapter="ray",
        state=ClusterState.PENDING,
        since=tx.now,
        created_at=tx.now,
        url="http://127.0.0.1:9",
    )
    tx.clusters.add(cluster)
    tx.work.poke("cluster", cluster.id)


def test_a_job_is_placed_started_run_and_finished(world: World) -> None:
    job_id = world.submit()
    (attempt,) = world.attempts(job_id)
    assert (world.job(job_id).state, attempt.state) == (JobState.ACTIVE, AttemptState.STARTING)
    world.hello(attempt.id)
    assert world.attempts(job_id)[0].state is AttemptState.RUNNING
    world.exit(attempt.id, 0, "completed")
    assert world.attempts(job_id)[0].outcome is Outcome.SUCCEEDED
    assert world.job(job_id).state is JobState.SUCCEEDED


def test_a_start_whose_answer_is_lost_is_made_once(world: World) -> None:
    world.executor.vices = [Vice.LOSE_ANSWER]
    job_id = world.submit()
    world.pass_time(10)
    (attempt,) = world.attempts(job_id)
    assert (attempt.state, world.executor.starts) == (AttemptState.STARTING, [attempt.id])


def test_a_lost_attempt_is_followed_by_another_only_after_lease_and_skew(world: World) -> None:
    job_id = world.submit()
    (attempt,) = world.attempts(job_id)
    world.hello(attempt.id)
    world.executor.phases[attempt.id] = Phase.DIED
    world.pass_time(40)
    assert world.attempts(job_id)[0].state is AttemptState.STOPPING
    assert len(world.attempts(job_id)) == 1
    world.pass_time(30)
    assert [each.outcome for each in world.attempts(job_id)] == [Outcome.LOST, None]


def test_an_unreachable_cluster_takes_nothing_new_and_keeps_what_runs(world: World) -> None:
    job_id = world.submit()
    (attempt,) = world.attempts(job_id)
    world.hello(attempt.id)
    world.lab.is_cut_off = world.executor.is_cut_off = True
    for _ in range(9):
        world.pass_time(5)
    with world.context.store.read() as tx:
        lab = tx.clusters.get(ClusterId("cluster_lab"))
    assert lab is not None
    assert lab.state is ClusterState.UNREACHABLE
    assert world.attempts(job_id)[0].state is AttemptState.RUNNING
    assert world.job(world.submit()).state is JobState.QUEUED


def test_a_restarted_cluster_evicts_and_the_job_runs_again_on_the_new_nodes(world: World) -> None:
    job_id = world.submit()
    (attempt,) = world.attempts(job_id)
    world.hello(attempt.id)
    world.lab.session = "life-2"
    world.executor.restart_cluster()
    world.pass_time(20)
    world.pass_time(20)
    first, second = world.attempts(job_id)
    assert (first.outcome, second.state) == (Outcome.EVICTED, AttemptState.STARTING)


def test_a_cancelled_job_holds_its_seats_until_its_code_has_ended(world: World) -> None:
    job_id = world.submit(resources={"cpus": 2.0, "gpus": 2.0})
    waiting = world.submit(tasks=2, resources={"cpus": 2.0, "gpus": 2.0})
    (attempt,) = world.attempts(job_id)
    world.hello(attempt.id)
    jobs.cancel(world.context, ADMIN, job_id)
    world.settle()
    assert (world.executor.stops, world.job(waiting).state) == ([attempt.id], JobState.QUEUED)
    world.exit(attempt.id, 143, "stopped")
    assert (world.job(job_id).state, world.job(waiting).state) == (JobState.CANCELLED, JobState.ACTIVE)


def test_last_words_that_come_between_the_look_and_the_commit_decide(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = world.submit()
    (attempt,) = world.attempts(job_id)
    world.hello(attempt.id)
    look = FakeExecutor.observe

    def ends_meanwhile(
        executor: FakeExecutor, endpoint: Endpoint, ids: Sequence[AttemptId], *, deadline: float
    ) -> tuple[Observation, ...]:
        if executor.phases[attempt.id] is Phase.RUNNING:
            fields = {"code": 0, "reason": "completed", "signal": None, "final": True, "log_bytes": 0}
            world.push(attempt.id, 2, "exit", **fields)
            executor.phases[attempt.id], executor.exit_codes[attempt.id] = Phase.EXITED, 0
        return look(executor, endpoint, ids, deadline=deadline)

    monkeypatch.setattr(FakeExecutor, "observe", ends_meanwhile)
    jobs.cancel(world.context, ADMIN, job_id)
    world.settle()
    assert [each.outcome for each in world.attempts(job_id)] == [Outcome.SUCCEEDED]
    assert world.job(job_id).state is JobState.SUCCEEDED


def test_what_comes_while_a_leader_reads_is_not_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store, read = world.context.store, world.context.store.read
    spec = JobSpec(name="meanwhile", entrypoint="true")
    came: list[JobId] = []

    def read_after_a_submit() -> AbstractContextManager[Tx]:
        with monkeypatch.context() as as_before:
            as_before.setattr(store, "read", read)
            came.append(submission.submit(world.context, ADMIN, spec, spec.model_dump_json()).job.id)
        return read()

    world.loops.scheduling._leading = world.loops.scheduling._held = None
    monkeypatch.setattr(store, "read", read_after_a_submit)
    world.loops.scheduling.step()
    monkeypatch.undo()
    world.settle()
    assert [len(world.attempts(job_id)) for job_id in came] == [1] * len(came)


def test_a_failed_dependency_fails_the_jobs_that_wait_for_it(world: World) -> None:
    first = world.submit()
    second = world.submit(depends_on=[first])
    (attempt,) = world.attempts(first)
    assert world.job(second).state is JobState.HELD
    world.hello(attempt.id)
    world.exit(attempt.id, 1, "failed")
    assert world.job(second).state is JobState.FAILED


def test_a_retried_failure_waits_for_its_back_off(world: World) -> None:
    job_id = world.submit(retry={"max_attempts": 2, "backoff_seconds": 30.0})
    (attempt,) = world.attempts(job_id)
    world.hello(attempt.id)
    world.exit(attempt.id, 1, "failed")
    world.pass_time(29)
    assert len(world.attempts(job_id)) == 1
    world.pass_time(2)
    assert len(world.attempts(job_id)) == 2


def test_few_start_at_once_and_the_next_begins_as_soon_as_one_is_over(world: World) -> None:
    limit = world.context.settings.starts_in_flight
    job_ids = [world.submit(resources={"cpus": 0.25}) for _ in range(limit + 2)]
    first = world.attempts(job_ids[0])[0]
    assert len(world.executor.starts) == limit

    world.hello(first.id)

    states = [world.attempts(job_id)[0].state for job_id in job_ids]
    placed, starting = AttemptState.PLACED, AttemptState.STARTING
    assert states == [AttemptState.RUNNING, *[starting] * limit, placed]


def test_the_sweep_wakes_what_nobody_will_look_at(world: World) -> None:
    job_id = world.submit()
    (attempt,) = world.attempts(job_id)
    world.hello(attempt.id)
    world.context.store.write(lambda tx: _forget(tx, attempt.id))
    world.executor.phases[attempt.id] = Phase.EXITED
    world.executor.exit_codes[attempt.id] = 0
    world.pass_time(60)
    assert world.job(job_id).state is JobState.ACTIVE

    world.loops.sweep.round()
    world.settle()

    assert world.job(job_id).state is JobState.SUCCEEDED


def _forget(tx: Tx, attempt_id: AttemptId) -> None:
    """As if a wake-up had been lost for good."""
    tx.work.poke("attempt", attempt_id, tx.now)
    items = tx.work.claim("attempt", "me", 10, 60)
    tx.work.settle_many([(item, None) for item in items])
