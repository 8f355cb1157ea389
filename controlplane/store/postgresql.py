"""PostgreSQL: every unit in its own transaction, begun anew when the database had to break a tie."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import psycopg
from psycopg import errors, pq

from controlplane.domain.errors import Bug, ControlPlaneError, Invalid, Unavailable
from controlplane.store.constraints import broken, violated
from controlplane.store.links import Link
from controlplane.store.over_many import POSTGRESQL, ROWS
from controlplane.store.pools import Pool
from controlplane.store.rows import micros, packed
from controlplane.store.statements import Params, Statement

T = TypeVar("T")

MOST_CONNECTIONS: Final = 24
MOST_IDLE: Final = 24
MOST_TRIES: Final = 20
CONNECT_TIMEOUT_SECONDS: Final = 5
USES_BEFORE_PREPARED: Final = 2
MILLISECONDS_PER_SECOND: Final = 1000
_NOW: Final = "SELECT (extract(epoch FROM transaction_timestamp()) * 1000000)::bigint"
BEGIN_WRITE: Final = f"BEGIN; {_NOW}"
BEGIN_READ: Final = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_NOW}"
AWAY: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.IdleInTransactionSessionTimeout,
    errors.ReadOnlySqlTransaction,
)


class TieBroken(Unavailable):
    """The database gave up this transaction in favour of others."""


class PostgresqlDriver:
    """One connection. Transactions are begun and ended by us alone."""

    dialect = POSTGRESQL

    def __init__(self, url: str, *, busy_timeout_seconds: float) -> None:
        self._url = url
        self._lock_timeout = f"{int(busy_timeout_seconds * MILLISECONDS_PER_SECOND)}ms"
        try:
            self._connection = self._connect()
        except psycopg.Error as raised:
            raise self._always_meaning(raised) from raised

    @property
    def usable(self) -> bool:
        return self._connection.info.transaction_status == pq.TransactionStatus.IDLE

    def execute(self, text: str, params: Params) -> psycopg.Cursor[Any]:
        # Texts come from `statements`, compiled from constructs of ours.
        return self._connection.execute(text, params)

    def execute_all(self, statement: Statement, many: Sequence[Params]) -> int:
        """In one statement over all rows.

        What looks for rows is planned anew: the plan for a table as it was may be a bad one by now.
        """
        text, constants, rows = statement.over_json(many)
        prepare = None if statement.is_insertion else False
        return self._connection.execute(text, {**constants, ROWS: packed(rows)}, prepare=prepare).rowcount

    def begin(self, text: str) -> int:
        """Returns the database's time in microseconds: one trip for both.

        A connection that died while it was idle is replaced: nothing was asked of it yet.
        """
        try:
            try:
                return self._begin(text)
            except AWAY:
                self._connection.close()
                self._connection = self._connect()
                return self._begin(text)
        except psycopg.Error as raised:
            raise self._always_meaning(raised) from raised

    def control(self, text: str) -> None:
        try:
            self._connection.execute(text)
        except psycopg.Error as raised:
            raise self._always_meaning(raised) from raised

    def ask(self, text: str) -> object:
        try:
            return self._connection.execute(text).fetchone()
        except psycopg.Error as raised:
            raise self._always_meaning(raised) from raised

    def close(self) -> None:
        self._connection.close()

    def meaning(self, raised: Exception, statement: Statement | None) -> ControlPlaneError | None:
        match raised:
            case errors.SerializationFailure() | errors.DeadlockDetected():
                return TieBroken(f"the database broke a tie: {raised}")
            case psycopg.IntegrityError():
                name = raised.diag.constraint_name
                return broken(str(raised), statement) if name is None else violated(name)
            case _ if isinstance(raised, AWAY):
                return Unavailable(f"the database is away: {raised}")
            case psycopg.DataError() | UnicodeEncodeError():
                return Invalid(f"a value does not fit the database: {raised}")
            case psycopg.Error():
                return Bug(f"the database refused a statement: {raised}")
            case _:
                return None

    def _connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(self._url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS)
        connection.prepare_threshold = USES_BEFORE_PREPARED
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (self._lock_timeout,))
        return connection

    def _begin(self, text: str) -> int:
        cursor = self._connection.execute(text)
        cursor.nextset()
        return int(cursor.fetchall()[0][0])

    def _always_meaning(self, raised: psycopg.Error) -> ControlPlaneError:
        return self.meaning(raised, None) or Bug(str(raised))


class PostgresqlDoors:
    has_one_writer: Final = False

    def __init__(self, url: str, *, now: Callable[[], datetime] | None, busy_timeout_seconds: float) -> None:
        self._now = now
        self._pool = Pool(
            lambda: PostgresqlDriver(url, busy_timeout_seconds=busy_timeout_seconds),
            most=MOST_CONNECTIONS,
            most_idle=MOST_IDLE,
            wait_seconds=busy_timeout_seconds,
        )

    @contextlib.contextmanager
    def read(self) -> Iterator[Link]:
        with self._begun(BEGIN_READ) as (driver, now_us):
            yield Link(driver, now_us)
            driver.control("COMMIT")

    def write(self, unit: Callable[[Link], T]) -> T:
        for _ in range(MOST_TRIES - 1):
            with contextlib.suppress(TieBroken):
                return self._once(unit)
        return self._once(unit)

    def change_marker(self) -> object:
        """Which transactions are over: differs after any commit, also of one that began long ago."""
        with self._pool.lend() as driver:
            return driver.ask("SELECT pg_current_snapshot()::text")

    def close(self) -> None:
        self._pool.close()

    def _once(self, unit: Callable[[Link], T]) -> T:
        with self._begun(BEGIN_WRITE) as (driver, now_us):
            result = unit(Link(driver, now_us))
            driver.control("COMMIT")
            return result

    @contextlib.contextmanager
    def _begun(self, begin: str) -> Iterator[tuple[PostgresqlDriver, int]]:
        with self._pool.lend() as driver:
            now_us = driver.begin(begin)
            try:
                yield driver, now_us if self._now is None else micros(self._now())
            except BaseException:
                # A connection that is gone has rolled back by itself.
                with contextlib.suppress(Unavailable):
                    driver.control("ROLLBACK")
                raise
