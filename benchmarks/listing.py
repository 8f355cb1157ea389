"""Lists of a million jobs: pages of every filter, deep pages, single jobs and counts, on both databases.

Beside them: the same page of all jobs, read by the bare driver over the same index, in turns with ours.
"""

import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from statistics import quantiles
from typing import Final

import psycopg

from benchmarks.figures import Figure, Reference, at_most, main
from benchmarks.million import (
    BETWEEN_US,
    BIG,
    FIRST_SUBMIT_US,
    JOBS,
    MIXED_STATES,
    QUEUE_OF_BIG,
    SMALL,
    Shape,
    fill,
)
from benchmarks.servers import postgresql
from controlplane.domain.ids import JobId
from controlplane.domain.jobs import JobKind, JobState
from controlplane.store import JobFilter, JobPlace, Store, Tx

PAGE: Final = 100
WARM_UP: Final = 3
TURNS: Final = 40
DEEP_PAGES: Final = 500
AIM_MS: Final = 50.0
SHAPE: Final = Shape(states=MIXED_STATES, classes=3, labels=True)
FINISHED: Final = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
COLUMNS: Final = "id, project_id, queue_id, name, kind, state, since, submitted_at, version, retry, spec"

FILTERS: Final[dict[str, JobFilter]] = {
    "nothing": JobFilter(),
    "project": JobFilter(project_ids=(BIG,)),
    "small project": JobFilter(project_ids=(SMALL,)),
    "queue": JobFilter(project_ids=(BIG,), queue_id=QUEUE_OF_BIG),
    "queued": JobFilter(states=(JobState.QUEUED,)),
    "held, 50": JobFilter(states=(JobState.HELD,)),
    "finished": JobFilter(states=FINISHED),
    "failed of project": JobFilter(project_ids=(BIG,), states=(JobState.FAILED,)),
    "kind": JobFilter(kind=JobKind.BATCH),
    "rare kind": JobFilter(kind=JobKind.TRAINING),
    "name of half": JobFilter(name="nightly"),
    "rare name": JobFilter(name="one-of-77"),
    "no such name": JobFilter(name="nobody"),
    "label of a tenth": JobFilter(label=("team", "team-3")),
    "rare label": JobFilter(label=("sweep", "sweep-4")),
    "no such label": JobFilter(label=("team", "nobody")),
    "held with label": JobFilter(states=(JobState.HELD,), label=("team", "team-9")),
    "name in small project": JobFilter(project_ids=(SMALL,), name="nightly"),
    "rare kind with label": JobFilter(kind=JobKind.TRAINING, label=("team", "team-1")),
    "two that never meet": JobFilter(name="nightly", label=("team", "team-3")),
    "kind and label that never meet": JobFilter(kind=JobKind.BATCH, label=("team", "team-1")),
    "everything": JobFilter(
        project_ids=(BIG,),
        queue_id=QUEUE_OF_BIG,
        states=(JobState.FAILED,),
        kind=JobKind.COMMAND,
        name="nightly",
        label=("team", "team-4"),
        submitted_after=datetime.fromisoformat("2026-01-01T01:00:00Z"),
    ),
}

Milliseconds = list[float]
Look = Callable[[Tx], object]
BarePage = Callable[[int], object]
"""Reads the page behind a moment, in microseconds since the epoch."""


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-", ignore_cleanup_errors=True) as folder:
        return [*on_sqlite(Path(folder)), *on_postgresql(Path(folder))]


def on_sqlite(folder: Path) -> list[Figure]:
    path = folder / "million.db"
    fill(f"sqlite:///{path}", SHAPE)
    with closing(sqlite3.connect(path)) as bare:
        text = _bare_page("?")
        return figures_of("SQLite", f"sqlite:///{path}", lambda at: bare.execute(text, (at, "")).fetchall())


