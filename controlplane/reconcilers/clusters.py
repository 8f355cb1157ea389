"""Moves clusters along: boot, look, drain, detach. Unreachable is not failed.

The loop calls `decide` with `heard=None`, makes the port call that it asks for, and calls again with the answer.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cloud_adapters.base import Inventory
from controlplane.domain.clusters import Cluster, ClusterState, Endpoint
from controlplane.domain.copies import replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    endpoint: Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    inventory: Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """It did not answer, or could not be booted."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutDown:
    """Everything of it has ended."""


Heard = Booted | Seen | Unseen | ShutDown


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """Start it unless it runs, and keep it alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeInventory:
    endpoint: Endpoint | None
    """The one that a boot has just answered; None: the stored one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndAll:
    """Shut down the cluster that we own."""


Call = Boot | TakeInventory | EndAll


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    cluster: Cluster
    live_attempts: int
    is_hosted: bool
    """True: the adapter starts and owns it."""

    unreachable_after: timedelta
    poll: timedelta
    now: datetime
    heard: Heard | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDecision:
    call: Call | None = None
    save: Cluster | None = None
    endpoint: Endpoint | None = None
    """To be kept (address in the row, token sealed)."""

    inventory: Inventory | None = None
    """To be folded into the nodes."""

    look_again_at: datetime | None = None


def decide(view: ClusterView) -> ClusterDecision:
    cluster = view.cluster
    if cluster.state is ClusterState.DETACHED:
        return ClusterDecision()
    if cluster.detach_requested_at is not None and _may_detach(view):
        return _detach(view)
    if moved := _operator_wishes(view):
        return ClusterDecision(save=moved, look_again_at=view.now)
    return _look(view)


def _look(view: ClusterView) -> ClusterDecision:
    match view.heard:
        case None:
            return ClusterDecision(call=Boot() if view.is_hosted else TakeInventory(endpoint=None))
        case Booted(endpoint=endpoint):
            return ClusterDecision(call=TakeInventory(endpoint=endpoint), endpoint=endpoint)
        case Seen(inventory=inventory):
            return _seen(view, inventory)
        case Unseen(message=message):
            return _unseen(view, message)
        case ShutDown():
            return ClusterDecision(look_again_at=view.now)


def _may_detach(view: ClusterView) -> bool:
    """An unreachable or never seen cluster goes at once, by the operator's word; a reachable one when it is empty."""
    match view.cluster.state:
        case ClusterState.PENDING | ClusterState.UNREACHABLE:
            return True
        case ClusterState.DRAINING:
            return view.live_attempts == 0
        case _:
            return False


def _detach(view: ClusterView) -> ClusterDecision:
    if view.is_hosted and not isinstance(view.heard, ShutDown):
        retry_at = view.now + view.poll
        return (
            ClusterDecision(call=EndAll()) if view.heard is None else ClusterDecision(look_again_at=retry_at)
        )
    return ClusterDecision(save=view.cluster.move(ClusterState.DETACHED, at=view.now))


def _operator_wishes(view: ClusterView) -> Cluster | None:
    cluster = view.cluster
    wants_empty = cluster.drain_requested_at is not None or cluster.detach_requested_at is not None
    if wants_empty and cluster.state in (ClusterState.READY, ClusterState.UNREACHABLE):
        return cluster.move(ClusterState.DRAINING, at=view.now)
    if cluster.state is ClusterState.DRAINING and not wants_empty:
        return cluster.move(ClusterState.READY, at=view.now)
    return None


def _seen(view: ClusterView, inventory: Inventory) -> ClusterDecision:
    known = replace(
        view.cluster,
        last_seen_at=view.now,
        session=inventory.session,
        problem=None,
        warnings=inventory.problems,
    )
    if known.state in (ClusterState.PENDING, ClusterState.UNREACHABLE):
        saved = known.move(ClusterState.READY, at=view.now)
    else:
        saved = replace(known, version=known.version + 1)
    return ClusterDecision(save=saved, inventory=inventory, look_again_at=view.now + view.poll)


def _unseen(view: ClusterView, message: str) -> ClusterDecision:
    cluster = view.cluster
    noted = replace(cluster, problem=message)
    seen = cluster.last_seen_at or cluster.since
    # A cluster of our own that does not run is known to be down: nobody else could be the cause.
    given_up = view.is_hosted or view.now - seen > view.unreachable_after
    if cluster.state is ClusterState.READY and given_up:
        return ClusterDecision(
            save=noted.move(ClusterState.UNREACHABLE, at=view.now), look_again_at=view.now + view.poll
        )
    if message == cluster.problem:
        return ClusterDecision(look_again_at=view.now + view.poll)
    return ClusterDecision(save=replace(noted, version=noted.version + 1), look_again_at=view.now + view.poll)
