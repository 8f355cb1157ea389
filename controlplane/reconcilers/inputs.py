"""Deletes inputs that nobody reads any more: those that were not wanted for long, and the oldest of too many."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from controlplane.domain.inputs import Input, InputState


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptView:
    """All that lies somewhere, or was to."""

    kept: Sequence[tuple[Input, bool]]
    """With each: whether a job reads it that is not over."""

    longest: timedelta
    most_bytes: int
    """In each store."""

    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptDecision:
    save: tuple[Input, ...] = ()
    """By id: what leaves, what was never there, and what is in use now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """All rows that speak for what lies in one place."""

    rows: tuple[Input, ...]
    is_read: bool

    @property
    def is_held(self) -> bool:
        return self.is_read or any(each.state is InputState.COPYING for each in self.rows)

    @property
    def used_at(self) -> datetime | None:
        """None: it never came, or not whole."""
        return max((each.used_at for each in self.rows if each.state is InputState.READY), default=None)

    @property
    def size_bytes(self) -> int:
        return max(each.size_bytes for each in self.rows)


def decide(view: KeptView) -> KeptDecision:
    places = _places(view)
    doomed = [each for each in places if not each.is_held and _is_old(view, each)]
    rest = [each for each in places if each not in doomed]
    for _, some in groupby(sorted(rest, key=_store), key=_store):
        doomed += _beyond(tuple(some), view.most_bytes)
    never_there = (
        each.move(InputState.GONE, at=view.now)
        for each, _ in view.kept
        if each.target is None and each.state is InputState.FAILED
    )
    in_use = (
        each.changed(used_at=view.now)
        for place in rest
        if place.is_read
        for each in place.rows
        if each.state is InputState.READY
    )
    leaving = (each.move(InputState.LEAVING, at=view.now) for place in doomed for each in place.rows)
    return KeptDecision(save=tuple(sorted((*never_there, *in_use, *leaving), key=lambda each: each.id)))


def _places(view: KeptView) -> list[_Place]:
    there = sorted(
        ((str(each.target), each, is_read) for each, is_read in view.kept if each.target is not None),
        key=lambda row: (row[0], row[1].id),
    )
    places = []
    for _, some in groupby(there, key=lambda row: row[0]):
        rows = tuple(some)
        is_read = any(reads and each.state is InputState.READY for _, each, reads in rows)
        places.append(_Place(rows=tuple(each for _, each, _ in rows), is_read=is_read))
    return places


def _is_old(view: KeptView, place: _Place) -> bool:
    return place.used_at is None or view.now - place.used_at >= view.longest


def _store(place: _Place) -> str:
    return place.rows[0].store


def _beyond(places: Sequence[_Place], most_bytes: int) -> Iterator[_Place]:
    """The ones that were not wanted for the longest time, until the others fit."""
    left = sum(each.size_bytes for each in places)
    free = ((each.used_at, each) for each in places if not each.is_held)
    for _, each in sorted(((at, each) for at, each in free if at is not None), key=lambda pair: pair[0]):
        if left <= most_bytes:
            return
        left -= each.size_bytes
        yield each
