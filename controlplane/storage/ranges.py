"""Ranges of bytes, as HTTP writes them."""

import re
from typing import Final

from controlplane.storage.shelf import Refusal

RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")


def asked_range(text: str | None, size_bytes: int) -> tuple[int, int]:
    """First byte and length. Raises `Refusal` for a range that begins beyond the end, or that is none."""
    if text is None:
        return 0, size_bytes
    found = RANGE.fullmatch(text)
    if found is None:
        raise Refusal(501, "NotImplemented", "Only bytes=first-last is understood.")
    first = int(found[1])
    last = min(int(found[2] or size_bytes), size_bytes - 1)
    if first >= size_bytes or last < first:
        raise Refusal(416, "InvalidRange", "The requested range is not satisfiable.")
    return first, last - first + 1
