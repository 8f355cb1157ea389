"""Store: the two doors to SQL. Whoever reads gets one snapshot; whoever writes hands in a unit."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

from controlplane.domain.errors import Bug, Invalid
from controlplane.store import migrating
from controlplane.store.links import Link
from controlplane.store.sqlite import SqliteDoors
from controlplane.store.tx import Tx

T = TypeVar("T")

SQLITE_PREFIX: Final = "sqlite:///"
POSTGRESQL_PREFIX: Final = "postgresql://"
BUSY_TIMEOUT_SECONDS: Final = 5.0


class Doors(Protocol):
    """What each database does in its own way."""

    @property
    def has_one_writer(self) -> bool: ...

    def read(self) -> AbstractContextManager[Link]: ...

    def write(self, unit: Callable[[Link], T]) -> T: ...

    def change_marker(self) -> object: ...

    def close(self) -> None: ...


class _Reading:
    """No generator: loops open hundreds of these a second, and most ask one question."""

    __slots__ = ("_door", "_link")

    def __init__(self, door: AbstractContextManager[Link]) -> None:
        self._door = door

    def __enter__(self) -> Tx:
        self._link = self._door.__enter__()
        return Tx(self._link)

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._link.end()
        return self._door.__exit__(kind, raised, trace)


class Store:
    def __init__(self, url: str, doors: Doors) -> None:
        self._url = url
        self._doors = doors
        self._here = threading.local()

    @classmethod
    def open(
        cls,
        url: str,
        *,
        now: Callable[[], datetime] | None = None,
        busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
    ) -> Self:
        """`sqlite:////absolute/path.db` or `postgresql://..`; `now` takes the place of the database's clock.

        Connects when first used. `busy_timeout_seconds` is how long a lock or a free connection is waited for.
        """
        if url.startswith(SQLITE_PREFIX):
            path = url.removeprefix(SQLITE_PREFIX)
            return cls(url, SqliteDoors(path, now=now, busy_timeout_seconds=busy_timeout_seconds))
        if url.startswith(POSTGRESQL_PREFIX):
            # Imports psycopg, which takes memory that a server on SQLite has no use for.
            from controlplane.store.postgresql import PostgresqlDoors  # noqa: PLC0415

            return cls(url, PostgresqlDoors(url, now=now, busy_timeout_seconds=busy_timeout_seconds))
        raise Invalid(
            f"the database's address starts with {SQLITE_PREFIX} or {POSTGRESQL_PREFIX}", field="database_url"
        )

    @property
    def has_one_writer(self) -> bool:
        """Whoever writes keeps all others from writing: what can be done before the write is done before."""
        return self._doors.has_one_writer

    def migrate(self) -> None:
        """Brings the tables to the newest revision, at once when they are there, and settles what was restored."""
        migrating.upgrade(self._url)
        if not self.has_one_writer:  # else transactions have no numbers
            with self.read() as tx:
                is_foreign = tx.events.is_of_another_server()
            if is_foreign:
                self.write(lambda tx: tx.events.settle())

    def read(self) -> AbstractContextManager[Tx]:
        """One consistent snapshot, in which nothing can be written."""
        return _Reading(self._doors.read())

    def write(self, unit: Callable[[Tx], T]) -> T:
        """Runs the unit in a transaction and returns when it is on disk.

        What the unit raises is raised here, and then nothing of it is kept. It may run more than once, so it touches
        nothing but its Tx. `Unavailable`: the database is away; it may have been committed if the connection broke
        in the middle of that.
        """
        if getattr(self._here, "inside", False):
            raise Bug("a unit calls write: it is in a transaction already")
        return self._doors.write(lambda link: self._unit(unit, link))

    def change_marker(self) -> object:
        """Differs from the last one whenever anything was committed in between, by whomever. Cheap."""
        return self._doors.change_marker()

    def close(self) -> None:
        self._doors.close()

    def _unit(self, unit: Callable[[Tx], T], link: Link) -> T:
        self._here.inside = True
        try:
            result = unit(Tx(link))
            link.finish()
        finally:
            self._here.inside = False
            link.end()
        return result
