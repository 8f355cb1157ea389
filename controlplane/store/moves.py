"""Moves: how a noun with a lifecycle is saved. Compare-and-swap on the version, and an event for a new state."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sqlalchemy import BigInteger, ColumnElement, Table, bindparam, case, select, update

from controlplane.domain.errors import StaleWrite
from controlplane.store.links import Link
from controlplane.store.statements import Params, Statement

NEVER_SAVED: Final = frozenset({"id", "noun", "came_from"})


class Moves:
    """The statements of one table with `state`, `came_from` and `version`."""

    def __init__(
        self,
        noun: str,
        table: Table,
        *,
        fixed_columns: frozenset[str],
        values: Mapping[str, ColumnElement[int]] = MappingProxyType({}),
    ) -> None:
        """`values` takes the place of plain assignment for the columns it names."""
        self._noun = noun
        columns = table.c
        came_from = case((columns.state != bindparam("state"), columns.state), else_=columns.came_from)
        plain: dict[str, ColumnElement[object]] = {
            column.name: bindparam(column.name)
            for column in columns
            if column.name not in NEVER_SAVED | fixed_columns
        }
        where = (
            columns.id == bindparam("id"),
            columns.version == bindparam("old_version", type_=BigInteger),
        )
        self._before = Statement(select(columns.state).where(*where))
        self._save = Statement(
            update(table).where(*where).values({**plain, **values, "came_from": came_from}), table=table
        )

    def save(self, link: Link, params: Params) -> str | None:
        """Returns the state it moved away from; None when it stays in its state.

        Raises `StaleWrite` unless the row still has the version before the given one.
        """
        params = {**params, "old_version": params["version"] - 1}
        row = link.row(self._before, params)
        if row is None or link.change(self._save, params) == 0:
            raise stale(self._noun, str(params["id"]))
        old = str(row[0])
        return None if old == params["state"] else old


def stale(noun: str, id_: str) -> StaleWrite:
    return StaleWrite(f"{noun} {id_}: changed by another writer")
