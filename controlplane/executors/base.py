"""The Executor port: starts, stops and observes attempts on a cluster.

Thin, stateless and synchronous: never sleeps, retries, caches or logs secrets; the loops own those. Raises only
`PluginError`s. Every call takes a deadline in seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from controlplane.domain.amounts import Amounts
from controlplane.domain.clusters import Endpoint
from controlplane.domain.ids import AttemptId, JobId
from controlplane.domain.twins import quick


class Launch(StrEnum):
    """How the tasks of an attempt come to life."""

    TASKS = "tasks"
    """The entrypoint is started once per task."""

    DRIVER = "driver"
    """The entrypoint is started once and drives Ray itself on the booked nodes (Ray Train, Ray Data...)."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSeat:
    """One booked share, in the cluster's own words."""

    rank: int
    node_name: str
    amounts: Amounts
    role: str | None = None
    """Of a gang whose tasks need different things."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """All that an executor must know to start one attempt."""

    attempt_id: AttemptId
    job_id: JobId
    number: int
    endpoint: Endpoint
    seats: tuple[OrderSeat, ...]
    launch: Launch
    command: str | None
    """A shell command, or None when `function` is set."""

    function: str | None
    """`module:function`."""

    environment: Mapping[str, str] = field(default_factory=dict)
    working_dir: bytes | None = field(default=None, repr=False)
    """A zip archive with the files at its root."""

    urls: tuple[str, ...]
    """Where the wrapper finds the control plane."""

    token: str = field(repr=False)
    """Authorises the records of this attempt and nothing else."""

    lease_seconds: float
    grace_seconds: float
    start_timeout_seconds: float
    log_quota_bytes: int
    checkpoint_uri: str | None = None
    outputs_uri: str | None = None
    resume_from: str | None = None


class Phase(StrEnum):
    """What the executor knows of an attempt."""

    PENDING = "pending"
    RUNNING = "running"
    EXITED = "exited"
    """The wrapper ended and said with which code: positive evidence that no task runs."""

    DIED = "died"
    """The executor lost the wrapper; tasks may still run until their lease ends."""

    ABSENT = "absent"
    """The executor does not know it: never started here, or forgotten with an earlier session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    attempt_id: AttemptId
    phase: Phase
    session: str
    """The executor's present session. Differs from the attempt's: all that ran before is gone."""

    exit_code: int | None = None
    message: str | None = None


class Executor(Protocol):
    """Runs attempts. Built once per process, shared by threads."""

    def start(self, order: Order, *, deadline: float) -> str:
        """Hands over the order and returns the executor's session. Idempotent by attempt id.

        Raises `Ambiguous` when it may have been taken, `Transient` when it surely was not, `Rejected` when it never
        will be.
        """

    def stop(self, endpoint: Endpoint, attempt_id: AttemptId, *, deadline: float) -> None:
        """Asks every task to end (SIGTERM, the order's grace, SIGKILL). Idempotent; unknown attempts are fine."""

    def observe(
        self, endpoint: Endpoint, attempt_ids: Sequence[AttemptId], *, deadline: float
    ) -> tuple[Observation, ...]:
        """One observation per id, in the same order. Raises `Transient` when the cluster does not answer."""


@runtime_checkable
class Lists(Protocol):
    """An executor that can say what it runs, whoever asked for it."""

    def listed(self, endpoint: Endpoint, *, deadline: float) -> tuple[AttemptId, ...]:
        """Ids, sorted, of all attempts that it believes to be alive; those of other control planes may be among them.

        Complete, or raises: `Transient` when the cluster does not answer.
        """
