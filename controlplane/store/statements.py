"""Statements: Core constructs, compiled once per database and then run by the driver itself.

Running a construct through SQLAlchemy's own execution costs several times what the database needs for it; the text
it compiles to costs nothing extra.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
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

from controlplane.domain.errors import Bug

# `Any`: a parameter is what the column's type says, and both drivers check it.
Params = Mapping[str, Any]

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"
DIALECTS: Final[Mapping[str, Dialect]] = {
    SQLITE: sqlite_dialect(paramstyle="named"),
    POSTGRESQL: PGDialect_psycopg(),  # type: ignore[no-untyped-call]
}


ROWS: Final = "rows"
"""The one parameter of a statement over many rows: a JSON array."""

_PARAMETERS: Final[Mapping[str, re.Pattern[str]]] = {
    SQLITE: re.compile(r":(\w+)"),
    POSTGRESQL: re.compile(r"%\((\w+)\)s"),
}


class Statement:
    """One construct and its texts, made when first needed."""

    __slots__ = ("_clause", "_narrowed", "_over_many", "_texts", "table")

    def __init__(self, clause: ClauseElement, *, table: Table | None = None) -> None:
        self._clause = clause
        self._texts: dict[str, tuple[str, dict[str, object]]] = {}
        self._over_many: dict[str, OverMany] = {}
        self._narrowed: dict[tuple[str, ...], str] = {}
        self.table = table
        """The one it writes to, if it writes: names what a violated foreign key belongs to."""

    def text(self, dialect: str) -> tuple[str, dict[str, object]]:
        """The text, and the constants that belong among its parameters."""
        made = self._texts.get(dialect)
        if made is None:
            compiled = DIALECTS[dialect].statement_compiler(DIALECTS[dialect], self._clause)
            binds = compiled.binds.items()
            constants = {name: bind.effective_value for name, bind in binds if not bind.required}
            made = self._texts[dialect] = (str(compiled), constants)
        return made

    def over_many(self, dialect: str) -> "OverMany":
        """Does the same for each of many rows in one go: run once per row it costs both sides several times as much."""
        made = self._over_many.get(dialect)
        if made is None:
            text, constants = self.text(dialect)
            binds = self._binds(dialect)
            made = OverMany(text=_over_rows(text, dialect, binds), constants=constants, columns=tuple(binds))
            self._over_many[dialect] = made
        return made

    def narrowed(self, dialect: str, many: Sequence[Params]) -> tuple["Statement", Sequence[Params]]:
        """For an update over many rows: what is the same in all of these is a constant, and no column of each.

        To take a value out of a row costs SQLite a good part of what it costs to write it. What the rows are found
        by stays: with a constant there the database would look for them by another index.
        """
        if not isinstance(self._clause, Update):
            return self, many
        over = self.over_many(dialect)
        text, constants = self.text(dialect)
        keys = _PARAMETERS[dialect].findall(text.partition(" WHERE ")[2])
        written = (name for name in over.columns if name not in keys)
        same = {name: value for name in written if _is_same(many, name, value := many[0][name])}
        columns = tuple(name for name in over.columns if name not in same)
        over_these = self._narrowed.get((dialect, *columns))
        if over_these is None:
            binds = self._binds(dialect)
            over_these = _over_rows(text, dialect, {name: binds[name] for name in columns})
            self._narrowed[dialect, *columns] = over_these
        narrowed = Statement(self._clause, table=self.table)
        narrowed._texts = self._texts
        narrowed._over_many[dialect] = OverMany(
            text=over_these, constants={**constants, **same}, columns=columns
        )
        return narrowed, [{name: params[name] for name in columns} for params in many]

    def _binds(self, dialect: str) -> dict[str, str]:
        """The parameters that each row gives, and their types."""
        kinds = DIALECTS[dialect].type_compiler_instance
        compiled = DIALECTS[dialect].statement_compiler(DIALECTS[dialect], self._clause)
        return {name: kinds.process(bind.type) for name, bind in compiled.binds.items() if bind.required}


@dataclass(frozen=True, slots=True, kw_only=True)
class OverMany:
    """A statement that takes its parameters from the rows of a JSON array."""

    text: str
    constants: Mapping[str, object]
    columns: tuple[str, ...]


def _is_same(many: Sequence[Params], name: str, value: object) -> bool:
    return [params[name] for params in many].count(value) == len(many)


def _over_rows(text: str, dialect: str, kinds: Mapping[str, str]) -> str:
    """Takes each parameter that `kinds` names from a column of the rows."""
    source = _SOURCES[dialect](kinds)
    text = _PARAMETERS[dialect].sub(lambda found: f'b."{found[1]}"' if found[1] in kinds else found[0], text)
    match text.partition(" ")[0]:
        case "INSERT":
            into, _, rest = text.partition(" VALUES ")
            end = _closing(rest)
            return f"{into} SELECT {rest[1:end]} FROM {source}{rest[end + 1 :]}"  # noqa: S608 - the compiler's own
        case "UPDATE":
            changes, _, where = text.partition(" WHERE ")
            return f"{changes} FROM {source} WHERE {where}"
        case _:
            removed, _, where = text.partition(" WHERE ")
            return f"{removed} USING {source} WHERE {where}"


def _arrays(kinds: Mapping[str, str]) -> str:
    """SQLite's way: a row is an array of values, which keep the type that they have as JSON."""
    columns = ", ".join(f'value ->> {place} AS "{name}"' for place, name in enumerate(kinds))
    return f"(SELECT {columns} FROM json_each(:{ROWS})) AS b"  # noqa: S608 - names of parameters


def _records(kinds: Mapping[str, str]) -> str:
    """PostgreSQL's: a row is an object, and the columns say their types."""
    columns = ", ".join(f'"{name}" {kind}' for name, kind in kinds.items())
    return f"json_to_recordset((%({ROWS})s)::json) AS b({columns})"


_SOURCES: Final[Mapping[str, Callable[[Mapping[str, str]], str]]] = {SQLITE: _arrays, POSTGRESQL: _records}


def _closing(text: str) -> int:
    """Where the parenthesis ends that the text begins with."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return place
    raise Bug(f"no end of {text!r}")


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
    return json.dumps(list(values))


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
