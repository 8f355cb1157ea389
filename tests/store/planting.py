"""Plants what other rows refer to, and looks under the store with plain SQL."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import psycopg

from controlplane.domain.jobs import Ask, Job
from controlplane.store import Store, Tx
from tests import factories

Values = Mapping[str, object]


def plant(store: Store, *, jobs: int = 0, nodes: int = 1) -> None:
    """A project, a queue, a cluster with nodes, and queued jobs, numbered from 1."""

    def unit(tx: Tx) -> None:
        tx.projects.add(factories.project())
        tx.queues.add(factories.queue())
        tx.clusters.add(factories.cluster())
        for number in range(1, nodes + 1):
            tx.nodes.put(factories.node(number))
        for number in range(1, jobs + 1):
            add_job(tx, factories.job(number), factories.ask(number))

    store.write(unit)


def add_job(tx: Tx, job: Job, ask: Ask, labels: Mapping[str, str] | None = None) -> None:
    tx.jobs.add(job, ask, spec='{"name":"x"}', schema_version=1, labels=labels or {})


class Raw:
    """Plain SQL on a connection of its own, as an operator with a console would have."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - of either driver
        self._connection = connection

    def execute(self, text: str) -> list[tuple[Any, ...]]:
        cursor = self._connection.execute(text)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def raw(url: str) -> Iterator[Raw]:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            yield Raw(connection)
    else:
        with psycopg.connect(url, autocommit=True) as connection:
            yield Raw(connection)


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Somebody else keeps the database, or what is written to, for itself."""
    with raw(url) as other:
        other.execute("BEGIN EXCLUSIVE" if url.startswith("sqlite") else "BEGIN")
        if not url.startswith("sqlite"):
            other.execute("LOCK TABLE projects IN ACCESS EXCLUSIVE MODE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
