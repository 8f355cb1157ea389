"""Decay: what was used long ago counts less, in whole numbers that come out the same on every machine.

Past use is an average of parts of a capacity in which a moment counts half as much after each half-life (Kueue
KEP-4136): over a time t in which the part p was in use, `used` becomes `k * used + (1 - k) * p` with k = 0.5 ^ (t /
half-life).
"""

from itertools import accumulate
from math import isqrt
from typing import Final

HALF_LIFE_SECONDS: Final = 7 * 86_400
WHOLE_USE: Final = 10**15
"""All of a capacity: so fine that a half-life in steps of minutes halves to better than a thousand-millionth."""

_BITS: Final = 64
_ONE: Final = 1 << _BITS
_ROOTS: Final = tuple(
    accumulate(range(_BITS - 1), lambda root, _: isqrt(root << _BITS), initial=isqrt(_ONE * _ONE // 2))
)
"""0.5 to the power of 1/2, 1/4, 1/8, ... in 2^64ths, rounded down."""


def after(used: int, present: int, seconds: int, half_life_seconds: int = HALF_LIFE_SECONDS) -> int:
    """What `used` has become when `present` was in use for so long; both in parts of `WHOLE_USE`."""
    kept = _kept(seconds, half_life_seconds)
    return (used * kept + present * (_ONE - kept) + _ONE // 2) >> _BITS


def _kept(seconds: int, half_life_seconds: int) -> int:
    """0.5 ^ (seconds / half-life) in 2^64ths, from the binary digits of the exponent."""
    halves, rest = divmod(seconds, half_life_seconds)
    digits, kept = (rest << _BITS) // half_life_seconds, _ONE
    for place, root in enumerate(_ROOTS):
        if digits >> (_BITS - 1 - place) & 1:
            kept = kept * root >> _BITS
    return kept >> halves
