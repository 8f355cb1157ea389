"""Logs: pieces by offset, put together without a hole or a duplicate."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from controlplane.wire.jobs import LogChunk

Fetch = Callable[[str, int, int], Iterator[LogChunk]]
"""(attempt id, rank, offset) -> what the server has from there on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    attempt_id: str
    rank: int
    text: str
    """Without its line end."""


def seamless(chunks: Iterable[LogChunk], fetch: Fetch) -> Iterator[LogChunk]:
    """Passes on every byte once, whatever a stream that was lost and opened again repeats or skips."""
    reached: dict[tuple[str, int], int] = {}
    for chunk in chunks:
        key = (chunk.attempt_id, chunk.rank)
        offset = reached.get(key, 0)
        if chunk.offset == offset:
            reached[key] = chunk.next_offset
            yield chunk
        elif chunk.next_offset > offset:
            for piece in fetch(chunk.attempt_id, chunk.rank, offset):
                reached[key] = piece.next_offset
                yield piece


def lines(chunks: Iterable[LogChunk]) -> Iterator[LogLine]:
    """Whole lines, of each task in order; an unfinished line comes when its task has ended."""
    begun: dict[tuple[str, int], str] = {}
    for chunk in chunks:
        key = (chunk.attempt_id, chunk.rank)
        *whole, rest = (begun.pop(key, "") + chunk.data).split("\n")
        if rest and not chunk.complete:
            begun[key] = rest
        elif rest:
            whole.append(rest)
        for text in whole:
            yield LogLine(attempt_id=chunk.attempt_id, rank=chunk.rank, text=text)
    for (attempt_id, rank), text in begun.items():
        yield LogLine(attempt_id=attempt_id, rank=rank, text=text)
