"""Links: one open transaction on either database, and what its driver's exceptions mean to us."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, Protocol

from controlplane.domain.errors import Bug, ControlPlaneError, Unavailable
from controlplane.store.rows import Row, moment
from controlplane.store.statements import Params, Statement

NOTHING: Final[Params] = {}


class Cursor(Protocol):
    """What both drivers' cursors have in common."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...  # noqa: ANN401 - a row, or None

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Driver(Protocol):
    """A driver's connection, and its exceptions by what follows from them."""

    dialect: str

    def execute(self, text: str, params: Params) -> Cursor: ...

    def execute_all(self, statement: Statement, many: Sequence[Params]) -> int:
        """Once for each; how many rows they concerned together."""

    def control(self, text: str) -> object:
        """Begins, ends or divides a transaction: what fails here is the database's own affair."""

    def meaning(self, raised: Exception, statement: Statement | None) -> ControlPlaneError | None:
        """None: not the driver's."""


class Link:
    """Runs statements in one transaction. After a failure nothing more runs: PostgreSQL would not, so nobody may."""

    __slots__ = ("_driver", "_failure", "dialect", "now", "now_us")

    def __init__(self, driver: Driver, now_us: int) -> None:
        self._driver = driver
        self._failure: ControlPlaneError | None = None
        self.dialect = driver.dialect
        self.now_us = now_us
        self.now: datetime = moment(now_us)

    def rows(self, statement: Statement, params: Params = NOTHING) -> list[Row]:
        return self._execute(statement, params).fetchall()

    def row(self, statement: Statement, params: Params = NOTHING) -> Row | None:
        found: Row | None = self._execute(statement, params).fetchone()
        return found

    def each(self, statement: Statement, params: Params = NOTHING) -> Iterator[Row]:
        """Without holding all rows at once."""
        return iter(self._execute(statement, params))

    def change(self, statement: Statement, params: Params) -> int:
        """How many rows it concerned."""
        return self._execute(statement, params).rowcount

    def change_all(self, statement: Statement, many: Sequence[Params]) -> int:
        """Once for each, and no row by two of them; how many rows they concerned together."""
        if len(many) <= 1:
            return self.change(statement, many[0]) if many else 0
        self._refuse_after_failure()
        try:
            return self._driver.execute_all(statement, many)
        except Exception as raised:
            self._fail(raised, statement)
            raise

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """What raises inside takes back its own writes alone, and then more may run in this transaction.

        Not when the database went away or gave the transaction up: then all of it is over.
        """
        self._refuse_after_failure()
        self._driver.control("SAVEPOINT part")
        try:
            yield
            self.finish()
        except Exception:
            if isinstance(self._failure, Unavailable):
                raise
            self._driver.control("ROLLBACK TO SAVEPOINT part")
            self._driver.control("RELEASE SAVEPOINT part")
            self._failure = None
            raise
        self._driver.control("RELEASE SAVEPOINT part")

    def finish(self) -> None:
        """A unit that swallowed a failure of the database has kept nothing, and must not be told otherwise."""
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Nothing runs on it any more: the connection serves somebody else's transaction next."""
        self._failure = self._failure or Bug("the transaction is over")

    def _execute(self, statement: Statement, params: Params) -> Cursor:
        text, constants = statement.text(self.dialect)
        if self._failure is not None:
            self._refuse_after_failure()
        try:
            return self._driver.execute(text, {**constants, **params} if constants else params)
        except Exception as raised:
            self._fail(raised, statement)
            raise

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise Bug(f"nothing more runs in this transaction: {self._failure.message}")

    def _fail(self, raised: Exception, statement: Statement) -> None:
        """Raises what it means; returns if that is as good as the original."""
        meaning = self._driver.meaning(raised, statement)
        self._failure = meaning or Bug(f"the driver raised {raised!r}")
        if meaning is not None:
            raise meaning from raised
