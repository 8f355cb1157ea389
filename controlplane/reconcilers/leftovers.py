"""Removes what purchases left behind beside machines: disks, addresses, security groups, objects.

As with orphans: written down when first listed, removed after a grace that is longer than any list lags. What the
cloud will not let go is kept on the list with the cloud's words, and tried again now and then.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cloud_adapters.base import Leftover
from controlplane.domain.clusters import Cluster, ClusterState
from controlplane.domain.ids import ClaimId
from controlplane.domain.leftovers import Stray

LOOK_EVERY: Final = timedelta(minutes=5)
GRACE_LAGS: Final = 2
RETRY_AFTER: Final = timedelta(hours=1)
"""Between two tries to remove what the cloud refused to let go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftoverView:
    cluster: Cluster
    things: tuple[Leftover, ...] | None
    """Listed before the rows below were loaded. None: the cloud did not answer."""

    live_claims: AbstractSet[ClaimId]
    """Of this cluster."""

    known: tuple[Stray, ...]
    list_lag: timedelta
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftoverDecision:
    remove: tuple[tuple[Stray, Leftover], ...] = ()
    """Before the rest is committed; removing it again is fine."""

    add: tuple[Stray, ...] = ()
    forget: tuple[Stray, ...] = ()
    """They are no longer listed, or belong to somebody again."""

    look_again_at: datetime | None = None
    """None: nothing of ours can be there any more."""


def decide(view: LeftoverView) -> LeftoverDecision:
    if view.things is None:
        return LeftoverDecision(look_again_at=view.now + LOOK_EVERY)
    known = {stray.key: stray for stray in view.known}
    strange = {(each.kind, each.zone, each.name): each for each in view.things if _is_strange(view, each)}
    grace = GRACE_LAGS * view.list_lag
    has_left = view.cluster.state is ClusterState.DETACHED and view.now - view.cluster.since > grace
    is_empty = not (view.things or view.live_claims or view.known)
    return LeftoverDecision(
        remove=tuple(
            (stray, strange[key])
            for key, stray in sorted(known.items())
            if key in strange and _is_due(stray, view.now, grace)
        ),
        add=tuple(_stray(view, each) for key, each in sorted(strange.items()) if key not in known),
        forget=tuple(stray for key, stray in sorted(known.items()) if key not in strange),
        look_again_at=None if has_left and is_empty else view.now + LOOK_EVERY,
    )


def _is_strange(view: LeftoverView, thing: Leftover) -> bool:
    """What belongs to the cluster as a whole is left alone while the cluster is ours."""
    if thing.claim_id is None:
        return view.cluster.state is ClusterState.DETACHED and not view.live_claims
    return ClaimId(thing.claim_id) not in view.live_claims


def _is_due(stray: Stray, now: datetime, grace: timedelta) -> bool:
    rested = stray.tried_at is None or now - stray.tried_at >= RETRY_AFTER
    return rested and now - stray.seen_at >= grace


def _stray(view: LeftoverView, thing: Leftover) -> Stray:
    return Stray(
        cluster_id=view.cluster.id,
        kind=str(thing.kind),
        name=thing.name,
        zone=thing.zone,
        claim_id=None if thing.claim_id is None else ClaimId(thing.claim_id),
        seen_at=view.now,
        hourly_millionths=None if thing.hourly is None else round(thing.hourly.amount.scaleb(6)),
        currency=None if thing.hourly is None else thing.hourly.currency,
    )
