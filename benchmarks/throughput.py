"""Throughput: whole lives of jobs per second, and submits over HTTP while the loops start jobs as fast as they can.

Beside the lives: their rows alone, written by bare executemany into the same tables. Beside the submits: the same
clients while nothing else happens.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from typing import Literal

from benchmarks.bare_lives import Row, bare_lives_on_postgresql, bare_lives_on_sqlite
from benchmarks.figures import Figure, Reference, at_least, at_most, main
from benchmarks.http_clients import Burst, Target, burst
from benchmarks.lives import (
    CLUSTER,
    SPEC,
    Lives,
    attach,
    count_since,
    found,
    head,
    loops_process,
    open_context,
    submit_all,
    whole_lives,
)
from benchmarks.servers import postgresql
from benchmarks.submit import submit_target
from controlplane.admin.server import init
from controlplane.operations.context import Context
from controlplane.settings import Settings
from controlplane.wire.jobspec import JobSpec
from tests.server import RunningServer, free_port

LIVES = 4_000
ROUNDS = 2
WITHIN_SECONDS = 60.0
BACKLOG = 12_000
CLIENTS = 16
BURST_SECONDS = 4.0

Kind = Literal["SQLite", "PostgreSQL"]
BARE: dict[Kind, Callable[[str, Row, int], Lives]] = {
    "SQLite": bare_lives_on_sqlite,
    "PostgreSQL": bare_lives_on_postgresql,
}


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-", ignore_cleanup_errors=True) as folder:
        return [*on_sqlite(Path(folder)), *on_postgresql(Path(folder)), *submits_beside_starts(Path(folder))]


def on_sqlite(folder: Path) -> Iterator[Figure]:
    def place(name: str) -> tuple[str, str]:
        path = folder / f"{name}.db"
        return f"sqlite:///{path}", str(path)

    yield from lives_figures("SQLite", folder, place)


def on_postgresql(folder: Path) -> Iterator[Figure]:
    with postgresql(folder / "postgresql") as database:

        def place(name: str) -> tuple[str, str]:
            url = database(name)
            return url, url

        yield from lives_figures("PostgreSQL", folder, place)


def lives_figures(kind: Kind, folder: Path, place: Callable[[str], tuple[str, str]]) -> Iterator[Figure]:
    """`place` makes a database for a name: its URL, and what the bare writer opens. Ours and the bare take turns."""
    ours: list[Lives] = []
    bare: list[Lives] = []
    for number in range(ROUNDS):
        url, _ = place(f"lives_{number}")
        with closing_services(folder / f"{kind}-{number}", url) as context, loops_process(context) as pid:
            ours.append(whole_lives(context, pid, LIVES, WITHIN_SECONDS))
        url, target = place(f"bare_{number}")
        with closing_services(folder / f"{kind}-bare-{number}", url) as context:
            home = bare_home(context)
        bare.append(BARE[kind](target, home, LIVES))
    name = "their rows by bare executemany"
    reference = Reference(name=name, value=median(each.rate for each in bare))
    rate = median(each.rate for each in ours)
    yield Figure(
        name=f"{kind}, whole lives", value=rate, unit="1/s", reference=reference, aims=(at_least(2000),)
    )
    reference = Reference(name=name, value=median(each.processor_us for each in bare))
    used = median(each.processor_us for each in ours)
    yield Figure(name=f"{kind}, processor time of a life", value=used, unit="us", reference=reference)


@contextmanager
def closing_services(home: Path, url: str) -> Iterator[Context]:
    home.mkdir()
    context = open_context(home, url)
    with closing(context.store):
        found(context)
        yield context


def bare_home(context: Context) -> Row:
    """What the bare lives refer to."""
    with loops_process(context):
        pass  # makes the nodes known
    with context.store.read() as tx:
        (project,) = tx.projects.list(None, 1)
        (queue,) = tx.queues.list(project.id, None, 1)
        node = tx.nodes.present()[0]
    spec = JobSpec.model_validate(SPEC).model_dump_json()
    home = {"project_id": project.id, "queue_id": queue.id, "cluster_id": CLUSTER, "node_id": node.id}
    return home | {"spec": spec}


def submits_beside_starts(folder: Path) -> Iterator[Figure]:
    with api_alone(folder / "beside") as (context, target):
        alone = burst(target, clients=CLIENTS, seconds=BURST_SECONDS)
        submit_all(context, BACKLOG)
        context.store.write(attach)
        with loops_process(context):
            before, began_at = head(context), time.perf_counter()
            beside = burst(target, clients=CLIENTS, seconds=BURST_SECONDS)
            seconds = time.perf_counter() - began_at
            starts = count_since(context, before, "attempt.starting") / seconds
    yield from beside_figures(alone, beside)
    reference = Reference(name="submits in the same seconds", value=beside.rate)
    yield Figure(name="SQLite, starts beside them", value=starts, unit="1/s", reference=reference)


def beside_figures(alone: Burst, beside: Burst) -> Iterator[Figure]:
    name = f"SQLite, {CLIENTS} clients beside starts"
    reference = Reference(name="without starts", value=alone.rate)
    yield Figure(
        name=f"{name}, submits", value=beside.rate, unit="1/s", reference=reference, aims=(at_least(400),)
    )
    reference = Reference(name="without starts", value=p99_ms(alone))
    yield Figure(
        name=f"{name}, p99", value=p99_ms(beside), unit="ms", reference=reference, aims=(at_most(100),)
    )


@contextmanager
def api_alone(home: Path) -> Iterator[tuple[Context, Target]]:
    """The api process as users run it, without loops."""
    settings = Settings.read({"CROSSDOCK_HOME": str(home), "CROSSDOCK_PORT": str(free_port())})
    settings = replace(settings, local_cluster=False)
    token = init(settings).admin_token or ""
    server = RunningServer(settings=settings, admin_token=token, is_fresh=True)
    server.start("api")
    try:
        server.wait_until_ready()
        context = open_context(home, settings.database_url)
        with closing(context.store):
            yield context, submit_target(settings.port, token)
    finally:
        server.stop()


def p99_ms(measured: Burst) -> float:
    return 1000 * quantiles(measured.latencies, n=100)[98]


if __name__ == "__main__":
    sys.exit(main("Whole lives of jobs, and submits while jobs start.", measure))
