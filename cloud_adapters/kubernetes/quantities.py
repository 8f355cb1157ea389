"""Quantities: Kubernetes' way to write numbers, as exact integers. Pure."""

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from typing import Final

from cloud_adapters.base import MILLI, Rejected

SYNTAX: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i)?)")
SCALES: Final = {
    "n": Decimal(10) ** -9,
    "u": Decimal(10) ** -6,
    "m": Decimal(10) ** -3,
    "": Decimal(1),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


@lru_cache(maxsize=4096)
def value_of(text: str) -> Decimal:
    """Raises `Rejected` on what is no quantity. A cluster writes the same few over and over, hence the cache."""
    match = SYNTAX.fullmatch(text.strip())
    if match is None:
        raise Rejected(f"{text!r} is not a Kubernetes quantity")
    number, exponent, suffix = match.groups()
    scale = Decimal(10) ** int(exponent) if exponent else SCALES[suffix or ""]
    return Decimal(number) * scale


def milli_had(text: str) -> int:
    """In thousandths, rounded down: what a node has."""
    return int((value_of(text) * MILLI).to_integral_value(ROUND_FLOOR))


def milli_held(text: str) -> int:
    """In thousandths, rounded up: what a pod holds."""
    return int((value_of(text) * MILLI).to_integral_value(ROUND_CEILING))


def milli_text(milli: int) -> str:
    return str(milli // MILLI) if milli % MILLI == 0 else f"{milli}m"
