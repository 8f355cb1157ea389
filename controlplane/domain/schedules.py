"""Schedules: when a pipeline is executed again, and what happens while it still is."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self

from controlplane.domain.ids import ProjectId, ScheduleId, TokenId


class Overlap(StrEnum):
    SKIP = "skip"
    """A tick that finds an execution that is not over makes none."""

    QUEUE = "queue"
    """It makes one that waits for the earlier one; a tick that finds one waiting makes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The pipeline is stored as it was sent, beside this."""

    id: ScheduleId
    project_id: ProjectId
    name: str
    """Unique inside the project."""

    cron: str
    """Five fields: minute, hour, day of the month, month, day of the week."""

    zone: str
    """Time zone of the fields, by its IANA name."""

    overlap: Overlap
    token_id: TokenId
    """Whose rights its executions have."""

    created_at: datetime
    next_at: datetime
    """The next tick. Of a schedule that is paused the first one that was not made an execution of."""

    last_at: datetime | None = None
    """The newest tick that was acted upon, be it by skipping it."""

    problem: str | None = None
    """Why the newest tick made no execution; None: it made one."""

    paused_at: datetime | None = None
    version: int = 1

    def changed(self, **fields: object) -> Self:
        # `object`: the keywords are the fields' own.
        return replace(self, version=self.version + 1, **fields)  # type: ignore[arg-type]
