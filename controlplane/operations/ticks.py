"""Ticks: the moments that a cron expression names, in its time zone.

Where clocks are put forward, a tick in the hour that is left out comes right after it; where they are put back, one
in the hour that comes twice comes once (as Debian's cron does it).
"""

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from controlplane.domain.errors import Invalid

FIELDS: Final = 5


def check(cron: str, zone: str) -> None:
    """Raises `Invalid` naming the field, and what is wrong with it."""
    if len(cron.split()) != FIELDS:
        what = f"{cron!r} has {len(cron.split())} fields: write minute, hour, day of the month, month, day of the week"
        raise Invalid(what, field="cron", value=cron, limit=FIELDS)
    try:
        clock = ZoneInfo(zone)
    except (KeyError, OSError, ValueError) as error:
        # A name may be unknown, that of a folder, or no name at all.
        raise Invalid(f"there is no time zone {zone!r}", field="zone", value=zone) from error
    try:
        next(CronSim(cron, datetime(2026, 1, 1, tzinfo=clock)))
    except (CronSimError, StopIteration) as error:
        raise Invalid(f"{cron!r} names no moment: {error}", field="cron", value=cron) from error


def after(cron: str, zone: str, moment: datetime) -> datetime:
    """The first one behind that moment."""
    return next(CronSim(cron, moment.astimezone(ZoneInfo(zone)))).astimezone(UTC)


def newest(cron: str, zone: str, moment: datetime) -> datetime:
    """The last one that is not behind that moment."""
    just_behind = moment.astimezone(ZoneInfo(zone)) + timedelta(microseconds=1)
    return next(CronSim(cron, just_behind, reverse=True)).astimezone(UTC)
