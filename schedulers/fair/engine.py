"""The engine: the books of the picture as it is now, and the last plan for as long as it stays true."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from schedulers.base import Delta, Plan, Snapshot, microseconds
from schedulers.fair.books import Books
from schedulers.fair.deciding import decide


class FairEngine:
    """Not shared between threads."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._books = Books.of(snapshot)
        self._quiet: Plan | None = None
        """A plan that moves nothing, made when nothing has been heard since."""

        self._holds = (0, 0)
        """From when on and until when that plan is what would be answered again, in microseconds since the epoch."""

    def apply(self, deltas: Sequence[Delta]) -> None:
        self._books.apply(deltas)

    def plan(self, *, version: int, now: datetime) -> Plan:
        moment, (made_at, wakes_at) = microseconds(now), self._holds
        if self._quiet is not None and not self._books.is_news and made_at <= moment < wakes_at:
            return replace(self._quiet, version=version)
        decision = decide(self._books, version=version, now=moment)
        self._books.is_news = False
        self._quiet = decision.plan if _is_quiet(decision.plan) else None
        self._holds = (moment, decision.wakes_at)
        return decision.plan


def _is_quiet(plan: Plan) -> bool:
    """Reasons and reservations move nothing."""
    moves = (plan.places, plan.grows, plan.shrinks, plan.moves, plan.preempts, plan.provisions)
    return not any(moves) and not plan.past_uses and not plan.lapsed
