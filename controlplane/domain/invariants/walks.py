"""Walks: a noun's moves, as its events tell them, compared with its row."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, Protocol

from controlplane.domain.events import Event
from controlplane.domain.invariants.breaches import Breach, Rule
from controlplane.domain.lifecycles import BIRTH, Lifecycle


class Moving(Protocol):
    """A noun with a lifecycle."""

    @property
    def id(self) -> str: ...

    @property
    def state(self) -> StrEnum: ...

    @property
    def came_from(self) -> str: ...


# `Any`: the lifecycle of any noun.
def walk(
    lifecycle: Lifecycle[Any],
    noun: Moving,
    events: Sequence[Event],
    *,
    born_at: datetime | None,
    born_moved: str | None = None,
) -> Iterator[Breach]:
    """Moves are the events that carry `from`. With `born_at` they go back to its birth; else older ones are pruned.

    `born_moved`: where a first move that was made together with the birth may come from.
    """
    moves = [event for event in events if _is_move(event, noun.id, f"{lifecycle.noun}.")]
    edges = _edges(lifecycle)
    at: str | None = None
    for event in moves:
        old, new = str(event.data["from"]), event.kind.removeprefix(f"{lifecycle.noun}.")
        if (old, new) not in edges or old != (at or old):
            yield _breach(noun, f"an event says {old} -> {new} while it was {at or 'not born'}")
        at = new
    if born_at is not None and not _begins_with_birth(moves, born_moved, born_at):
        first = f"the first of its events is {moves[0].kind}" if moves else "it has no event"
        yield _breach(noun, f"{first}: that of its birth is missing")
    if moves:
        yield from _ends_as_the_row(noun, moves[-1], at)


def _ends_as_the_row(noun: Moving, last: Event, at: str | None) -> Iterator[Breach]:
    if at != noun.state:
        yield _breach(noun, f"its row says {noun.state}, its events end with {at}")
    elif last.data["from"] != noun.came_from:
        yield _breach(noun, f"its row came from {noun.came_from}, its last event from {last.data['from']}")


# `Any`: as above.
@cache
def _edges(lifecycle: Lifecycle[Any]) -> frozenset[tuple[str, str]]:
    """Made once: a walk over all jobs asks for them millions of times."""
    return frozenset(lifecycle.pairs())


def _is_move(event: Event, subject: str, prefix: str) -> bool:
    return event.subject == subject and event.kind.startswith(prefix) and "from" in event.data


def _begins_with_birth(moves: Sequence[Event], born_moved: str | None, born_at: datetime) -> bool:
    if not moves:
        return False
    first = moves[0]
    return first.data["from"] == BIRTH or (first.data["from"] == born_moved and first.at <= born_at)


def _breach(noun: Moving, sentence: str) -> Breach:
    return Breach(rule=Rule.EVENTS_TELL_ALL, subject=noun.id, sentence=sentence)