def on_postgresql(folder: Path) -> list[Figure]:
    with postgresql(folder / "postgresql") as database:
        url = database("million")
        fill(url, SHAPE)
        with psycopg.connect(url, autocommit=True) as bare:
            text = _bare_page("%s")
            return figures_of("PostgreSQL", url, lambda at: bare.execute(text, (at, "")).fetchall())


def _bare_page(mark: str) -> str:
    return (
        f"SELECT {COLUMNS} FROM jobs WHERE (submitted_at, id) < ({mark}, {mark}) "  # noqa: S608 - constants
        f"ORDER BY submitted_at DESC, id DESC LIMIT {PAGE}"
    )


def figures_of(kind: str, url: str, bare_page: BarePage) -> list[Figure]:
    store = Store.open(url)
    try:
        taken, bare = in_turns(store, looks(), bare_page)
        deep = deep_pages(store)
    finally:
        store.close()
    pages = {name: taken[name] for name in FILTERS}
    worst = max(pages, key=lambda name: _p99(pages[name]))
    reference = Reference(name="bare page of all jobs, p99", value=_p99(bare))
    all_pages = [each for name in pages for each in pages[name]]
    return [
        _figure(f"{kind}, first page of any filter, p99", all_pages, reference),
        _figure(f"{kind}, worst filter ({worst}), p99", pages[worst], reference, aimed=False),
        _figure(f"{kind}, {DEEP_PAGES} pages on, p99", deep, reference),
        _figure(f"{kind}, one job, p99", taken["get"], reference),
        _figure(f"{kind}, counts, p99", taken["counts"], reference),
    ]


def looks() -> dict[str, Look]:
    pages: dict[str, Look] = {
        name: lambda tx, wanted=wanted: tx.jobs.list(wanted, None, PAGE)  # type: ignore[misc]
        for name, wanted in FILTERS.items()
    }
    return pages | {
        "get": lambda tx: tx.jobs.view(JobId("job_10500000")),
        "counts": lambda tx: tx.counts.buckets(),
    }


def in_turns(
    store: Store, looks: Mapping[str, Look], bare_page: BarePage
) -> tuple[dict[str, Milliseconds], Milliseconds]:
    taken: dict[str, Milliseconds] = {name: [] for name in looks}
    bare: Milliseconds = []
    for turn in range(WARM_UP + TURNS):
        for name, look in looks.items():
            place = FIRST_SUBMIT_US + BETWEEN_US * (JOBS - turn * JOBS // (WARM_UP + TURNS))
            ours = _milliseconds(lambda look=look: _looked(store, look))  # type: ignore[misc]
            theirs = _milliseconds(lambda place=place: bare_page(place))  # type: ignore[misc]
            if turn >= WARM_UP:
                taken[name].append(ours)
                bare.append(theirs)
    return taken, bare


def deep_pages(store: Store) -> Milliseconds:
    """From the middle of the list on, each behind the one before."""
    place: JobPlace | None = JobPlace(
        submitted_us=FIRST_SUBMIT_US + BETWEEN_US * JOBS // 2, job_id=JobId("job")
    )
    taken: Milliseconds = []
    for _ in range(DEEP_PAGES):
        started_at = time.perf_counter()
        with store.read() as tx:
            page = tx.jobs.list(JobFilter(project_ids=(BIG,)), place, PAGE)
        taken.append(1000 * (time.perf_counter() - started_at))
        place = page.next
    return taken


def _looked(store: Store, look: Look) -> None:
    with store.read() as tx:
        look(tx)


def _milliseconds(act: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - started_at)


def _figure(name: str, taken: Milliseconds, reference: Reference, *, aimed: bool = True) -> Figure:
    aims = (at_most(AIM_MS),) if aimed else ()
    return Figure(name=name, value=_p99(taken), unit="ms", reference=reference, aims=aims)


def _p99(values: Milliseconds) -> float:
    return quantiles(values, n=100, method="inclusive")[98]


if __name__ == "__main__":
    sys.exit(main("Lists, single jobs and counts among a million jobs.", measure))
