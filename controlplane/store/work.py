"""The work list: things that some loop should look at, since when, and who is at it."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Final

from sqlalchemy import ColumnElement, ScalarSelect, bindparam, case, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from controlplane.domain.errors import StaleWrite
from controlplane.store.links import Link
from controlplane.store.rows import Row, micros, moment
from controlplane.store.schema import WORK
from controlplane.store.statements import Params, Statement, bound, fixed, is_in, listed
from controlplane.store.views import WorkItem

_C: Final = WORK.c
_IS_IT: Final = (_C.noun == bindparam("noun"), _C.id == bindparam("id"))
_IS_OURS: Final = (*_IS_IT, _C.token == bound("token"), _C.holder.is_not(None))
_IS_FREE: Final = or_(_C.holder.is_(None), _C.until <= bound("now"))

_NEW: Final = insert_or_update(WORK).values(
    noun=bindparam("noun"), id=bindparam("id"), due_at=bindparam("due_at"), token=bindparam("token")
)
_SOONER: Final = _NEW.excluded.due_at
# While claimed, a poke is put aside: `settle` brings it back, so what was claimed before it is looked at again.
# PostgreSQL's construct serves both: SQLite spells it the same way.
_POKE: Final = Statement(
    _NEW.on_conflict_do_update(
        index_elements=[_C.noun, _C.id],
        set_={
            "due_at": case((_C.holder.is_(None) & (_C.due_at > _SOONER), _SOONER), else_=_C.due_at),
            "poked_for": case(
                (_C.holder.is_(None), _C.poked_for),
                (_C.poked_for < _SOONER, _C.poked_for),
                else_=_SOONER,
            ),
        },
    ).inline(),
    table=WORK,
)
_DUE: Final = Statement(
    select(_C.id)
    .where(_C.noun == bindparam("noun"), _C.due_at <= bound("now"), _IS_FREE)
    .order_by(_C.due_at, _C.id)
    .limit(bound("limit"))
    .with_for_update(skip_locked=True)
)
_CLAIM: Final = Statement(
    update(WORK)
    .where(_C.noun == bindparam("noun"), is_in(_C.id, "ids"))
    .values(holder=bindparam("holder"), until=bindparam("until"), token=_C.token + 1, poked_for=None)
    .returning(_C.id, _C.token, _C.due_at),
    table=WORK,
)
_CHECK: Final = Statement(select(_C.id).where(*_IS_OURS).with_for_update())
_CLAIMS: Final = Statement(
    select(_C.id, _C.token, _C.poked_for)
    .where(_C.noun == bindparam("noun"), is_in(_C.id, "ids"), _C.holder.is_not(None))
    .order_by(_C.id)
    .with_for_update()
)
_FINISH: Final = Statement(delete(WORK).where(_C.noun == bindparam("noun"), is_in(_C.id, "ids")), table=WORK)
_NEXT_AT: Final = bound("next_at")
_SETTLE: Final = Statement(
    update(WORK)
    .where(*_IS_OURS)
    .values(
        due_at=case((_C.poked_for < func.coalesce(_NEXT_AT, _C.poked_for + 1), _C.poked_for), else_=_NEXT_AT),
        poked_for=None,
        holder=None,
        until=None,
    ),
    table=WORK,
)
_FREE: Final = Statement(
    update(WORK)
    .where(_C.holder == bindparam("dead"))
    .values(
        due_at=case((_C.poked_for < _C.due_at, _C.poked_for), else_=_C.due_at),
        poked_for=None,
        holder=None,
        until=None,
    ),
    table=WORK,
)


def _next(noun: ColumnElement[str]) -> tuple[ScalarSelect[int], ScalarSelect[int]]:
    """When something of it that nobody is at is due, and when a claim on some of it runs out."""
    free = select(_C.due_at).where(_C.noun == noun, _C.holder.is_(None)).order_by(_C.due_at)
    claimed = select(_C.until).where(_C.noun == noun, _C.holder.is_not(None)).order_by(_C.until)
    return free.limit(bound("one")).scalar_subquery(), claimed.limit(bound("one")).scalar_subquery()


_NEXT: Final = Statement(select(*_next(bindparam("noun"))))


class Work:
    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def poke(self, noun: str, id_: str, at: datetime | None = None) -> None:
        """Due at `at` or now, or when it was due before if that is sooner."""
        self.poke_many(noun, [id_], at)

    def poke_many(self, noun: str, ids: Iterable[str], at: datetime | None = None) -> None:
        # A thing that comes back must not meet the token of a claim of its earlier life, so tokens start at the time.
        due_at, token = micros(at or self._link.now), self._link.now_us
        # In one order for all: two writers that poke the same things then do not wait for each other in a circle.
        once = sorted(set(ids))
        self._link.change_all(
            _POKE, [{"noun": noun, "id": id_, "due_at": due_at, "token": token} for id_ in once]
        )

    def claim(self, noun: str, holder: str, limit: int, ttl_seconds: float) -> list[WorkItem]:
        """Due ones that nobody is at, or whose claim ran out; the longest due first."""
        now = self._link.now_us
        due = self._link.rows(_DUE, {"noun": noun, "now": now, "limit": limit})
        if not due:
            return []
        until = micros(self._link.now + timedelta(seconds=ttl_seconds))
        ids = listed(row[0] for row in due)
        rows = self._link.rows(_CLAIM, {"noun": noun, "ids": ids, "holder": holder, "until": until})
        return [
            WorkItem(noun=noun, id=id_, token=token, due_at=moment(due_at))
            for id_, token, due_at in sorted(rows, key=lambda row: (row[2], row[0]))
        ]

    def check(self, item: WorkItem) -> None:
        """Raises `StaleWrite` unless the claim stands, and keeps it so until the commit."""
        if self._link.row(_CHECK, _claim_params(item)) is None:
            raise _lost(item)

    def settle(self, item: WorkItem, next_at: datetime | None) -> None:
        """Ends the claim; due again at `next_at` (None: never), or when it was poked for meanwhile.

        Raises `StaleWrite` unless the claim stands.
        """
        self.settle_many([(item, next_at)])

    def settle_many(self, items: Sequence[tuple[WorkItem, datetime | None]]) -> None:
        """All of one noun. Raises `StaleWrite` unless every claim stands."""
        claims = self._claims([item for item, _ in items])
        finished: list[str] = []
        settled: list[Params] = []
        for item, next_at in items:
            token, poked_for = claims.get(item.id, (None, None))
            if token != item.token:
                raise _lost(item)
            if next_at is None and poked_for is None:
                finished.append(item.id)
            else:
                next_us = None if next_at is None else micros(next_at)
                settled.append(_claim_params(item) | {"next_at": next_us})
        if finished:
            self._link.change(_FINISH, {"noun": items[0][0].noun, "ids": listed(finished)})
        self._link.change_all(_SETTLE, settled)

    def free(self, holder: str) -> int:
        """Gives back every claim of a holder that is known to be dead; the count. What was claimed is due again."""
        return self._link.change(_FREE, {"dead": holder})

    def next_due(self, noun: str) -> datetime | None:
        """When there will be something to claim, if nobody pokes before."""
        row = self._link.row(_NEXT, {"noun": noun, "one": 1}) or ()
        return _first(row)

    def dues(self, nouns: tuple[str, ...]) -> dict[str, datetime]:
        """As `next_due`, of those among them that have something to claim, or will."""
        row = self._link.row(_next_of(nouns), {"one": 1}) or ()
        found = {noun: _first(row[2 * place : 2 * place + 2]) for place, noun in enumerate(nouns)}
        return {noun: at for noun, at in found.items() if at is not None}

    def _claims(self, items: Sequence[WorkItem]) -> dict[str, tuple[int, int | None]]:
        """Token and pending poke of those that are claimed; they stay so until the commit."""
        if not items:
            return {}
        params = {"noun": items[0].noun, "ids": listed(item.id for item in items)}
        return {id_: (token, poked_for) for id_, token, poked_for in self._link.rows(_CLAIMS, params)}


@cache
def _next_of(nouns: tuple[str, ...]) -> Statement:
    """All in one row."""
    return Statement(select(*(each for noun in nouns for each in _next(fixed(noun)))))


def _first(row: Row) -> datetime | None:
    return min((moment(each) for each in row if each is not None), default=None)


def _claim_params(item: WorkItem) -> dict[str, object]:
    return {"noun": item.noun, "id": item.id, "token": item.token}


def _lost(item: WorkItem) -> StaleWrite:
    return StaleWrite(f"{item.noun} {item.id}: the claim was taken over")
