"""A control plane on SQLite with a clock that tests move, and shorthands for what use cases begin with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, func, select, text

from controlplane.domain.amounts import Amounts
from controlplane.domain.attempts import Attempt, AttemptState, Outcome, Seat
from controlplane.domain.clusters import Cluster, ClusterState, Node
from controlplane.domain.ids import AttemptId, ClusterId, JobId, NodeId, ProjectId, TokenId
from controlplane.domain.jobs import Job, JobState, ask_id
from controlplane.identity.principals import Principal, Role
from controlplane.operations import projects, submission, tokens
from controlplane.operations.context import Context
from controlplane.operations.ids import RandomIds
from controlplane.secrets.sealer import Sealer
from controlplane.settings import Settings
from controlplane.storage.file import FileStore
from controlplane.store import JobView, Store, Tx
from controlplane.wire.jobspec import JobSpec

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
GIBIBYTE = 1024**3

TABLES = (
    "projects",
    "queues",
    "jobs",
    "asks",
    "events",
    "clusters",
    "tokens",
    "idempotency",
    "uploads",
    "work",
)


@dataclass(slots=True)
class Clock:
    """The database's."""

    at: datetime = START

    def __call__(self) -> datetime:
        return self.at

    def pass_seconds(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass(slots=True, kw_only=True)
class World:
    context: Context
    clock: Clock
    root: Principal
    """Admin of all projects."""

    made: list[str] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return self.context.store

    def submit(self, *, who: Principal | None = None, **given: Any) -> JobView:  # noqa: ANN401 - fields of a spec
        spec = JobSpec.model_validate({"name": "train", "entrypoint": "python train.py", **given})
        text = spec.model_dump_json(exclude_unset=True)
        return submission.submit(self.context, who or self.root, spec, text)

    def principal(self, role: Role, project: str | None = None) -> Principal:
        with self.store.read() as tx:
            owner = tx.projects.by_name(project) if project else None
        return Principal(
            token_id=TokenId(f"token_{role}"),
            name=f"a-{role}",
            role=role,
            project_id=owner.id if owner else None,
        )

    def secret(self, role: Role, project: str | None = None) -> str:
        return tokens.create(self.context, self.root, name=f"a-{role}", role=role, project=project).secret

    def cluster(
        self,
        name: str = "lab",
        *,
        nodes: int = 2,
        gpus: int = 2,
        accelerator: str | None = None,
        seen: bool = True,
    ) -> Cluster:
        """A ready cluster whose nodes have 4 cpus each; with `seen` False it is pending and nothing is known of it."""
        cluster = Cluster(
            id=ClusterId(f"cluster_{name}"),
            name=name,
            adapter="ray",
            state=ClusterState.PENDING,
            since=self.clock.at,
            created_at=self.clock.at,
            url="http://127.0.0.2:8265",
        )
        self.store.write(lambda tx: tx.clusters.add(cluster))
        if not seen:
            return cluster
        ready = replace(cluster, last_seen_at=self.clock.at).move(ClusterState.READY, at=self.clock.at)

        def unit(tx: Tx) -> None:
            tx.clusters.save(ready)
            for number in range(nodes):
                tx.nodes.put(self._node(ready, number, gpus=gpus, accelerator=accelerator))

        self.store.write(unit)
        return ready

    def place(self, job: Job, cluster: Cluster, *, tasks: int = 1) -> Attempt:
        """Gives the job its next attempt, as the scheduling loop would."""

        def unit(tx: Tx) -> Attempt:
            now = tx.now
            current = tx.jobs.get(job.id) or job
            tx.jobs.save(current.move(JobState.ACTIVE, at=now))
            number = len(tx.attempts.of_job(job.id)) + 1
            attempt = Attempt(
                id=AttemptId(f"{job.id}-{number}"),
                job_id=job.id,
                ask_id=ask_id(job.id),
                project_id=job.project_id,
                cluster_id=cluster.id,
                number=number,
                state=AttemptState.PLACED,
                since=now,
                placed_at=now,
            )
            nodes = tx.nodes.present(cluster.id)
            seats = [
                Seat(
                    attempt_id=attempt.id,
                    rank=rank,
                    node_id=nodes[rank % len(nodes)].id,
                    amounts=Amounts(cpu_milli=1000),
                )
                for rank in range(tasks)
            ]
            tx.attempts.add(attempt, seats)
            return attempt

        return self.store.write(unit)

    def running(self, *, tasks: int = 1, **given: Any) -> Attempt:  # noqa: ANN401 - fields of a spec
        """A job with one running attempt."""
        cluster = self._some_cluster()
        attempt = self.place(self.submit(tasks=tasks, **given).job, cluster, tasks=tasks)
        started = self.change(attempt, attempt.start(session="s1", at=self.clock.at))
        return self.change(started, started.run(at=self.clock.at))

    def change(self, old: Attempt, new: Attempt) -> Attempt:
        self.store.write(lambda tx: tx.attempts.save(new))
        return self.attempt(old.id)

    def stop(self, attempt: Attempt) -> Attempt:
        return self.change(attempt, attempt.stop(Outcome.CANCELLED, at=self.clock.at, reason="cancelled"))

    def end(self, attempt: Attempt, outcome: Outcome = Outcome.SUCCEEDED, *, exit_code: int = 0) -> Attempt:
        return self.change(attempt, attempt.end(outcome, at=self.clock.at, exit_code=exit_code))

    def finish(self, job_id: str, state: JobState, reason: str | None = None) -> None:
        def unit(tx: Tx) -> None:
            job = tx.jobs.get(JobId(job_id))
            assert job is not None
            tx.jobs.save(job.move(state, at=tx.now, reason=reason))

        self.store.write(unit)

    def attempt(self, attempt_id: str) -> Attempt:
        with self.store.read() as tx:
            found = tx.attempts.get(AttemptId(attempt_id))
        assert found is not None
        return found

    def job(self, job_id: str) -> Job:
        with self.store.read() as tx:
            found = tx.jobs.get(JobId(job_id))
        assert found is not None
        return found

    def event_kinds(self) -> list[str]:
        with self.store.read() as tx:
            return [event.kind for _, event in tx.events.after(None, 1000)[0]]

    def is_poked(self, noun: str, id_: str) -> bool:
        """Whether a loop that claims now would get it."""
        items = self.store.write(lambda tx: tx.work.claim(noun, "test", 1000, 1.0))
        found = any(item.id == id_ for item in items)
        self.clock.pass_seconds(2)  # the claim runs out
        return found

    def counts(self) -> dict[str, int]:
        """Rows per table: what a refused request must not change."""
        url = self.context.settings.database_url
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        try:
            with engine.connect() as connection:
                return {table: _count(connection, table) for table in TABLES}
        finally:
            engine.dispose()

    def _some_cluster(self) -> Cluster:
        with self.store.read() as tx:
            clusters = tx.clusters.list()
        return clusters[0] if clusters else self.cluster(nodes=4)

    def _node(self, cluster: Cluster, number: int, *, gpus: int, accelerator: str | None) -> Node:
        return Node(
            id=NodeId(f"node_{cluster.name}_{number}"),
            cluster_id=cluster.id,
            name=f"{cluster.name}-{number}",
            host=f"127.0.0.{number + 2}",
            allocatable=Amounts(cpu_milli=4000, gpu_milli=gpus * 1000, memory_bytes=8 * GIBIBYTE),
            foreign=Amounts(),
            accelerator=accelerator,
            seen_at=self.clock.at,
        )


@contextmanager
def world(folder: Path, url: str, **settings: Any) -> Iterator[World]:  # noqa: ANN401 - Settings' fields
    """An empty control plane with the project `default` and its queue, over a migrated database."""
    at = Clock()
    store = Store.open(url, now=at)
    context = Context(
        store=store,
        objects=FileStore(folder / "objects"),
        ids=RandomIds(),
        sealer=Sealer(b"m" * 32),
        settings=Settings(home=folder, database_url=url, **settings),
    )
    root = Principal(token_id=TokenId("token_root"), name="root", role=Role.ADMIN, project_id=None)
    projects.create_project(context, root, "default")
    try:
        yield World(context=context, clock=at, root=root)
    finally:
        store.close()


def _count(connection: Connection, table: str) -> int:
    return int(connection.execute(select(func.count()).select_from(text(table))).scalar_one())


def other_project(plane: World, name: str = "other") -> ProjectId:
    return projects.create_project(plane.context, plane.root, name).id
