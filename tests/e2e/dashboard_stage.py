"""A stage for the dashboard: the real API over rows that no scheduler made."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from controlplane import bootstrap
from controlplane.admin.server import init
from controlplane.domain.amounts import Amounts
from controlplane.domain.attempts import Attempt, AttemptState, Outcome, Seat
from controlplane.domain.clusters import Cluster, ClusterState, Node
from controlplane.domain.ids import AttemptId, ClusterId, JobId, NodeId
from controlplane.domain.jobs import Job, JobState
from controlplane.sdk import Client, JobSpec, Resources, Retry
from controlplane.settings import Settings
from controlplane.store import MetricRow, RankRow, Store, Tx
from tests.server import RunningServer, free_port

HOSTILE: Final = "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script>"
RACK: Final = ClusterId("cluster_rack")
CLOUD: Final = ClusterId("cluster_cloud")
ONE_TASK: Final = Amounts(cpu_milli=2000, gpu_milli=1000)
STEPS: Final = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    server: RunningServer
    client: Client
    store: Store

    @property
    def url(self) -> str:
        return self.server.settings.url

    @property
    def token(self) -> str:
        return self.server.admin_token


@contextmanager
def running_stage(home: Path) -> Iterator[Stage]:
    """The api process alone: nothing moves but what a test moves."""
    environment = {"CROSSDOCK_HOME": str(home), "CROSSDOCK_PORT": str(free_port())}
    settings = replace(Settings.read(environment), local_cluster=False)
    token = init(settings).admin_token
    if token is None:
        raise LookupError(f"{home} was set up before")
    server = RunningServer(settings=settings, admin_token=token)
    server.start("api")
    context = bootstrap.context(settings)
    try:
        server.wait_until_ready()
        with server.client() as client:
            yield Stage(server=server, client=client, store=context.store)
    finally:
        context.store.close()
        server.stop()


def plant(stage: Stage) -> dict[str, str]:
    """Clusters, and a job in each kind of state; name -> id."""
    stage.store.write(_add_clusters)
    jobs = {spec.name: stage.client.jobs.submit(spec).id for spec in _specs()}
    waiting = JobSpec(name="report", entrypoint="python report.py", depends_on=[jobs["digits"]])
    jobs["report"] = stage.client.jobs.submit(waiting).id
    stage.client.jobs.get(jobs["unwanted"]).cancel()
    stage.store.write(lambda tx: _act(tx, jobs))
    return jobs


def _specs() -> tuple[JobSpec, ...]:
    gang = Resources(cpus=2.0, gpus=1.0, memory="2GiB")
    return (
        JobSpec(name="unwanted", entrypoint="sleep 60"),
        JobSpec(name="nightly-eval", kind="batch", entrypoint="python -m evaluate --split test"),
        JobSpec(name="too-big", kind="training", entrypoint="python train.py", resources=Resources(gpus=2.0)),
        JobSpec(name="hostile", entrypoint=HOSTILE, labels={"note": HOSTILE}),
        JobSpec(
            name="digits",
            kind="training",
            entrypoint="python -m digits --epochs 12",
            tasks=2,
            priority=10,
            resources=gang,
            retry=Retry(max_attempts=3),
            checkpoint_uri="file:///shared/digits/checkpoints",
            labels={"team": "vision", "dataset": "digits"},
        ),
    )


def _add_clusters(tx: Tx) -> None:
    base = Cluster(
        id=RACK, name="rack-a", adapter="ray", state=ClusterState.PENDING, since=tx.now, created_at=tx.now
    )
    rack = replace(base, url="http://127.0.0.1:8265")
    cloud = replace(base, id=CLOUD, name="cloud-b", url="https://ray.cloud-b.example")
    for cluster in (rack, cloud):
        tx.clusters.add(cluster)
    tx.clusters.save(replace(rack, last_seen_at=tx.now).move(ClusterState.READY, at=tx.now))
    ready = replace(cloud, last_seen_at=tx.now - timedelta(hours=2)).move(ClusterState.READY, at=tx.now)
    tx.clusters.save(ready)
    tx.clusters.save(
        replace(ready, problem=f"timed out: {HOSTILE}").move(ClusterState.UNREACHABLE, at=tx.now)
    )
    for number in (1, 2):
        tx.nodes.put(_node(number, tx.now))


def _node(number: int, now: datetime) -> Node:
    return Node(
        id=NodeId(f"node_{number}"),
        cluster_id=RACK,
        name=f"rack-a-{number}",
        host=f"10.0.0.{number}",
        allocatable=Amounts(cpu_milli=8000, gpu_milli=2000, memory_bytes=64 * 1024**3),
        foreign=Amounts(cpu_milli=500 * number),
        accelerator="A100",
        seen_at=now,
    )


def _act(tx: Tx, jobs: dict[str, str]) -> None:
    _run_digits(tx, JobId(jobs["digits"]))
    for name, outcome in (("nightly-eval", Outcome.SUCCEEDED), ("hostile", Outcome.FAILED)):
        attempt = _began(tx, JobId(jobs[name]), number=1, tasks=1)
        write_log(tx, attempt.id, 0, f"{HOSTILE}\n\x1b[32mdone\x1b[0m\n")
        _end(tx, attempt, outcome, reason=HOSTILE if name == "hostile" else None)
        job = _found(tx, JobId(jobs[name]))
        final = JobState.SUCCEEDED if outcome is Outcome.SUCCEEDED else JobState.FAILED
        tx.jobs.save(job.move(final, at=tx.now, reason=HOSTILE if name == "hostile" else None))
    ask = tx.asks.of_job(JobId(jobs["too-big"]))
    if ask is not None:
        sentence = "needs 1 x {gpu 2}, 1 gpu is free on the best node"
        remedy = "is placed when a node of rack-a has 2 free gpus"
        tx.reasons.put(ask.class_id, "no_room", sentence, remedy, tx.now)
    tx.leases.take("scheduler", "stage", 3600)  # else every wait would be explained by its absence


def _run_digits(tx: Tx, job_id: JobId) -> None:
    first = _began(tx, job_id, number=1, tasks=2)
    _write_metrics(tx, first.id, job_id, range(STEPS // 3))
    write_log(tx, first.id, 0, "epoch 1\nepoch 2\nout of memory\n")
    _end(tx, first, Outcome.FAILED, exit_code=137, reason="rank 1 ended with exit code 137")
    tx.jobs.save(_found(tx, job_id).move(JobState.QUEUED, at=tx.now, reason="exit code 137"))
    second = _began(tx, job_id, number=2, tasks=2)
    _write_metrics(tx, second.id, job_id, range(STEPS // 4, STEPS))
    rank = RankRow(progress=0.58, progress_message="epoch 7 of 12", heartbeat_at=tx.now)
    tx.records.save_rank(second.id, 0, rank)
    for each in (0, 1):
        text = "".join(f"step {step:4}  task {each}  loss {_loss(step):.4f}\n" for step in range(60))
        write_log(tx, second.id, each, text, row=rank if each == 0 else RankRow())


def _began(tx: Tx, job_id: JobId, *, number: int, tasks: int) -> Attempt:
    job, ask = _found(tx, job_id), tx.asks.of_job(job_id)
    if ask is None:
        raise LookupError(job_id)
    tx.jobs.save(job.move(JobState.ACTIVE, at=tx.now))
    at = tx.now - timedelta(minutes=12 - 5 * number)
    attempt = Attempt(
        id=AttemptId(f"attempt_{job_id}_{number}"),
        job_id=job_id,
        ask_id=ask.id,
        project_id=job.project_id,
        cluster_id=RACK,
        number=number,
        state=AttemptState.PLACED,
        since=at,
        placed_at=at,
    )
    seats = [
        Seat(attempt_id=attempt.id, rank=rank, node_id=NodeId(f"node_{rank + 1}"), amounts=ONE_TASK)
        for rank in range(tasks)
    ]
    tx.attempts.add(attempt, seats)
    starting = attempt.start(session="session_1", at=at)
    tx.attempts.save(starting)
    running = replace(starting, lease_until=tx.now + timedelta(hours=1)).run(at=at + timedelta(seconds=3))
    tx.attempts.save(running)
    return running


def _end(
    tx: Tx, attempt: Attempt, outcome: Outcome, *, exit_code: int = 0, reason: str | None = None
) -> None:
    tx.attempts.save(
        attempt.end(outcome, at=tx.now - timedelta(minutes=3), exit_code=exit_code, reason=reason)
    )


def _found(tx: Tx, job_id: JobId) -> Job:
    job = tx.jobs.get(job_id)
    if job is None:
        raise LookupError(job_id)
    return job


def _loss(step: int) -> float:
    return 2.3 * math.exp(-step / 60) + 0.05 * (1 + math.sin(step / 3))


def _write_metrics(tx: Tx, attempt_id: AttemptId, job_id: JobId, steps: range) -> None:
    tx.records.add_metrics(
        [
            MetricRow(
                attempt_id=attempt_id,
                job_id=job_id,
                rank=0,
                seq=seq,
                step=step,
                at=tx.now,
                values={
                    "loss": _loss(step),
                    "accuracy": 1 - _loss(step) / 2.5,
                    "learning rate": 0.01 * 0.98**step,
                },
            )
            for seq, step in enumerate(steps, start=1)
        ]
    )


def write_log(tx: Tx, attempt_id: AttemptId, rank: int, text: str, *, row: RankRow | None = None) -> None:
    known = tx.records.rank(attempt_id, rank)
    end = tx.records.append_log(attempt_id, rank, known.log_offset, text.encode())
    tx.records.save_rank(attempt_id, rank, replace(row or known, log_offset=end))
