"""What is known and asked when a claim is moved along: views, port calls, what was heard, and decisions."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cloud_adapters.base import Built, OwnedMachine, Termination
from controlplane.domain.claims import Claim, Launch
from controlplane.domain.clusters import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    machines: tuple[OwnedMachine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Nothing of the launch was kept."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delayed:
    """Nobody knows, or surely not yet; the same call may be made again."""

    message: str
    retry_after: timedelta = timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The members were told to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminated:
    answer: Termination


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    machines: tuple[OwnedMachine, ...]
    """Of all claims of the cluster."""

    asked_at: datetime
    """Before the call: what a list without lag cannot be older than."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stands:
    """The adapter says that the Ray cluster is whole, and how it is dialled."""

    built: Built


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """The machines end by themselves at this moment, and not before."""

    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrenewed:
    """At least one machine keeps the end that it had; the others may have been renewed."""

    message: str


Heard = Granted | Refused | Delayed | Released | Terminated | Listed | Stands | Renewed | Unrenewed


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensure:
    launch: Launch


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """End these machines of the claim, and no others."""

    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminate:
    """End every machine of the claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOwned:
    """Ask what there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspect:
    """Ask the adapter how the Ray cluster is dialled that it built, and who is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """Move the moment at which the cloud ends the machines by itself."""

    until: datetime


Call = Ensure | Release | Terminate | ListOwned | Inspect | Renew


class Joining(StrEnum):
    """How a claim's machines come to Ray."""

    CLUSTER = "cluster"
    """They join the Ray that listens at the cluster's own address."""

    CHECK_IN = "check_in"
    """They check in with the control plane and form one of their own."""

    BUILT = "built"
    """The adapter builds one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimView:
    claim: Claim
    cluster: Cluster
    launches: tuple[Launch, ...]
    """All that were ever made for it, oldest first."""

    has_tasks: bool
    """Whether a live attempt holds a seat on one of its nodes, or runs on its Ray cluster."""

    is_promised: bool = False
    """Whether seats on its nodes are kept for somebody who waits until others have gone."""

    joining: Joining = Joining.CLUSTER
    joined: int = 0
    """Machines that its own Ray lists, where they check in."""

    head: str | None = None
    """The machine whose Ray all others have joined, where they check in; None: none has yet."""

    spoke: frozenset[str] = frozenset()
    """Machines that have checked in."""

    boot_timeout: timedelta = timedelta(minutes=15)
    """From the grant of a launch to the last machine's joining."""

    renews: bool = False
    """The cloud ends machines by itself at a set time."""

    dead_man: timedelta = timedelta(hours=1)
    """How long machines may stay when nobody looks after them any more."""

    sells: bool
    """False: the cluster's plugin is not there, or sells nothing."""

    list_lag: timedelta
    poll: timedelta
    now: datetime
    heard: Heard | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimDecision:
    call: Call | None = None
    """To be made after `save` is committed; the loop then decides again with what it heard."""

    save: Claim | None = None
    resolve: Launch | None = None
    add: Launch | None = None
    stands: Built | None = None
    """To be kept as the claim's site."""

    look_again_at: datetime | None = None
