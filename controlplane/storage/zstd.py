"""ZstdBlobs: blobs that are compressed on their way into a store, for logs and uploads (RFC 8878)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import zstandard

from controlplane.domain.errors import Rejected, Transient
from controlplane.storage.base import Blobs
from controlplane.storage.streams import from_pieces, pieces_of, stream

LEVEL: Final = 3
WIDEST_WINDOW: Final = 128 * 1024**2
"""What a reader spends at most, whatever the blob claims to need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZstdBlobs:
    inner: Blobs

    def put(self, key: str, data: BinaryIO, *, if_absent: bool = False) -> int:
        """Returns the size as it is stored."""
        return self.inner.put(key, from_pieces(_compressed(data)), if_absent=if_absent)

    def get(self, key: str) -> BinaryIO:
        """Raises `Rejected` while reading what is not zstd or was changed, `Transient` if it was cut."""
        file = self.inner.get(key)
        return stream(_plain(key, file), file.close)

    def exists(self, key: str) -> bool:
        return self.inner.exists(key)

    def list(self, prefix: str) -> Iterator[str]:
        return self.inner.list(prefix)

    def delete(self, key: str) -> None:
        self.inner.delete(key)


def _compressed(data: BinaryIO) -> Iterator[bytes]:
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
    for piece in pieces_of(data):
        yield compressor.compress(piece)
    yield compressor.flush()


def _plain(key: str, file: BinaryIO) -> Iterator[bytes]:
    """The end of the frame is asked for: the library takes a cut one for a whole."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=WIDEST_WINDOW).decompressobj()
    try:
        for piece in pieces_of(file):
            yield decompressor.decompress(piece)
            if decompressor.unused_data:
                raise Rejected(f"{key} goes on after its end")
    except zstandard.ZstdError as error:
        raise Rejected(f"{key} is not what zstd wrote") from error
    if not decompressor.eof:
        raise Transient(f"{key} was cut before its end")
