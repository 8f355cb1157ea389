"""SQLite: many readers beside one thread that writes for all, committing whatever is waiting in one go.

A commit costs one wait for the disk however many units are in it, so the more writers wait, the cheaper each gets.
"""

import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from operator import itemgetter
from typing import Final, TypeVar

from controlplane.domain.errors import Bug, ControlPlaneError, Invalid, Unavailable
from controlplane.store.constraints import broken
from controlplane.store.links import Link
from controlplane.store.over_many import SQLITE
from controlplane.store.pools import Pool
from controlplane.store.rows import micros
from controlplane.store.statements import Params, Statement
from controlplane.store.turnstiles import Turnstile

T = TypeVar("T")

log = logging.getLogger(__name__)

LARGEST_GROUP: Final = 200
LONGEST_GROUP_SECONDS: Final = 0.01
"""Large units are not made one larger: another process may be waiting."""

MOST_READERS: Final = 64
MOST_IDLE_READERS: Final = 16
"""As many clients may submit at once without a connection made anew for each: it reads the whole schema first."""

MOST_STATEMENTS: Final = 512
STEPS: Final = (64, 32, 16, 8, 4, 2, 1)
"""Rows that are written at once: few sizes, so that their texts are compiled once."""

READER_CACHE_KIBIBYTES: Final = 512
WRITER_CACHE_KIBIBYTES: Final = 8_000
PAGES_BETWEEN_CHECKPOINTS: Final = 4_000
"""16 MiB of log. A page that is written again and again is brought home once; with SQLite's own figure of 1,000 a third
of all bytes that busy loops write were such pages."""

AWAY: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
"""Nothing is wrong with the statement: the file cannot be used at the moment."""


class SqliteDriver:
    """One connection. Transactions are begun and ended by us alone."""

    dialect = SQLITE

    def __init__(self, path: str, *, busy_timeout_seconds: float, reads_only: bool) -> None:
        try:
            self._connection = sqlite3.connect(
                path,
                timeout=busy_timeout_seconds,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=MOST_STATEMENTS,
            )
        except sqlite3.Error as raised:
            raise self._always_meaning(raised) from raised
        try:
            self._prepare(reads_only=reads_only)
        except sqlite3.Error as raised:
            self._connection.close()
            raise self._always_meaning(raised) from raised

    @property
    def usable(self) -> bool:
        return not self._connection.in_transaction

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, text: str, params: Params) -> sqlite3.Cursor:
        return self._connection.execute(text, params)

    def execute_all(self, statement: Statement, many: Sequence[Params]) -> int:
        numbered = statement.numbered()
        if numbered is None:
            text, constants = statement.text(SQLITE)
            return self._connection.executemany(text, [{**constants, **params} for params in many]).rowcount
        row_of = itemgetter(*numbered.columns)
        rows = [row_of(params) for params in many]
        changed, place = 0, 0
        for size in STEPS:
            while len(rows) - place >= size:
                values = (*numbered.constants, *chain.from_iterable(rows[place : place + size]))
                changed += self._connection.execute(numbered.text(size), values).rowcount
                place += size
        return changed

    def try_to_begin(self) -> bool:
        """False: somebody else is writing."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as raised:
            if getattr(raised, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                return False
            raise self._always_meaning(raised) from raised
        return True

    def control(self, text: str) -> sqlite3.Cursor:
        """Begins, ends or asks about a transaction: what fails here is the database's own affair."""
        try:
            return self._connection.execute(text)
        except sqlite3.Error as raised:
            raise self._always_meaning(raised) from raised

    def close(self) -> None:
        self._connection.close()

    def meaning(self, raised: Exception, statement: Statement | None) -> ControlPlaneError | None:
        match raised:
            case sqlite3.IntegrityError():
                return broken(str(raised), statement)
            case sqlite3.Error() if getattr(raised, "sqlite_errorcode", 0) & 0xFF in AWAY:
                return Unavailable(f"the database is away: {raised}")
            case OverflowError() | UnicodeEncodeError():
                return Invalid(f"a value does not fit the database: {raised}")
            case sqlite3.Error():
                return Bug(f"the database refused a statement: {raised}")
            case _:
                return None

    def _always_meaning(self, raised: sqlite3.Error) -> ControlPlaneError:
        return self.meaning(raised, None) or Bug(str(raised))

    def _prepare(self, *, reads_only: bool) -> None:
        if reads_only:
            self._connection.execute("PRAGMA query_only = ON")
            self._connection.execute(f"PRAGMA cache_size = -{READER_CACHE_KIBIBYTES}")
            return
        self._connection.execute("PRAGMA journal_mode = WAL")
        # Savepoints keep the pages that triggers change aside; in a file that costs more than the change.
        self._connection.execute("PRAGMA temp_store = MEMORY")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIBIBYTES}")
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {PAGES_BETWEEN_CHECKPOINTS}")
        self._connection.execute("PRAGMA foreign_keys = ON")
        # Only BEGIN ever waits for another writer, and that is done in turns.
        self._connection.execute("PRAGMA busy_timeout = 0")


