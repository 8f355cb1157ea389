"""Ends machines that carry our tag and belong to no live claim: what a crash, a late call or another's mistake left.

They are written down when first listed, and ended after a grace that is longer than any list lags: a claim that has
just gone may still be shown machines which ended before it did.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cloud_adapters.base import OwnedMachine
from controlplane.domain.claims import Orphan
from controlplane.domain.clusters import Cluster, ClusterState
from controlplane.domain.ids import ClaimId, LaunchId

LOOK_EVERY: Final = timedelta(seconds=60)
GRACE_LAGS: Final = 2
"""How many list lags an orphan is let be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanView:
    cluster: Cluster
    machines: tuple[OwnedMachine, ...] | None
    """Listed before the rows below were loaded. None: the cloud did not answer."""

    live_claims: AbstractSet[ClaimId]
    """Of this cluster."""

    known: tuple[Orphan, ...]
    list_lag: timedelta
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanDecision:
    end: tuple[Orphan, ...] = ()
    """To be told to end, before the rest is committed; telling them again is fine."""

    add: tuple[Orphan, ...] = ()
    forget: tuple[Orphan, ...] = ()
    """They are no longer listed."""

    look_again_at: datetime | None = None
    """None: nothing of ours can be there any more."""


def decide(view: OrphanView) -> OrphanDecision:
    if view.machines is None:
        return OrphanDecision(look_again_at=view.now + LOOK_EVERY)
    known = {orphan.name: orphan for orphan in view.known}
    strange = [each for each in view.machines if ClaimId(each.claim_id) not in view.live_claims]
    listed = {each.name for each in strange}
    grace = GRACE_LAGS * view.list_lag
    has_left = view.cluster.state is ClusterState.DETACHED and view.now - view.cluster.since > grace
    is_empty = not (view.machines or view.live_claims or view.known)
    return OrphanDecision(
        end=tuple(orphan for orphan in view.known if orphan.name in listed and _is_due(view, orphan, grace)),
        add=tuple(_orphan(view, each) for each in strange if each.name not in known),
        forget=tuple(orphan for orphan in view.known if orphan.name not in listed),
        look_again_at=None if has_left and is_empty else view.now + LOOK_EVERY,
    )


def _is_due(view: OrphanView, orphan: Orphan, grace: timedelta) -> bool:
    return view.now - orphan.seen_at >= grace


def _orphan(view: OrphanView, machine: OwnedMachine) -> Orphan:
    return Orphan(
        cluster_id=view.cluster.id,
        name=machine.name,
        zone=machine.zone,
        claim_id=ClaimId(machine.claim_id),
        launch_id=LaunchId(machine.launch_id),
        seen_at=view.now,
    )
