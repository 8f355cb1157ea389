"""Constraints: which rule of the schema a database's complaint speaks of."""

import re
from functools import cache
from typing import Final

from sqlalchemy import Index, PrimaryKeyConstraint, UniqueConstraint

from controlplane.domain.errors import Conflict, ControlPlaneError, IllegalTransition
from controlplane.store.schema import METADATA
from controlplane.store.statements import Statement

ILLEGAL_MOVE: Final = "illegal move"
"""What the triggers say; the migration spells it the same way."""


def broken(sentence: str, statement: Statement | None) -> ControlPlaneError:
    """Reads SQLite's sentence, which names columns where PostgreSQL names the constraint."""
    if ILLEGAL_MOVE in sentence:
        return IllegalTransition(sentence)
    kind, _, rest = sentence.partition(" constraint failed")
    rest = rest.removeprefix(": ")
    match kind:
        case "UNIQUE":
            return violated(_unique_names().get(rest, rest))
        case "CHECK":
            return violated(rest)
        case "FOREIGN KEY":
            table = (
                statement.table.name if statement is not None and statement.table is not None else "unknown"
            )
            return violated(f"fk_{table}")
        case _:
            return violated(re.sub(r"\W+", "_", sentence))


def violated(constraint: str) -> Conflict:
    return Conflict(f"{constraint} would be violated")


@cache
def _unique_names() -> dict[str, str]:
    """`table.column, table.column` -> the name that the schema gives to their being unique."""
    found: dict[str, str] = {}
    for table in METADATA.tables.values():
        rules: list[UniqueConstraint | PrimaryKeyConstraint | Index] = [
            *(
                rule
                for rule in table.constraints
                if isinstance(rule, UniqueConstraint | PrimaryKeyConstraint)
            ),
            *(index for index in table.indexes if index.unique),
        ]
        for rule in rules:
            columns = ", ".join(f"{table.name}.{column.name}" for column in rule.columns)
            found[columns] = str(rule.name)
    return found
