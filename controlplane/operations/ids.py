"""Ids: where new ones come from."""

import secrets
import time
from typing import Final, Protocol

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base32, lower case: no letter that is misread."""

LENGTH: Final = 26
RANDOM_BITS: Final = 80
_PAIRS: Final = tuple(first + second for first in ALPHABET for second in ALPHABET)
_SHIFTS: Final = range(5 * LENGTH - 10, -1, -10)


class Ids(Protocol):
    def new(self, prefix: str) -> str:
        """An id that was never given out before: `<prefix>_<text>`."""


class RandomIds:
    """48 bits of milliseconds, then 80 random ones: ids sort by birth and need no coordination."""

    def new(self, prefix: str) -> str:
        number = ((time.time_ns() // 1_000_000) << RANDOM_BITS) | secrets.randbits(RANDOM_BITS)
        return f"{prefix}_{''.join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])}"
