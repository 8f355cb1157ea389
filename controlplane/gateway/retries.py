"""Retries: what may be asked of another replica after one failed, and how much of it."""

import re
from enum import StrEnum
from typing import Final

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""Asking twice does what asking once does (RFC 9110, section 9.2.2)."""

INFERENCE: Final = "/v2/models/(.*/)?infer"
"""Paths whose POST the Open Inference Protocol says may be repeated."""

FAILURES: Final = frozenset({500, 502, 503, 504})
"""Answers that another replica might not have given."""

MOST_PAID: Final = 2
"""Retries of one request that may have been worked on before."""

SHARE: Final = 0.2
"""Such retries of a service per request, in the long run."""

RESERVE: Final = 10.0
MOST_SAVED: Final = 100.0


class Mishap(StrEnum):
    """How asking a replica went wrong."""

    REFUSED = "refused"
    """No connection: it surely saw nothing."""

    LEAVING = "leaving"
    """It said that it takes no more requests: it surely did nothing."""

    BUSY = "busy"
    """It said that it has as many requests as it takes, of other gateways too: it surely did nothing."""

    BROKEN = "broken"
    """It broke off before its answer began: it may have worked on it."""

    FAILED = "failed"
    """It answered 5xx."""

    LATE = "late"
    """It did not begin to answer in time."""

    HURRIED = "hurried"
    """It did not answer in time, and had so little of it that this says nothing of it."""


TIMED_OUT: Final = frozenset({Mishap.LATE, Mishap.HURRIED})
"""No time is left to ask again."""

FREE: Final = frozenset({Mishap.REFUSED, Mishap.LEAVING, Mishap.BUSY})
"""Nothing was done, so asking again costs no replica anything."""


class Budget:
    """Bounds the retries of a service to a share of its requests, so that trouble does not feed on itself."""

    def __init__(self) -> None:
        self._saved = RESERVE

    def note_request(self) -> None:
        self._saved = min(self._saved + SHARE, MOST_SAVED)

    def take(self) -> bool:
        if self._saved < 1:
            return False
        self._saved -= 1
        return True


def is_idempotent(method: str, path: str, *, has_key: bool) -> bool:
    """A caller's idempotency key says so of any request; the Open Inference Protocol says so of inferences."""
    is_inference = method == "POST" and re.fullmatch(INFERENCE, path) is not None
    return method in SAFE_METHODS or has_key or is_inference


def may_repeat(mishap: Mishap, *, is_idempotent: bool, is_whole: bool, paid: int, budget: Budget) -> bool:
    """`is_whole`: the request can be sent once more. `paid`: the retries so far that counted against the budget."""
    if not is_whole or mishap in TIMED_OUT:
        return False
    if mishap in FREE:
        return True
    return is_idempotent and paid < MOST_PAID and budget.take()
