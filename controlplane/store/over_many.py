"""Over many rows: the text of a statement that does in one step what it would do for each row.

Run once per row it costs both sides several times as much, and between two rows SQLite's driver lets go of the
interpreter while the file stays locked.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from controlplane.domain.errors import Bug

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"
PARAMETERS: Final[Mapping[str, re.Pattern[str]]] = {
    SQLITE: re.compile(r":(\w+)"),
    POSTGRESQL: re.compile(r"%\((\w+)\)s"),
}
ROWS: Final = "rows"
"""PostgreSQL's one parameter for all rows: a JSON array of objects."""

LEAST_COLUMNS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """SQLite's way: parameters are `?1`, `?2`, ..: first the constants, then row after row."""

    constants: tuple[object, ...]
    columns: tuple[str, ...]
    text: Callable[[int], str]
    """For so many rows."""


def from_json(text: str, kinds: Mapping[str, str]) -> str:
    """PostgreSQL's: takes each parameter that `kinds` names from a column of the rows, which has that type."""
    columns = ", ".join(f'"{name}" {kind}' for name, kind in kinds.items())
    source = f"json_to_recordset((%({ROWS})s)::json) AS b({columns})"
    text = PARAMETERS[POSTGRESQL].sub(
        lambda found: f'b."{found[1]}"' if found[1] in kinds else found[0], text
    )
    match text.partition(" ")[0]:
        case "INSERT":
            into, row, rest = _divided(text)
            return f"{into} SELECT {row} FROM {source}{rest}"  # noqa: S608 - the compiler's own
        case "UPDATE":
            changes, _, where = text.partition(" WHERE ")
            return f"{changes} FROM {source} WHERE {where}"
        case _:
            removed, _, where = text.partition(" WHERE ")
            return f"{removed} USING {source} WHERE {where}"


def from_values(text: str, constants: Mapping[str, object], columns: Sequence[str]) -> Numbered | None:
    """None: it is of a kind that SQLite has to run row by row."""
    numbers = {name: number for number, name in enumerate(constants, 1)}

    @cache
    def made(rows: int) -> str:
        if is_update:
            return _update(text, numbers, columns, rows)
        return _insert(text, numbers, columns, rows)

    is_update = text.startswith("UPDATE")
    is_insert = text.startswith("INSERT") and not PARAMETERS[SQLITE].search(_divided(text)[2])
    if len(columns) < LEAST_COLUMNS or not (is_update or is_insert):
        return None
    return Numbered(constants=tuple(constants.values()), columns=tuple(columns), text=made)


def _insert(text: str, constants: Mapping[str, int], columns: Sequence[str], rows: int) -> str:
    into, row, rest = _divided(text)

    def placed(first: int) -> str:
        numbers = {**constants, **{name: first + place for place, name in enumerate(columns)}}
        return PARAMETERS[SQLITE].sub(lambda found: f"?{numbers[found[1]]}", row)

    values = ", ".join(f"({placed(first)})" for first in _firsts(constants, columns, rows))
    return f"{into} VALUES {values}{rest}"


def _update(text: str, constants: Mapping[str, int], columns: Sequence[str], rows: int) -> str:
    names = ", ".join(f'column{place} AS "{name}"' for place, name in enumerate(columns, 1))
    values = ", ".join(
        f"({', '.join(f'?{first + place}' for place in range(len(columns)))})"
        for first in _firsts(constants, columns, rows)
    )
    changes, _, where = (
        PARAMETERS[SQLITE]
        .sub(lambda found: f"?{constants[found[1]]}" if found[1] in constants else f'b."{found[1]}"', text)
        .partition(" WHERE ")
    )
    return f"{changes} FROM (SELECT {names} FROM (VALUES {values})) AS b WHERE {where}"  # noqa: S608 - likewise


def _firsts(constants: Mapping[str, int], columns: Sequence[str], rows: int) -> range:
    """The number of each row's first parameter."""
    start = len(constants) + 1
    return range(start, start + rows * len(columns), len(columns))


def _divided(insertion: str) -> tuple[str, str, str]:
    """What is in front of the row of values, what is in it, and what is behind it."""
    into, _, rest = insertion.partition(" VALUES ")
    depth = 0
    for place, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return into, rest[1:place], rest[place + 1 :]
    raise Bug(f"no end of {insertion!r}")
