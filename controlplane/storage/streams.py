"""Streams that come out of a store: made of pieces, cut to a window, and checked to their last byte."""

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

from controlplane.domain.errors import Transient
from controlplane.storage.checksums import Digest

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PIECE_BYTES: Final = 256 * 1024


class _Stream(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes], close: Callable[[], None]) -> None:
        self._pieces = pieces
        self._close = close
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        with memoryview(buffer).cast("B") as view:
            taken = min(len(view), len(self._rest))
            view[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        return taken

    def close(self) -> None:
        if not self.closed:
            self._close()
        super().close()


def stream(pieces: Iterator[bytes], close: Callable[[], None]) -> BinaryIO:
    """A file to read from. `close` is called once, however far it was read."""
    return io.BufferedReader(_Stream(pieces, close), PIECE_BYTES)


def checked(
    pieces: Iterator[bytes], what: str, size_bytes: int, check: tuple[Digest, int] | None = None
) -> Iterator[bytes]:
    """Raises `Transient` unless the bytes are as many, and sum up, as the store said."""
    left = size_bytes
    for piece in pieces:
        left -= len(piece)
        if check:
            check[0].update(piece)
        yield piece
    if left:
        raise Transient(f"{what} was cut {left} bytes before its end")
    if check and check[0].value != check[1]:
        raise Transient(f"{what} arrived changed: its checksum is not the one that the store told")


def pieces_of(file: BinaryIO, limit: int | None = None) -> Iterator[bytes]:
    """At most `limit` bytes of a file, from where it stands."""
    left = limit if limit is not None else -1
    while left and (piece := file.read(PIECE_BYTES if left < 0 else min(left, PIECE_BYTES))):
        if left > 0:
            left -= len(piece)
        yield piece


def window(file: BinaryIO, length: int) -> BinaryIO:
    """The next `length` bytes of a file. Closes it."""
    return stream(pieces_of(file, length), file.close)


def exactly(file: BinaryIO, size_bytes: int) -> bytes:
    """Up to `size_bytes`; fewer only at the end. A source may give less than it is asked for."""
    return b"".join(pieces_of(file, size_bytes))


def from_pieces(pieces: Iterator[bytes]) -> BinaryIO:
    """For a source that has nothing to close."""
    return stream(pieces, lambda: None)
