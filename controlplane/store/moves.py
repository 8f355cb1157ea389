"""Moves: how a noun with a lifecycle is saved. Compare-and-swap on the version, and an event for a new state."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from sqlalchemy import BigInteger, ColumnElement, Table, bindparam, case, select, update

from controlplane.domain.errors import StaleWrite
from controlplane.store.links import Link
from controlplane.store.statements import Params, Statement, is_in, listed

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
        self._states = Statement(select(columns.id, columns.state).where(is_in(columns.id, "ids")))
        self._save = Statement(
            update(table).where(*where).values({**plain, **values, "came_from": came_from}), table=table
        )

    def save(self, link: Link, params: Params) -> str | None:
        """Returns the state it moved away from; None when it stays in its state.

        Raises `StaleWrite` unless the row still has the version before the given one.
        """
        return self.save_many(link, [params])[0]

    def save_many(self, link: Link, many: Sequence[Params]) -> list[str | None]:
        """As `save`, in order. Raises `StaleWrite` unless all of them could be saved."""
        if not many:
            return []
        states: dict[str, str] = dict(link.rows(self._states, {"ids": listed(each["id"] for each in many)}))
        saved = link.change_all(self._save, [{**each, "old_version": each["version"] - 1} for each in many])
        if saved != len(many):
            raise stale(self._noun, *(each["id"] for each in many))
        # Whoever changed a row after its state was read made it another version, so it was not saved.
        return [_left(states[each["id"]], each["state"]) for each in many]


def stale(noun: str, id_: str, *others: str) -> StaleWrite:
    which = f"{id_} or one of {len(others)} more" if others else id_
    return StaleWrite(f"{noun} {which}: changed by another writer")


def _left(old: str, new: str) -> str | None:
    return None if old == new else old
