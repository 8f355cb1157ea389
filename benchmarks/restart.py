"""Restart with a million queued jobs: loading the queue's columns, and the first plan made from them.

Beside the load: the same five columns of the asks' table alone, read by the bare driver. Beside the plan: one sort of
the same rows.
"""

import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

import psycopg

from benchmarks.figures import Figure, Reference, at_most, main
from benchmarks.million import ALL_QUEUED, Shape, fill
from benchmarks.servers import postgresql
from controlplane.domain.amounts import Amounts
from controlplane.domain.ids import ClusterId, NodeId
from controlplane.store import QueuedRows, Store
from schedulers.base import AskClass, ClusterView, NodeView, QueuedAsks, Snapshot
from schedulers.priority import Priority

TURNS: Final = 3
CLASSES: Final = 1_000
FEW_CLASSES: Final = 3
NODES: Final = 64
NODE: Final = Amounts(cpu_milli=64_000, memory_bytes=512 * 1024**3, gpu_milli=8_000)
SHAPE: Final = Shape(states=ALL_QUEUED, classes=CLASSES, labels=False)
BARE: Final = "SELECT id, class_id, priority, submitted_at, not_before FROM asks"

Bare = Callable[[], object]


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-", ignore_cleanup_errors=True) as folder:
        of_sqlite, snapshot = on_sqlite(Path(folder))
        of_postgresql = on_postgresql(Path(folder))
    few = _with_few_classes(snapshot)
    return [of_sqlite, of_postgresql, first_plan(snapshot), first_plan(few)]


def on_sqlite(folder: Path) -> tuple[Figure, Snapshot]:
    path = folder / "million.db"
    fill(f"sqlite:///{path}", SHAPE)
    with closing(sqlite3.connect(path)) as bare:
        figure, rows = loading("SQLite", f"sqlite:///{path}", lambda: bare.execute(BARE).fetchall())
    return figure, _snapshot(rows)


def on_postgresql(folder: Path) -> Figure:
    with postgresql(folder / "postgresql") as database:
        url = database("million")
        fill(url, SHAPE)
        with psycopg.connect(url, autocommit=True) as bare:
            return loading("PostgreSQL", url, lambda: bare.execute(BARE).fetchall())[0]


def loading(kind: str, url: str, bare: Bare) -> tuple[Figure, QueuedRows]:
    store = Store.open(url)
    try:
        rows = _queued(store)
        turns = [(_seconds(lambda: _queued(store)), _seconds(bare)) for _ in range(TURNS)]
    finally:
        store.close()
    reference = Reference(name="bare read of the asks alone", value=median(theirs for _, theirs in turns))
    name = f"{kind}, columns of {len(rows.ids):,} queued asks"
    return Figure(
        name=name, value=median(ours for ours, _ in turns), unit="s", reference=reference, aims=(at_most(2),)
    ), rows


def _queued(store: Store) -> QueuedRows:
    with store.read() as tx:
        return tx.asks.queued()


def first_plan(snapshot: Snapshot) -> Figure:
    policy, asks = Priority(), snapshot.asks
    columns = (asks.priorities, asks.submitted, asks.ids, asks.classes)

    def planned() -> None:
        plan = policy.start(snapshot).plan(version=0, now=snapshot.now)
        if len(plan.defers) != len(snapshot.classes):
            raise ValueError(f"{len(plan.defers)} classes were deferred, there are {len(snapshot.classes)}")

    seconds = [
        (_seconds(planned), _seconds(lambda: sorted(zip(*columns, strict=True)))) for _ in range(TURNS)
    ]
    return Figure(
        name=f"start and first plan, {len(snapshot.classes):,} classes",
        value=median(ours for ours, _ in seconds),
        unit="s",
        reference=Reference(name="one sort of the rows", value=median(theirs for _, theirs in seconds)),
        aims=(at_most(10),),
    )


def _snapshot(rows: QueuedRows) -> Snapshot:
    """Of a cluster that takes the first few hundred of them."""
    cluster = ClusterView(id=ClusterId("cluster"), name="cluster", blocked=None)
    store_classes = {
        ask.class_id: AskClass(
            id=ask.class_id,
            queue_id=ask.queue_id,
            tasks=ask.tasks,
            amounts=ask.amounts,
            accelerator=ask.accelerator,
        )
        for ask in rows.classes
    }
    return Snapshot(
        version=0,
        now=rows.classes[0].submitted_at,
        asks=QueuedAsks(
            ids=rows.ids,
            classes=rows.class_ids,
            priorities=rows.priorities,
            submitted=rows.submitted_us,
            not_before=rows.not_before_us,
        ),
        classes=store_classes,
        nodes=tuple(
            NodeView(
                id=NodeId(f"node-{number}"),
                cluster_id=cluster.id,
                allocatable=NODE,
                free=NODE,
                accelerator=None,
            )
            for number in range(NODES)
        ),
        clusters=(cluster,),
    )


def _with_few_classes(snapshot: Snapshot) -> Snapshot:
    names = list(snapshot.classes)[:FEW_CLASSES]
    fewer = dict(zip(snapshot.classes, [names[n % FEW_CLASSES] for n in range(CLASSES)], strict=True))
    asks = replace(snapshot.asks, classes=[fewer[each] for each in snapshot.asks.classes])
    return replace(snapshot, asks=asks, classes={name: snapshot.classes[name] for name in names})


def _seconds(act: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    act()
    return time.perf_counter() - started_at


if __name__ == "__main__":
    sys.exit(main("The columns of a million queued jobs, and the first plan made from them.", measure))
