"""Output: JSON documents, or columns and facts for people."""

import sys
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from controlplane.cli.text import printable

T = TypeVar("T", bound=BaseModel)

Fact = tuple[str, str]
Columns = tuple[tuple[str, Callable[[T], str]], ...]
"""Titles, and what stands below them."""

STYLES: Final = {
    "active": "blue",
    "cancelled": "yellow",
    "draining": "yellow",
    "failed": "red",
    "launching": "cyan",
    "ready": "green",
    "running": "blue",
    "starting": "cyan",
    "stopping": "yellow",
    "succeeded": "green",
    "terminating": "yellow",
    "unreachable": "red",
}
"""Of words that say how something stands."""


class Output:
    """Styled on a terminal; elsewhere plain text, never wrapped or shortened."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(highlight=False, markup=False, emoji=False)

    def line(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()  # a follower's reader must not wait for a full buffer

    def json(self, document: BaseModel) -> None:
        self.line(document.model_dump_json())

    def document(self, document: BaseModel, facts: Iterable[Fact]) -> None:
        """One document; `facts` are what people are told of it."""
        if self.as_json:
            self.json(document)
            return
        told = [(name, value) for name, value in facts if value not in {"", "-"}]
        width = max((len(name) for name, _ in told), default=0)
        for name, value in told:
            self.line(f"{name:<{width}}  {printable(value)}")

    def rows(self, documents: Iterable[T], columns: Columns[T]) -> None:
        """Many documents; JSON comes one per line, as they arrive."""
        if self.as_json:
            for document in documents:
                self.json(document)
            return
        cells = [[printable(cell(document)) for _, cell in columns] for document in documents]
        titles = [title for title, _ in columns]
        if self.console.is_terminal:
            self.console.print(_table(titles, cells), soft_wrap=False)
            return
        widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
        for row in (titles, *cells):
            self.line("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _table(titles: list[str], rows: list[list[str]]) -> Table:
    table = Table(*titles, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, ""), overflow="fold") for cell in row))
    return table
