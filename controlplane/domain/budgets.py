"""Budgets: what a queue, or all queues below a cohort, may spend on bought machines in a window, in one currency."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from controlplane.domain.costs import EPOCH, UNITS, Span
from controlplane.domain.ids import QueueId

DECEMBER: Final = 12
FOREVER: Final = datetime(9999, 1, 1, tzinfo=UTC)


class Window(StrEnum):
    """In UTC."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"
    """Never begins anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    queue_id: QueueId
    """A queue's, or a cohort's."""

    currency: str
    window: Window
    limit_millionths: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What became of a budget in its present window."""

    budget: Budget
    span: Span
    spent_units: int
    promised_units: int
    """What live claims were expected to cost and have not cost yet."""

    @property
    def left_millionths(self) -> int:
        """Below zero when work took longer than was expected."""
        return (self.budget.limit_millionths * UNITS - self.spent_units - self.promised_units) // UNITS


def first_of_month(at: datetime) -> datetime:
    """Of UTC; also of the calendar's last month, whose end is no moment."""
    return _midnight(at).replace(day=1)


def window_at(window: Window, now: datetime) -> Span:
    """The one that a moment lies in."""
    day = _midnight(now)
    match window:
        case Window.DAY:
            return Span(day, day + timedelta(days=1))
        case Window.MONTH:
            first = first_of_month(now)
            year, month = (first.year + 1, 1) if first.month == DECEMBER else (first.year, first.month + 1)
            return Span(first, first.replace(year=year, month=month))
        case Window.TOTAL:
            return Span(EPOCH, FOREVER)


def _midnight(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
