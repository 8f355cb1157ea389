"""A database with a million jobs, filled by the database itself in a few statements, triggers on.

What a job is like follows from its number, so both databases hold the same jobs.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg

from controlplane.domain.ids import ProjectId, QueueId
from controlplane.store import Store

JOBS: Final = 1_000_000
FIRST_SUBMIT_US: Final = 1_767_225_600_000_000
"""Microseconds since the epoch; a job every 50 ms from then on."""

BETWEEN_US: Final = 50_000
SPEC: Final = (
    '{"name":"train-digits","kind":"training","entrypoint":"python train.py --epochs 10 --batch-size 64",'
    '"resources":{"cpus":2,"memory":"4GiB","gpus":1},"retry":{"max_attempts":3},"labels":{"team":"vision"}}'
)
RETRY: Final = (
    '{"max_attempts":1,"backoff_seconds":10.0,"max_backoff_seconds":600.0,"retryable_exit_codes":[]}'
)
BIG, SMALL = ProjectId("prj_big"), ProjectId("prj_small")
QUEUES: Final = 20
QUEUE_OF_BIG: Final = QueueId("que_3")

MIXED_STATES: Final = """CASE
  WHEN n % 1000 < 700 THEN 'succeeded' WHEN n % 1000 < 780 THEN 'failed' WHEN n % 1000 < 800 THEN 'cancelled'
  WHEN n % 20000 = 19999 THEN 'held' WHEN n % 20000 = 9999 THEN 'active' ELSE 'queued' END"""
ALL_QUEUED: Final = "'queued'"

# The hundred jobs of the small project lie deep below the newest million.
QUEUE: Final = "CASE WHEN n < 100000 AND n % 1000 = 5 THEN 19 ELSE (n * 7) % 19 END"
PROJECT: Final = "CASE WHEN q < 10 THEN 'prj_big' WHEN q < 19 THEN 'prj_mid' ELSE 'prj_small' END"
KIND: Final = "CASE WHEN n % 5000 = 11 THEN 'training' WHEN n % 10 = 3 THEN 'batch' ELSE 'command' END"
NAME: Final = "CASE WHEN n % 2 = 0 THEN 'nightly' ELSE 'one-of-' || (n / 100) END"
CAME_FROM: Final = (
    "CASE state WHEN 'queued' THEN 'held' WHEN 'held' THEN '-' WHEN 'active' THEN 'queued' ELSE 'active' END"
)

COUNT_ON_SQLITE: Final = (
    "(WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < {} - 1) SELECT n FROM c)"
)
COUNT_ON_POSTGRESQL: Final = "(SELECT generate_series(0::bigint, {} - 1) AS n) AS numbers"

Run = Callable[[str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the jobs are like."""

    states: str
    """SQL over `n`, the job's number."""

    classes: int
    labels: bool


def fill(url: str, shape: Shape) -> None:
    """Migrates an empty database and fills it."""
    store = Store.open(url)
    store.migrate()
    store.close()
    is_postgresql = url.startswith("postgresql")
    with _session(url) as run:
        run("BEGIN")
        _tenants_and_jobs(run, shape, is_postgresql=is_postgresql)
        if is_postgresql:
            # Who made the rows below is ourselves: nobody need look up a million times what they refer to.
            run("SET session_replication_role = replica")
        _what_hangs_on_jobs(run, shape)
        run("COMMIT")
        # Done by and by in a database that was not filled at one stroke.
        run("VACUUM ANALYZE" if is_postgresql else "PRAGMA wal_checkpoint(TRUNCATE)")


def _tenants_and_jobs(run: Run, shape: Shape, *, is_postgresql: bool) -> None:
    numbers = COUNT_ON_POSTGRESQL if is_postgresql else COUNT_ON_SQLITE
    run("INSERT INTO projects VALUES ('prj_big', 'big', 0), ('prj_mid', 'mid', 0), ('prj_small', 'small', 0)")
    run(
        "INSERT INTO queues (id, project_id, name, created_at) "  # noqa: S608 - all parts are constants above
        f"SELECT 'que_' || q, {PROJECT}, 'q' || q, 0 FROM (SELECT n AS q FROM {numbers.format(QUEUES)}) AS numbered"
    )
    run(
        f"CREATE TEMPORARY TABLE new_jobs AS SELECT n, 'job_' || ({10**7} + n) AS id, "  # noqa: S608
        f"{FIRST_SUBMIT_US} + n * {BETWEEN_US} AS at, {shape.states} AS state, {QUEUE} AS q, {KIND} AS kind, "
        f"{NAME} AS name FROM {numbers.format(JOBS)}"
    )
    run(
        "INSERT INTO jobs (id, project_id, queue_id, name, kind, priority, state, came_from, since, "  # noqa: S608
        "submitted_at, version, retry, depends_on, spec, schema_version) "
        f"SELECT id, {PROJECT}, 'que_' || q, name, kind, 0, state, {CAME_FROM}, at, at, 2, '{RETRY}', '[]', "
        f"'{SPEC}', 1 FROM new_jobs ORDER BY n"
    )


def _what_hangs_on_jobs(run: Run, shape: Shape) -> None:
    run(
        "INSERT INTO asks (id, job_id, queue_id, ordinal, tasks, cpu_milli, memory_bytes, gpu_milli, "  # noqa: S608
        "custom_milli, class_id, priority, submitted_at) "
        "SELECT id || '.0', id, 'que_' || q, 0, 1, 2000, 4294967296, 1000, '{}', "
        f"'class-' || ({10**11} + n % {shape.classes}), 0, at FROM new_jobs ORDER BY n"
    )
    if not shape.labels:
        return
    for name, value, which in (("team", "n % 10", "TRUE"), ("sweep", "n / 50000", "n % 5000 = 7")):
        run(
            "INSERT INTO job_labels (job_id, name, value, submitted_at) "  # noqa: S608
            f"SELECT id, '{name}', '{name}-' || ({value}), at FROM new_jobs WHERE {which} ORDER BY n"
        )


@contextmanager
def _session(url: str) -> Iterator[Run]:
    connection: sqlite3.Connection | psycopg.Connection
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    else:
        connection = psycopg.connect(url, autocommit=True)
    with closing(connection):
        yield connection.execute
