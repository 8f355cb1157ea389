"""Statements: Core constructs, compiled once per database and then run by the driver itself.

Running a construct through SQLAlchemy's own execution costs several times what the database needs for it; the text
it compiles to costs nothing extra.
"""

from collections.abc import Iterable, Mapping, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any, Final, Self

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Insert,
    Table,
    Update,
    and_,
    bindparam,
    insert,
    literal_column,
    tuple_,
)
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import Boolean

from controlplane.store.over_many import PARAMETERS, POSTGRESQL, SQLITE, Numbered, from_json, from_values

# `Any`: a parameter is what the column's type says, and both drivers check it.
Params = Mapping[str, Any]

DIALECTS: Final[Mapping[str, Dialect]] = {
    SQLITE: sqlite_dialect(paramstyle="named"),
    POSTGRESQL: PGDialect_psycopg(),  # type: ignore[no-untyped-call]
}


class Statement:
    """One construct and its texts, made when first needed."""

    __slots__ = ("_clause", "_kinds", "_numbered", "_over_json", "_texts", "table")

    def __init__(self, clause: ClauseElement, *, table: Table | None = None) -> None:
        self._clause = clause
        self._texts: dict[str, tuple[str, dict[str, object]]] = {}
        self._kinds: dict[str, dict[str, str]] = {}
        self._numbered: tuple[Numbered | None] | None = None
        self._over_json: dict[tuple[str, ...], str] = {}
        self.table = table
        """The one it writes to, if it writes: names what a violated foreign key belongs to."""

    @property
    def is_insertion(self) -> bool:
        return isinstance(self._clause, Insert)

    def text(self, dialect: str) -> tuple[str, dict[str, object]]:
        """The text, and the constants that belong among its parameters."""
        made = self._texts.get(dialect)
        if made is None:
            compiled = DIALECTS[dialect].statement_compiler(DIALECTS[dialect], self._clause)
            binds = compiled.binds.items()
            constants = {name: bind.effective_value for name, bind in binds if not bind.required}
            made = self._texts[dialect] = (str(compiled), constants)
        return made

    def numbered(self) -> Numbered | None:
        """Over many rows on SQLite; None: it has to be run for each."""
        if self._numbered is None:
            text, constants = self.text(SQLITE)
            self._numbered = (from_values(text, constants, tuple(self._binds(SQLITE))),)
        return self._numbered[0]

    def over_json(self, many: Sequence[Params]) -> tuple[str, dict[str, object], Sequence[Params]]:
        """Over many rows on PostgreSQL: its text, its constants, and what it needs of the rows.

        What is the same in all rows of an update is a constant, and no column of each. What the rows are found by
        stays: with a constant there the database would look for them by another index.
        """
        text, constants = self.text(POSTGRESQL)
        binds = self._binds(POSTGRESQL)
        same: dict[str, object] = {}
        if isinstance(self._clause, Update):
            keys = PARAMETERS[POSTGRESQL].findall(text.partition(" WHERE ")[2])
            written = (name for name in binds if name not in keys)
            same = {name: value for name in written if _is_same(many, name, value := many[0][name])}
        columns = tuple(name for name in binds if name not in same)
        made = self._over_json.get(columns)
        if made is None:
            made = self._over_json[columns] = from_json(text, {name: binds[name] for name in columns})
        rows = [{name: params[name] for name in columns} for params in many]
        return made, {**constants, **same}, rows

    def _binds(self, dialect: str) -> dict[str, str]:
        """The parameters that each row gives, and their types."""
        made = self._kinds.get(dialect)
        if made is None:
            kinds = DIALECTS[dialect].type_compiler_instance
            compiled = DIALECTS[dialect].statement_compiler(DIALECTS[dialect], self._clause)
            made = {name: kinds.process(bind.type) for name, bind in compiled.binds.items() if bind.required}
            self._kinds[dialect] = made
        return made


def _is_same(many: Sequence[Params], name: str, value: object) -> bool:
    return [params[name] for params in many].count(value) == len(many)


def inserted(table: Table) -> Statement:
    """Inserts one row, every column from a parameter of its name (a noun keeps its default)."""
    columns: dict[Column[Any], object] = {
        column: bindparam(column.name) for column in table.c if column.server_default is None
    }
    return Statement(insert(table).values(columns).inline(), table=table)


def fixed(value: str) -> ColumnElement[str]:
    """Stands in the text itself: a partial index is only used for what is known before the parameters are."""
    quoted = value.replace("'", "''")
    return literal_column(f"'{quoted}'")


def bound(name: str) -> ColumnElement[int]:
    """A whole number that no column gives its type to."""
    return bindparam(name, type_=BigInteger)


