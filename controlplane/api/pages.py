"""Pages: one part of a list, and the cursor of the next."""

from collections.abc import Callable, Sequence
from typing import Annotated, Final, TypeVar

from fastapi import Query

from controlplane.api.cursors import Place
from controlplane.wire.base import Answer, Page

R = TypeVar("R")
D = TypeVar("D", bound=Answer)

LARGEST_PAGE: Final = 1000
DEFAULT_PAGE: Final = 100

Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Items of one page.")]
After = Annotated[str | None, Query(max_length=4096, description="`next` of the page before.")]


def page(rows: Sequence[R], limit: int, document: Callable[[R], D], cursor: Callable[[R], str]) -> Page[D]:
    """Of `rows`, which were asked for with one more than the limit: that one says that there is a next page."""
    shown = rows[:limit]
    return Page(items=[document(row) for row in shown], next=cursor(shown[-1]) if len(rows) > limit else None)


def text_of(place: Place | None) -> str | None:
    """Of a cursor that holds one text."""
    return None if place is None else str(place[0])


def slice_of(rows: Sequence[R], place: Place | None, limit: int) -> list[tuple[int, R]]:
    """Of a list that only grows at its end and is read whole: its rows by position, one more than the limit."""
    start = 0 if place is None else int(place[0])
    return list(enumerate(rows))[start : start + limit + 1]
