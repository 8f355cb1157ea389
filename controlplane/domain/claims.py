"""Claims: our intent to hold bought machines over time. Launches: the calls to a cloud that were made for one."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from controlplane.domain.amounts import Amounts
from controlplane.domain.copies import replace
from controlplane.domain.ids import AskId, AttemptId, ClaimId, ClusterId, LaunchId, QueueId
from controlplane.domain.lifecycles import Lifecycle, to

SHARED: Final = "shared"
"""The trust domain of those who keep nothing from each other."""

CLAIM_LABEL: Final = "crossdock.io/claim"
"""The label of a machine that says which claim it was bought for."""

MACHINE_LABEL: Final = "crossdock.io/machine"
"""The label of a Ray node that says which bought machine it is, by the provider's name."""


class CapacityType(StrEnum):
    OWNED = "owned"
    """Ours for good; costs the same whether it is used or not."""

    RESERVED = "reserved"
    """Paid for over a term, and kept free for us."""

    ON_DEMAND = "on_demand"
    SPOT = "spot"
    """Cheap, and taken back whenever the cloud likes."""


class ClaimState(StrEnum):
    REQUESTED = "requested"
    """Wanted; no cloud was called yet, so it can go without a trace."""

    LAUNCHING = "launching"
    """Its first Launch is written down; from here on the cloud may have machines for it."""

    READY = "ready"
    """The cloud listed `machines_min` running machines. Only now its nodes take tasks."""

    DRAINING = "draining"
    """Somebody wants it gone; what runs on its nodes runs on, and nothing new comes."""

    TERMINATING = "terminating"
    """Its machines are being ended, whatever runs there."""

    GONE = "gone"
    """The cloud lists nothing for it, and is past the time in which it could still bring something up."""


CLAIM: Final = Lifecycle(
    noun="claim",
    initial=ClaimState.REQUESTED,
    edges={
        ClaimState.REQUESTED: to(ClaimState.LAUNCHING, ClaimState.GONE),
        ClaimState.LAUNCHING: to(ClaimState.READY, ClaimState.TERMINATING, ClaimState.GONE),
        ClaimState.READY: to(ClaimState.DRAINING, ClaimState.TERMINATING),
        ClaimState.DRAINING: to(ClaimState.READY, ClaimState.TERMINATING),
        ClaimState.TERMINATING: to(ClaimState.GONE),
        ClaimState.GONE: to(),
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one member of a built Ray cluster takes of one node that the cluster lends."""

    node_name: str
    amounts: Amounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    id: ClaimId
    cluster_id: ClusterId
    """The cluster that its machines join."""

    machine_type: str
    """What the cloud calls it."""

    capacity_type: CapacityType
    zones: tuple[str, ...]
    """Where it may be bought, the preferred one first."""

    machines_min: int
    """Bought all or none at first; fewer are repaired."""

    machines_want: int
    """Bought as later Launches once it is ready."""

    state: ClaimState
    since: datetime
    created_at: datetime
    shares: tuple[Share, ...] = ()
    """Of lent nodes, one member on each, for the one attempt that it is built for; empty: machines are bought."""

    trust_domain: str = SHARED
    """Whose attempts may meet on its Ray cluster."""

    reservation: str | None = None
    """The provider's id of a reservation that the machines come from."""

    tries_again: bool = True
    """False: once every zone has refused it goes, and whoever wanted it asks elsewhere."""

    idle_seconds: float | None = None
    """Given back when no task was on it for so long; None: by request only."""

    wanted_by: AskId | None = None
    """The ask that a plan bought it for; None: somebody asked for it."""

    price_millionths: int | None = None
    """Of one machine for one hour when it was ordered, in millionths of `currency`."""

    currency: str | None = None
    queue_id: QueueId | None = None
    """Whose budgets bear it; None: nobody's."""

    expected_millionths: int | None = None
    """What all of it was expected to cost when it was ordered."""

    idle_since: datetime | None = None
    renewed_until: datetime | None = None
    """When its cloud ends the machines by itself; None: it does not, or it was not told yet."""

    generation: int = 0
    """Counts the rounds of buying; each goes through the zones from the first one. 0: none yet."""

    version: int = 1
    release_requested_at: datetime | None = None
    last_launch_at: datetime | None = None
    """When a call that buys was last about to be made: what it did may still be invisible for a while."""

    missing_since: datetime | None = None
    """When a list that could not be too old first showed too few machines."""

    problem: str | None = None
    """What stands in its way, for people."""

    came_from: str = "-"

    def move(self, new: ClaimState, *, at: datetime) -> Self:
        CLAIM.check(self.state, new)
        return replace(self, state=new, came_from=str(self.state), since=at, version=self.version + 1)

    def changed(self, **fields: object) -> Self:
        """The next version of it in the same state."""
        # `object`: the keywords are the fields' own.
        return replace(self, version=self.version + 1, **fields)  # type: ignore[arg-type]

    @property
    def is_live(self) -> bool:
        return self.state is not ClaimState.GONE

    @property
    def takes_tasks(self) -> bool:
        return self.state is ClaimState.READY

    @property
    def is_coming(self) -> bool:
        """Whether its machines may still be of use to whoever it was bought for."""
        return self.state in (ClaimState.REQUESTED, ClaimState.LAUNCHING, ClaimState.READY)


class LaunchOutcome(StrEnum):
    GRANTED = "granted"
    REFUSED = "refused"
    """Nothing of it was kept, or what was kept is being given back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One purchase: so many machines in one zone, all or none."""

    id: LaunchId
    """Also the cloud's client token and the name of what it makes; never reused, not even for another zone."""

    claim_id: ClaimId
    generation: int
    ordinal: int
    """Within the generation; 1 is the preferred zone."""

    zone: str
    machines: int
    created_at: datetime
    resolved_at: datetime | None = None
    outcome: LaunchOutcome | None = None
    """None: nobody knows yet. Set exactly when resolved."""

    problem: str | None = None

    def resolve(self, outcome: LaunchOutcome, *, at: datetime, problem: str | None = None) -> Self:
        return replace(self, outcome=outcome, resolved_at=at, problem=problem)

    @property
    def is_open(self) -> bool:
        return self.resolved_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A machine with our tag whose claim nobody knows, or which is gone."""

    cluster_id: ClusterId
    name: str
    zone: str
    claim_id: ClaimId
    launch_id: LaunchId
    seen_at: datetime
    """When it was first listed as an orphan."""


def launch_id(claim_id: ClaimId, generation: int, ordinal: int) -> LaunchId:
    return LaunchId(f"{claim_id}-g{generation}-l{ordinal}")


def built_claim(attempt_id: AttemptId) -> ClaimId:
    """Of the Ray cluster that is built for one attempt, and ends with it."""
    return ClaimId(f"claim-{attempt_id}")
