"""Whole lives of jobs without a cluster: the loops in a process of their own, around fake capacity and executor.

`python -m benchmarks.lives HOME URL` is that process. Whoever started it submits, and plays the wrappers: of every
attempt that was started it says that its code has ended well.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cloud_adapters.base import Amounts, ClusterRef, Inventory, Machine
from controlplane.domain.clusters import Cluster, ClusterState
from controlplane.domain.ids import AttemptId, ClusterId, TokenId
from controlplane.executors.fake import FakeExecutor
from controlplane.identity.principals import Principal, Role
from controlplane.operations.bulk import submit_each
from controlplane.operations.context import Context
from controlplane.operations.ids import RandomIds
from controlplane.operations.pacing import AtOnce, Inline
from controlplane.operations.setting_up import set_up
from controlplane.runtime.interpreter import set_the_pace
from controlplane.runtime.process import Loops
from controlplane.secrets.sealer import Sealer
from controlplane.settings import Settings
from controlplane.storage.file import FileStore
from controlplane.store import RankRow, Store, Tx
from controlplane.wire.jobspec import JobSpec
from schedulers.priority import Priority
from tests.server import eventually

NODES = 8
PER_NODE = 10_000
"""CPUs, GPUs and portions of 4 GiB."""

MANY = 1_000_000
READY_SECONDS = 60.0
STOP_SECONDS = 30.0
LOOK_SECONDS = 0.005
FEED_PAGE = 2000
BATCH = 200
COORDINATOR = -1
CLUSTER = ClusterId("cluster_bench")
ADMIN = Principal(token_id=TokenId("token_bench"), name="bench", role=Role.ADMIN, project_id=None)
SPEC = {"name": "train-digits", "entrypoint": "python train.py --epochs 10", "resources": {"cpus": 1}}


class Hall:
    """Capacity that never changes."""

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        del cluster, deadline
        milli = 1000 * PER_NODE
        allocatable = Amounts(cpu_milli=milli, gpu_milli=milli, memory_bytes=PER_NODE * 4 * 1024**3)
        names = [f"node-{number}" for number in range(NODES)]
        machines = tuple(Machine(name=name, host="127.0.0.1", allocatable=allocatable) for name in names)
        return Inventory(machines=machines, complete=True, session="life-1")


def open_context(home: Path, url: str) -> Context:
    settings = Settings.read({"CROSSDOCK_HOME": str(home), "CROSSDOCK_DATABASE_URL": url})
    return Context(
        store=Store.open(url),
        objects=FileStore(home / "objects"),
        ids=RandomIds(),
        sealer=Sealer(b"k" * 32),
        settings=replace(settings, local_cluster=False, starts_in_flight=MANY),
        pace=Inline() if url.startswith("sqlite") else AtOnce(),
    )


def found(context: Context) -> None:
    """An empty control plane with the hall attached."""
    context.store.migrate()
    set_up(context)
    context.store.write(attach)


def attach(tx: Tx) -> None:
    cluster = Cluster(
        id=CLUSTER,
        name="hall",
        adapter="ray",
        state=ClusterState.PENDING,
        since=tx.now,
        created_at=tx.now,
        url="http://127.0.0.1:9",
    )
    tx.clusters.add(cluster)
    tx.work.poke("cluster", cluster.id)


@contextmanager
def loops_process(context: Context) -> Iterator[int]:
    """Gives its process id once the hall is ready; whatever happens, it is ended."""
    settings = context.settings
    command = [sys.executable, "-m", "benchmarks.lives", str(settings.home), settings.database_url]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(Path.cwd())})
    try:
        eventually(partial(_is_ready, context), READY_SECONDS, "the loops did not get the hall ready")
        yield process.pid
        if process.poll() is not None:
            raise ChildProcessError("the loops ended while they were measured")
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def submit_all(context: Context, count: int) -> None:
    spec = JobSpec.model_validate(SPEC)
    entry = (spec, spec.model_dump_json())
    submit_each(context, ADMIN, (entry for _ in range(count)), lambda verdicts: str(len(verdicts)))


@dataclass(slots=True)
class Wrappers:
    """Follows the feed: ends the code of every attempt that starts, and counts the jobs that are done."""

    context: Context
    cursor: str
    done: int = 0

    def follow(self, count: int, within_seconds: float) -> None:
        """Returns when so many jobs have succeeded."""
        deadline = time.monotonic() + within_seconds
        while self.done < count:
            with self.context.store.read() as tx:
                page, self.cursor = tx.events.subjects_after(self.cursor, FEED_PAGE)
            self._take(page)
            if not page:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{self.done} of {count} jobs are done after {within_seconds} s")
                time.sleep(LOOK_SECONDS)

    def _take(self, events: Sequence[tuple[str, str]]) -> None:
        self.done += sum(kind == "job.succeeded" for kind, _ in events)
        started = [AttemptId(subject) for kind, subject in events if kind == "attempt.starting"]
        for start in range(0, len(started), BATCH):
            unit = partial(_end, ids=started[start : start + BATCH])
            self.context.pace.write(partial(self.context.store.write, unit)).result()


def count_since(context: Context, cursor: str, kind: str) -> int:
    """Events of that kind behind the cursor."""
    count, page = 0, [("", "")]
    while page:
        with context.store.read() as tx:
            page, cursor = tx.events.subjects_after(cursor, FEED_PAGE)
        count += sum(each == kind for each, _ in page)
    return count


def head(context: Context) -> str:
    with context.store.read() as tx:
        return tx.events.head()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lives:
    rate: float
    """Per second, from the first submit to the last success."""

    processor_us: float
    """Microseconds of processor time per life, of all processes but a database server."""


def whole_lives(context: Context, loops_pid: int, count: int, within_seconds: float) -> Lives:
    wrappers = Wrappers(context=context, cursor=head(context))
    submitter = threading.Thread(target=submit_all, args=(context, count), daemon=True)
    used_before, began_at = time.process_time() + processor_seconds(loops_pid), time.perf_counter()
    submitter.start()
    wrappers.follow(count, within_seconds)
    took_seconds = time.perf_counter() - began_at
    submitter.join()
    used_seconds = time.process_time() + processor_seconds(loops_pid) - used_before
    return Lives(rate=count / took_seconds, processor_us=1e6 * used_seconds / count)


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _end(tx: Tx, *, ids: Sequence[AttemptId]) -> None:
    over = RankRow(exit_code=0, exit_reason="completed", exited_at=tx.now)
    tx.records.save_ranks([(attempt_id, COORDINATOR, over) for attempt_id in ids])
    tx.work.poke_many("attempt", ids)


def _is_ready(context: Context) -> bool:
    with context.store.read() as tx:
        cluster = tx.clusters.get(CLUSTER)
        return cluster is not None and cluster.takes_tasks and len(tx.nodes.present()) == NODES


def run_loops(home: Path, url: str) -> None:
    """Until SIGTERM."""
    set_the_pace()
    context, stopping = open_context(home, url), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    loops = Loops(
        context, adapters={"ray": Hall()}, executor=FakeExecutor(), policy=Priority(), holder="bench"
    )
    loops.start()
    stopping.wait()
    loops.stop(timeout_seconds=STOP_SECONDS)
    context.store.close()


if __name__ == "__main__":
    run_loops(Path(sys.argv[1]), sys.argv[2])
