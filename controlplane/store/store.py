"""Store: the two doors to SQL. Whoever reads gets one snapshot; whoever writes hands in a unit."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
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

    def read(self) -> AbstractContextManager[Link]: ...

    def write(self, unit: Callable[[Link], T]) -> T: ...

    def change_marker(self) -> object: ...

    def close(self) -> None: ...


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

    def migrate(self) -> None:
        """Brings the tables to the newest revision; at once when they are there."""
        migrating.upgrade(self._url)

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """One consistent snapshot, in which nothing can be written."""
        with self._doors.read() as link:
            try:
                yield Tx(link)
            finally:
                link.end()

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