class is_in(ColumnElement[bool]):  # noqa: N801 - reads as SQL
    """`column` is one of a parameter's values, which `listed` packs: one text for any number of them."""

    inherit_cache = False
    type = Boolean()

    def __init__(self, column: ColumnElement[str], name: str) -> None:
        self.column = column
        self.values = bindparam(name, type_=column.type)

    def self_group(self, against: OperatorType | None = None) -> Self:  # noqa: ARG002 - SQLAlchemy's
        """Stays as it is: among conditions a boolean becomes `.. = 1` on SQLite, and then no index is used."""
        return self


def listed(values: Iterable[str]) -> str:
    return f"[{','.join(map(encode_basestring_ascii, values))}]"


@compiles(is_in, SQLITE)
def _is_in_sqlite(element: is_in, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 - SQLAlchemy's
    column, values = _parts(element, compiler, options)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - both parts are the compiler's own


@compiles(is_in, POSTGRESQL)
def _is_in_postgresql(element: is_in, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 - SQLAlchemy's
    column, values = _parts(element, compiler, options)
    return f"{column} = ANY (ARRAY(SELECT json_array_elements_text(({values})::json)))"


def _parts(element: is_in, compiler: SQLCompiler, options: Mapping[str, Any]) -> tuple[str, str]:
    return compiler.process(element.column, **options), compiler.process(element.values, **options)


class own_xid(ColumnElement[int]):  # noqa: N801 - reads as SQL
    """The writing transaction's number, by which the feed knows what is still under way; 0 where writers queue."""

    inherit_cache = False
    type = BigInteger()


@compiles(own_xid, SQLITE)
def _own_xid_sqlite(_element: own_xid, _compiler: SQLCompiler, **_options: object) -> str:
    return "0"


@compiles(own_xid, POSTGRESQL)
def _own_xid_postgresql(_element: own_xid, _compiler: SQLCompiler, **_options: object) -> str:
    return "(pg_current_xact_id()::text)::bigint"


class oldest_open_xid(ColumnElement[int]):  # noqa: N801 - reads as SQL
    """Every transaction below this number is over, and what it kept is seen; 1 where writers queue."""

    inherit_cache = False
    type = BigInteger()


@compiles(oldest_open_xid, SQLITE)
def _oldest_open_xid_sqlite(_element: oldest_open_xid, _compiler: SQLCompiler, **_options: object) -> str:
    return "1"


@compiles(oldest_open_xid, POSTGRESQL)
def _oldest_open_xid_postgresql(_element: oldest_open_xid, _compiler: SQLCompiler, **_options: object) -> str:
    return "(pg_snapshot_xmin(pg_current_snapshot())::text)::bigint"


class next_xid(ColumnElement[int]):  # noqa: N801 - reads as SQL
    """No transaction that is seen has this number or a larger one; 1 where writers queue."""

    inherit_cache = False
    type = BigInteger()


@compiles(next_xid, SQLITE)
def _next_xid_sqlite(_element: next_xid, _compiler: SQLCompiler, **_options: object) -> str:
    return "1"


@compiles(next_xid, POSTGRESQL)
def _next_xid_postgresql(_element: next_xid, _compiler: SQLCompiler, **_options: object) -> str:
    return "(pg_snapshot_xmax(pg_current_snapshot())::text)::bigint"


LAST: Final = 2**63 - 1
WHOLE_FEED: Final[Params] = {"xid": 0, "seq": 0, "head_xid": LAST, "head_seq": LAST}
"""Of `in_feed`."""


class in_feed(ColumnElement[bool]):  # noqa: N801 - reads as SQL
    """Lies behind the place `:xid, :seq` of the feed, and not behind `:head_xid, :head_seq`.

    SQLite looks for a pair by its first half alone, which is the same in all its rows: it would walk the whole feed.
    """

    inherit_cache = False
    type = Boolean()

    def __init__(self, xid: ColumnElement[int], seq: ColumnElement[int]) -> None:
        place = tuple_(xid, seq)
        self.one_writer = and_(xid == literal_column("0"), seq > bound("seq"), seq <= bound("head_seq"))
        self.many_writers = and_(
            place > tuple_(bound("xid"), bound("seq")), place <= tuple_(bound("head_xid"), bound("head_seq"))
        )

    def self_group(self, against: OperatorType | None = None) -> Self:  # noqa: ARG002 - SQLAlchemy's
        """As with `is_in`."""
        return self


@compiles(in_feed, SQLITE)
def _in_feed_sqlite(element: in_feed, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 - SQLAlchemy's
    return compiler.process(element.one_writer, **options)


@compiles(in_feed, POSTGRESQL)
def _in_feed_postgresql(element: in_feed, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 - SQLAlchemy's
    return compiler.process(element.many_writers, **options)
