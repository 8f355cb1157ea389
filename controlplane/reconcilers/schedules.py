"""What a schedule does now: makes an execution for a tick, lets the tick pass, or waits for the next one."""

from dataclasses import dataclass
from datetime import datetime

from controlplane.domain.schedules import Overlap, Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleView:
    schedule: Schedule
    newest_tick: datetime | None
    """The last one that is not in the future; None: none since `next_at`, which is in the future."""

    following_tick: datetime
    """The first one in the future."""

    open_executions: int
    """Made for earlier ticks and not over."""

    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDecision:
    schedule: Schedule | None = None
    """To be saved; None: no change."""

    tick: datetime | None = None
    """One that an execution is to be made for."""

    look_again_at: datetime | None = None


def decide(view: ScheduleView) -> ScheduleDecision:
    """However many ticks went by unseen, at most one is caught up with: the newest."""
    schedule = view.schedule
    if schedule.paused_at is not None:
        return ScheduleDecision()
    if view.newest_tick is None:
        return ScheduleDecision(look_again_at=schedule.next_at)
    refused = _refusal(view)
    moved = schedule.changed(next_at=view.following_tick, last_at=view.newest_tick, problem=refused)
    return ScheduleDecision(
        schedule=moved,
        tick=None if refused else view.newest_tick,
        look_again_at=view.following_tick,
    )


def _refusal(view: ScheduleView) -> str | None:
    match view.schedule.overlap:
        case Overlap.SKIP if view.open_executions:
            return "an earlier execution is not over"
        case Overlap.QUEUE if view.open_executions > 1:
            return "an earlier execution is not over, and one waits for it already"
        case _:
            return None
