"""The ObjectStore port: bytes under keys, written once and whole."""

from collections.abc import Iterator
from typing import BinaryIO, Final, Protocol

from controlplane.domain.errors import Invalid

LONGEST_KEY: Final = 1024


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


def check_key(key: str) -> None:
    """Raises `Invalid`. A key is a key on every store, so that objects can be moved between them."""
    if len(key) > LONGEST_KEY or "\0" in key or "\\" in key or not {"", ".", ".."}.isdisjoint(key.split("/")):
        raise Invalid(
            f"{key!r} is not a key: parts joined by '/', none empty, '.' or '..'", field="key", value=key
        )
