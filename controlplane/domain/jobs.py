"""Jobs: what the user asked for, and how far we got. Asks: what the policy seats for them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Self

from controlplane.domain.amounts import Amounts
from controlplane.domain.copies import replace
from controlplane.domain.ids import AskId, ClassId, JobId, ProjectId, QueueId
from controlplane.domain.lifecycles import Lifecycle, to
from controlplane.domain.residency import Reads
from controlplane.domain.twins import quick


class JobKind(StrEnum):
    TRAINING = "training"
    BATCH = "batch"
    COMMAND = "command"
    REPLICA = "replica"
    """Of a service, which alone submits it: it ends when its service says so."""


class JobState(StrEnum):
    HELD = "held"
    """Waiting for another job; invisible to the scheduler."""

    QUEUED = "queued"
    """The scheduler may place it."""

    ACTIVE = "active"
    """Owned by exactly one live attempt; ask the attempt for details."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


JOB: Final = Lifecycle(
    noun="job",
    initial=JobState.HELD,
    edges={
        JobState.HELD: to(JobState.QUEUED, JobState.FAILED, JobState.CANCELLED),
        JobState.QUEUED: to(JobState.HELD, JobState.ACTIVE, JobState.FAILED, JobState.CANCELLED),
        JobState.ACTIVE: to(
            JobState.QUEUED,  # the attempt ended and the retry policy wants another
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.CANCELLED,
        ),
        JobState.SUCCEEDED: to(),
        JobState.FAILED: to(),
        JobState.CANCELLED: to(),
    },
)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a failed attempt is followed by another. Preempted, evicted and lost attempts do not count."""

    max_attempts: int = 1
    backoff_seconds: float = 10.0
    """Before the second attempt; doubles with each further one, up to `max_backoff_seconds`."""

    max_backoff_seconds: float = 600.0
    retryable_exit_codes: tuple[int, ...] = ()
    """Empty: every non-zero code is worth another attempt."""

    def wants_another(self, *, failures: int, exit_code: int | None) -> bool:
        """`failures` counts the attempts that consumed the budget, the newest included."""
        retryable = not self.retryable_exit_codes or exit_code in self.retryable_exit_codes
        return retryable and failures < self.max_attempts

    def backoff(self, *, failures: int) -> timedelta:
        doublings = min(max(failures - 1, 0), 32)
        return timedelta(seconds=min(self.backoff_seconds * 2**doublings, self.max_backoff_seconds))


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The spec itself is stored verbatim beside this; here stands only what is decided on."""

    id: JobId
    project_id: ProjectId
    queue_id: QueueId
    name: str
    kind: JobKind
    priority: int
    state: JobState
    since: datetime
    submitted_at: datetime
    version: int = 1
    retry: RetryPolicy = RetryPolicy()
    max_runtime_seconds: float | None = None
    depends_on: tuple[JobId, ...] = ()
    retry_of: JobId | None = None
    cancel_requested_at: datetime | None = None
    reason: str | None = None
    """Why it is where it is, one sentence; set on failure and on requeue."""

    came_from: str = "-"

    def move(self, new: JobState, *, at: datetime, reason: str | None = None) -> Self:
        JOB.check(self.state, new)
        return replace(
            self,
            state=new,
            came_from=str(self.state),
            since=at,
            version=self.version + 1,
            reason=reason or self.reason,
        )

    def request_cancel(self, *, at: datetime) -> Self:
        return replace(self, cancel_requested_at=self.cancel_requested_at or at, version=self.version + 1)

    @property
    def is_finished(self) -> bool:
        return JOB.is_terminal(self.state)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class AskRole:
    """Tasks of one ask that need the same; their ranks follow those of the role before."""

    name: str
    tasks: int
    amounts: Amounts
    """Of one task."""

    accelerator: str | None = None
    flavors: tuple[str, ...] = ()
    """As in `Traits`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What else a policy must know of an ask to seat it well. Most asks have none."""

    tasks_min: int | None = None
    """With fewer tasks it is of no use; None: all or nothing."""

    topology_level: str | None = None
    """`rack`, `block`...: all tasks in one domain of that level."""

    topology_required: bool = True
    """False: wherever that is not possible, the closest."""

    topology_balanced: bool = False
    """Not required: as many tasks in each of the fewest domains that are enough."""

    topology_slices: tuple[tuple[str, int], ...] = ()
    """(level, tasks): so many consecutive tasks go together into one domain of the level; outermost first."""

    tolerations: tuple[tuple[str, str], ...] = ()
    """(key, value) of taints that it may meet, sorted; the value `*` meets any."""

    flavors: tuple[str, ...] = ()
    """Kinds of capacity that it may use, in the order in which they are tried; empty: all that its queue may."""

    runtime_seconds: int | None = None
    """How long it is expected to run."""

    deadline: datetime | None = None
    is_surplus: bool = False
    """Placed after all other work, and the first to go."""

    is_lasting: bool = False
    """One of the fewest replicas of a service: first in its queue, and kept on what the queue itself owns."""

    restart_seconds: int | None = None
    """What a new start costs beside lost work; None: what a policy takes for usual."""

    stores: tuple[str, ...] = ()
    """Names of the registered stores that hold what it reads, sorted: it may only be where that may be."""

    data: tuple[tuple[str, int], ...] = ()
    """(region, GiB) of what it reads, sorted, as far as both are known: it is brought to machines bought elsewhere."""

    roles: tuple[AskRole, ...] = ()
    """Where not all tasks need the same; of `tasks_min` the last one alone may have fewer."""

    @property
    def reads(self) -> Reads:
        return Reads(stores=self.stores, data=self.data)


NO_TRAITS: Final = Traits()


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What the policy seats: all tasks of one job (ordinal 0; more ordinals come with services)."""

    id: AskId
    job_id: JobId
    queue_id: QueueId
    ordinal: int
    tasks: int
    amounts: Amounts
    """Of one task; where there are roles, of the first."""

    accelerator: str | None
    """Model name every node must carry, e.g. `a100-80g`; None takes any."""

    class_id: ClassId
    priority: int
    submitted_at: datetime
    not_before: datetime | None = None
    """Back-off: not placed before this moment."""

    traits: Traits = NO_TRAITS

    @property
    def fewest(self) -> int:
        """Tasks with which it may start."""
        return self.tasks if self.traits.tasks_min is None else self.traits.tasks_min

    def fewest_of(self, role: AskRole) -> int:
        """Tasks of that role with which it may start."""
        is_last = role is self.traits.roles[-1]
        return role.tasks - (self.tasks - self.fewest) if is_last else role.tasks

    def amounts_of(self, rank: int) -> Amounts:
        """Of the task with this rank."""
        for role in self.traits.roles:
            if rank < role.tasks:
                return role.amounts
            rank -= role.tasks
        return self.amounts


def ask_id(job_id: JobId, ordinal: int = 0) -> AskId:
    """The ask's id follows from its job's, so an event about the job names the ask as well."""
    return AskId(f"{job_id}.{ordinal}")
