"""The ObjectStore port: bytes under keys, written once and whole."""

from collections.abc import Iterator
from typing import BinaryIO, Protocol


class ObjectStore(Protocol):
    """Keys are `/`-separated. A key is either absent or whole; a crash in the middle of a put leaves it absent."""

    def put(self, key: str, data: BinaryIO) -> int:
        """Stores and returns the size in bytes. Putting an existing key replaces it."""

    def get(self, key: str) -> BinaryIO:
        """Opens for reading; the caller closes. Raises `NotFound`."""

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[str]:
        """Yields keys in order."""

    def delete(self, key: str) -> None:
        """Absent keys are fine."""
