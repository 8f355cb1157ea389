"""Bare inserts: one connection per thread, one row per commit, each commit on disk before the next begins."""

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

import psycopg

CREATE = "CREATE TABLE bare (id TEXT PRIMARY KEY, body TEXT NOT NULL)"
BUSY_SECONDS = 30.0


class BareDatabase(Protocol):
    """A database of its own with one table of ids and bodies."""

    def connect(self) -> "BareConnection":
        """Opens what one thread uses."""


class BareConnection(Protocol):
    def insert(self, body: str) -> None:
        """Returns when the row is durable."""

    def insert_all(self, bodies: Sequence[str]) -> None:
        """In one commit."""

    def close(self) -> None: ...


class BareSqlite:
    """WAL and `synchronous=FULL`, as the store has them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(_sqlite(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(CREATE)

    def connect(self) -> "SqliteConnection":
        return SqliteConnection(_sqlite(self._path))


class SqliteConnection:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute("PRAGMA synchronous=FULL")

    def insert(self, body: str) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("INSERT INTO bare VALUES (?, ?)", (uuid.uuid4().hex, body))
        self._connection.execute("COMMIT")

    def insert_all(self, bodies: Sequence[str]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO bare VALUES (?, ?)", _rows(bodies))
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


class BarePostgresql:
    def __init__(self, url: str) -> None:
        self._url = url
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(CREATE)

    def connect(self) -> "PostgresqlConnection":
        return PostgresqlConnection(psycopg.connect(self._url))


class PostgresqlConnection:
    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def insert(self, body: str) -> None:
        self._connection.execute("INSERT INTO bare VALUES (%s, %s)", (uuid.uuid4().hex, body))
        self._connection.commit()

    def insert_all(self, bodies: Sequence[str]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany("INSERT INTO bare VALUES (%s, %s)", _rows(bodies))
        self._connection.commit()

    def close(self) -> None:
        self._connection.close()


def _rows(bodies: Sequence[str]) -> list[tuple[str, str]]:
    return [(uuid.uuid4().hex, body) for body in bodies]


def rate_of_threads(database: BareDatabase, body: str, *, threads: int, seconds: float) -> float:
    """Rows per second of so many threads together."""
    counts: list[int] = []
    ends_at = time.perf_counter() + seconds

    def insert_until_the_end() -> None:
        connection = database.connect()
        counts.append(_inserts(connection.insert, body, ends_at))
        connection.close()

    pool = [threading.Thread(target=insert_until_the_end) for _ in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    if len(counts) < threads:
        raise ValueError(f"{threads - len(counts)} of {threads} inserting threads failed")
    return sum(counts) / seconds


def _inserts(insert: Callable[[str], None], body: str, ends_at: float) -> int:
    count = 0
    while time.perf_counter() < ends_at:
        insert(body)
        count += 1
    return count


def _sqlite(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
