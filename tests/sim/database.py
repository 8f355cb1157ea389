"""The world's database: SQLite in memory, a copy of a migrated template, and doors where a commit can go wrong."""

import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Final, Protocol, TypeVar

from controlplane.domain.errors import Bug, Unavailable
from controlplane.store import Store
from controlplane.store.links import Link
from controlplane.store.sqlite import SqliteDriver

T = TypeVar("T")

URL: Final = "sqlite:///:memory:"


class Crash(BaseException):
    """The replica that is acting dies here; nothing of ours may catch it."""


class Gate(Protocol):
    """Asked at every door, by the replica that stands in front of it."""

    def before_read(self) -> None:
        """May raise `Unavailable`."""

    def before_write(self) -> None:
        """May let others act, raise `Unavailable`, or `Crash`."""

    def runs_twice(self) -> bool:
        """Whether the first run of the unit is thrown away, as after a serialization failure."""

    def before_commit(self) -> None:
        """May raise `Unavailable` or `Crash`: then nothing of the unit is kept."""

    def after_commit(self) -> None:
        """May raise `Unavailable` or `Crash`: all of it is kept, and nobody was told."""


class NoFaults:
    def before_read(self) -> None: ...
    def before_write(self) -> None: ...
    def runs_twice(self) -> bool:
        return False

    def before_commit(self) -> None: ...
    def after_commit(self) -> None: ...


class MemoryDriver(SqliteDriver):
    def __init__(self, template: bytes) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=512)
        self._connection.deserialize(template)
        self._connection.execute("PRAGMA foreign_keys = ON")


class SimDatabase:
    """Shared by all replicas of one world."""

    def __init__(self) -> None:
        self.driver = MemoryDriver(template())
        self.commits = 0
        self.is_writing = False

    def doors(self, now_us: Callable[[], int], gate: Gate) -> "SimDoors":
        return SimDoors(self, now_us, gate)


class SimDoors:
    """One replica's way in. A write is whole before anybody else's begins, as behind the real single writer."""

    has_one_writer: Final = True

    def __init__(self, database: SimDatabase, now_us: Callable[[], int], gate: Gate) -> None:
        self._database = database
        self._now_us = now_us
        self._gate = gate

    def read(self) -> AbstractContextManager[Link]:
        if self._database.is_writing:
            raise Bug("reads through another door inside a unit: it would not see its own writes")
        self._gate.before_read()
        return nullcontext(Link(self._database.driver, self._now_us()))

    def write(self, unit: Callable[[Link], T]) -> T:
        self._gate.before_write()
        if self._gate.runs_twice():
            self._run(unit)
            self._database.driver.control("ROLLBACK")
        result = self._run(unit)
        try:
            self._gate.before_commit()
        except BaseException:
            self._database.driver.control("ROLLBACK")
            raise
        self._database.driver.control("COMMIT")
        self._database.commits += 1
        self._gate.after_commit()
        return result

    def change_marker(self) -> object:
        return self._database.commits

    def close(self) -> None:
        """The database is the world's, not the replica's."""

    def _run(self, unit: Callable[[Link], T]) -> T:
        driver = self._database.driver
        driver.control("BEGIN")
        self._database.is_writing = True
        try:
            return unit(Link(driver, self._now_us()))
        except BaseException:
            driver.control("ROLLBACK")
            raise
        finally:
            self._database.is_writing = False


@cache
def template() -> bytes:
    """A migrated, empty database, serialised once per process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        store = Store.open(f"sqlite:///{path}")
        store.migrate()
        store.close()
        with sqlite3.connect(path) as connection:
            # A database in memory has no write-ahead log.
            connection.execute("PRAGMA journal_mode = DELETE")
            data = connection.serialize()
        connection.close()
        return data


def away(what: str = "the database is away") -> Unavailable:
    return Unavailable(what)
