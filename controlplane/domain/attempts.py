"""Attempts: one try to run an ask, all its tasks together. Seats: the share of a node each task holds."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Self

from controlplane.domain.amounts import Amounts
from controlplane.domain.copies import replace
from controlplane.domain.errors import Bug
from controlplane.domain.ids import AskId, AttemptId, ClaimId, ClusterId, JobId, NodeId, ProjectId
from controlplane.domain.lifecycles import Lifecycle, to
from controlplane.domain.twins import quick

COORDINATOR: Final = -1
"""The rank under which the exit record that speaks for the whole attempt is kept."""


class AttemptState(StrEnum):
    PLACED = "placed"
    """Seats are booked; the executor may or may not have been told yet."""

    STARTING = "starting"
    """The executor took the order; no task has spoken yet."""

    RUNNING = "running"
    STOPPING = "stopping"
    """User code was told to stop, or nobody knows whether it still runs. Seats stay booked."""

    ENDED = "ended"
    """No user code of it runs any more, by evidence or by an expired lease. Carries an Outcome."""


class Outcome(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"
    EVICTED = "evicted"
    """The node or the cluster went away or was drained."""

    TIMED_OUT = "timed_out"
    """Ran longer than the user's max_runtime."""

    NEVER_STARTED = "never_started"
    """The executor or the cluster did not start user code in time."""

    RESIZED = "resized"
    """Starts again with more, fewer or other seats, at its last checkpoint."""

    LOST = "lost"
    """Nobody heard of it any more; its lease ran out."""


ATTEMPT: Final = Lifecycle(
    noun="attempt",
    initial=AttemptState.PLACED,
    edges={
        AttemptState.PLACED: to(AttemptState.STARTING, AttemptState.STOPPING, AttemptState.ENDED),
        AttemptState.STARTING: to(AttemptState.RUNNING, AttemptState.STOPPING, AttemptState.ENDED),
        AttemptState.RUNNING: to(AttemptState.STOPPING, AttemptState.ENDED),
        AttemptState.STOPPING: to(AttemptState.ENDED),
        AttemptState.ENDED: to(),
    },
)

FREE_OF_CHARGE: Final = frozenset(
    {Outcome.PREEMPTED, Outcome.EVICTED, Outcome.RESIZED, Outcome.LOST, Outcome.NEVER_STARTED}
)
"""Outcomes that do not consume the user's retry budget: the platform's doing, not the code's."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One task's share of one node. Held until its attempt has ended."""

    attempt_id: AttemptId
    rank: int
    node_id: NodeId
    amounts: Amounts
    heir: AskId | None = None
    """The ask that alone may be placed here when the seat is released."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    id: AttemptId
    """Also the executor's submission id: never reused, so a second start is refused by the executor."""

    job_id: JobId
    ask_id: AskId
    project_id: ProjectId
    cluster_id: ClusterId
    number: int
    """1 for the job's first attempt."""

    state: AttemptState
    since: datetime
    placed_at: datetime
    version: int = 1
    outcome: Outcome | None = None
    """Set exactly when ended."""

    exit_code: int | None = None
    reason: str | None = None
    started_at: datetime | None = None
    """When the first task said hello."""

    ended_at: datetime | None = None
    lease_until: datetime | None = None
    """The latest moment at which some task may still believe that it may run. None: no task ever said hello."""

    stop_outcome: Outcome | None = None
    """Why it is being stopped; becomes the outcome unless the user's code finished first."""

    stop_requested_at: datetime | None = None
    session: str | None = None
    """The executor's session (Ray's session name) that took the order: another session is another life."""

    claim_id: ClaimId | None = None
    """Whose Ray cluster it runs on; None: the cluster's own."""

    came_from: str = "-"

    def move(self, new: AttemptState, *, at: datetime, reason: str | None = None) -> Self:
        if new is AttemptState.ENDED and self.outcome is None:
            raise Bug(f"attempt {self.id}: ended without an outcome")
        ATTEMPT.check(self.state, new)
        return replace(
            self,
            state=new,
            came_from=str(self.state),
            since=at,
            version=self.version + 1,
            reason=reason or self.reason,
        )

    def end(
        self, outcome: Outcome, *, at: datetime, exit_code: int | None = None, reason: str | None = None
    ) -> Self:
        """The one way to end: the outcome and the moment are set in the same breath."""
        decided = replace(self, outcome=outcome, exit_code=exit_code, ended_at=at)
        return decided.move(AttemptState.ENDED, at=at, reason=reason)

    def delay(self, reason: str) -> Self:
        """The executor did not take the order yet: it keeps its place, and people can read why."""
        return replace(self, reason=reason, version=self.version + 1)

    def start(self, *, session: str | None, at: datetime) -> Self:
        """The executor took the order."""
        return replace(self, session=session, reason=None).move(AttemptState.STARTING, at=at)

    def run(self, *, at: datetime) -> Self:
        """The first task said hello."""
        return replace(self, started_at=at).move(AttemptState.RUNNING, at=at)

    def stop(self, outcome: Outcome, *, at: datetime, reason: str) -> Self:
        """Stops for a reason that will be the outcome; the first reason wins."""
        return replace(self, stop_outcome=outcome, stop_requested_at=at).move(
            AttemptState.STOPPING, at=at, reason=reason
        )

    def may_run_until(self, *, skew: timedelta) -> datetime | None:
        """After this moment of the control plane's clock no task runs, however slow its clock. None: none ever ran."""
        return None if self.lease_until is None else self.lease_until + skew

    @property
    def is_live(self) -> bool:
        return self.state is not AttemptState.ENDED