class _Request:
    """A unit that waits for the writer, and what became of it."""

    __slots__ = ("_done", "_outcome", "_raised", "unit")

    def __init__(self, unit: Callable[[Link], object]) -> None:
        self.unit = unit
        self._outcome: object = None
        self._raised: BaseException | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def attempt(self, driver: SqliteDriver, now_us: int) -> None:
        """Inside a savepoint, so what it raises takes nothing of the others along."""
        driver.control("SAVEPOINT unit")
        try:
            self._outcome = self.unit(Link(driver, now_us))
        except BaseException as raised:
            self._raised = raised
            if not driver.in_transaction:
                raise Unavailable(f"the database gave up a transaction: {raised}") from raised
            driver.control("ROLLBACK TO unit")
        driver.control("RELEASE unit")

    def lose(self, raised: BaseException) -> None:
        """Its group was not committed."""
        self._raised = self._raised or raised

    def release(self) -> None:
        self._done.release()

    def wait(self) -> object:
        self._done.acquire()
        if self._raised is not None:
            raise self._raised
        return self._outcome


class SqliteDoors:
    has_one_writer: Final = True

    def __init__(self, path: str, *, now: Callable[[], datetime] | None, busy_timeout_seconds: float) -> None:
        self._path = path
        self._now = now or _this_machines_clock
        self._busy_timeout_seconds = busy_timeout_seconds
        self._readers = Pool(
            lambda: self._connect(reads_only=True),
            most=MOST_READERS,
            most_idle=MOST_IDLE_READERS,
            wait_seconds=busy_timeout_seconds,
        )
        self._turnstile = Turnstile(f"{path}-waiting")
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._writer: SqliteDriver | None = None
        self._watcher: SqliteDriver | None = None
        self._watching = threading.Lock()
        self._closing = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._serve, name="store-writer", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def read(self) -> Iterator[Link]:
        with self._readers.lend() as driver:
            driver.control("BEGIN")
            try:
                yield Link(driver, micros(self._now()))
            finally:
                driver.control("ROLLBACK")

    def write(self, unit: Callable[[Link], T]) -> T:
        request = _Request(unit)
        with self._closing:
            if self._is_closed:
                raise Unavailable("the store is closed")
            self._requests.put(request)
        # The outcome is the unit's own return value, carried through an untyped slot.
        return request.wait()  # type: ignore[return-value]

    def change_marker(self) -> object:
        """Counts the commits of every other connection, which are all that write."""
        with self._watching:
            if self._watcher is None:
                self._watcher = self._connect(reads_only=True)
            return self._watcher.control("PRAGMA data_version").fetchone()

    def close(self) -> None:
        """Waits for the units that were handed in before."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
            self._requests.put(None)
        self._thread.join()
        self._readers.close()
        with self._watching:
            if self._watcher is not None:
                self._watcher.close()
                self._watcher = None

    def _connect(self, *, reads_only: bool) -> SqliteDriver:
        return SqliteDriver(
            self._path, busy_timeout_seconds=self._busy_timeout_seconds, reads_only=reads_only
        )

    def _serve(self) -> None:
        try:
            while (first := self._requests.get()) is not None:
                self._take_turn(first)
        finally:
            self._refuse_the_rest()
            self._drop_writer()
            self._turnstile.close()

    def _take_turn(self, first: _Request) -> None:
        """Whatever breaks it ends with it: without this thread everybody who writes would wait for ever."""
        try:
            self._turnstile.give_way(self._commit_together(first))
        except Exception:
            log.exception("store.writer_stumbled")
            self._drop_writer()

    def _commit_together(self, first: _Request) -> float:
        """For how many seconds it kept other processes from writing."""
        group, began_at = [first], time.monotonic()
        try:
            driver = self._begin()
            began_at = time.monotonic()
            first.attempt(driver, micros(self._now()))
            for request in self._more():
                group.append(request)
                request.attempt(driver, micros(self._now()))
            driver.control("COMMIT")
        except BaseException as raised:  # noqa: BLE001 - nobody else can tell those who wait
            # First of all: what is released without it counts as written.
            for request in group:
                request.lose(raised)
            self._drop_writer()
            return 0.0
        finally:
            for request in group:
                request.release()
        return time.monotonic() - began_at

    def _begin(self) -> SqliteDriver:
        if self._writer is None:
            self._writer = self._connect(reads_only=False)
        if not self._turnstile.pass_through(self._writer.try_to_begin, self._busy_timeout_seconds):
            raise Unavailable("the database is away: somebody else is writing")
        return self._writer

    def _more(self) -> Iterator[_Request]:
        """Those who came meanwhile; the end mark stays for the next look."""
        ends_at = time.monotonic() + LONGEST_GROUP_SECONDS
        for _ in range(LARGEST_GROUP - 1):
            try:
                request = self._requests.get(block=False)
            except queue.Empty:
                return
            if request is None:
                self._requests.put(None)
                return
            yield request
            if time.monotonic() > ends_at:
                return

    def _refuse_the_rest(self) -> None:
        """Nobody will serve who is still waiting; after a `close` that is nobody."""
        with self._closing:
            self._is_closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                request = self._requests.get(block=False)
                if request is not None:
                    request.lose(Unavailable("the store's writer has ended"))
                    request.release()

    def _drop_writer(self) -> None:
        """Closing rolls back; the next group begins on a fresh connection."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


def _this_machines_clock() -> datetime:
    """The database's clock: there is no other machine."""
    return datetime.now(UTC)
