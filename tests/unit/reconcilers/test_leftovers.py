"""Leftovers: written down when first listed, removed after the grace, kept with the cloud's words when it refuses."""

from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import timedelta

from cloud_adapters.base import Leftover, LeftoverKind
from controlplane.domain.clusters import ClusterState
from controlplane.domain.ids import ClaimId, ClusterId
from controlplane.domain.leftovers import Stray
from controlplane.reconcilers.leftovers import LeftoverDecision, LeftoverView, decide
from tests import factories
from tests.factories import after

CLAIM = ClaimId("claim-1")
DISK = Leftover(kind=LeftoverKind.DISK, name="vol-1", zone="a", claim_id=CLAIM)
GROUP = Leftover(kind=LeftoverKind.SECURITY_GROUP, name="sg-1", zone="", claim_id=None)
STRAY = Stray(
    cluster_id=ClusterId("cluster-1"), kind="disk", name="vol-1", zone="a", claim_id=CLAIM, seen_at=after(0)
)
NOBODY: AbstractSet[ClaimId] = frozenset()


def view(
    *things: Leftover,
    known: tuple[Stray, ...] = (),
    live: AbstractSet[ClaimId] = NOBODY,
    at: float = 0,
    cluster: ClusterState = ClusterState.READY,
) -> LeftoverView:
    return LeftoverView(
        cluster=factories.cluster(state=cluster),
        things=things,
        live_claims=live,
        known=known,
        list_lag=timedelta(seconds=30),
        now=after(at),
    )


def test_what_a_live_claim_needs_stays() -> None:
    assert decide(view(DISK, live={CLAIM})) == LeftoverDecision(look_again_at=after(300))


def test_what_nobody_needs_is_written_down_and_removed_after_the_grace() -> None:
    assert decide(view(DISK)).add == (STRAY,)
    assert decide(view(DISK, known=(STRAY,), at=59)).remove == ()
    assert decide(view(DISK, known=(STRAY,), at=60)).remove == ((STRAY, DISK),)


def test_what_is_no_longer_listed_or_is_claimed_again_is_forgotten() -> None:
    assert decide(view(known=(STRAY,))).forget == (STRAY,)
    assert decide(view(DISK, known=(STRAY,), live={CLAIM})).forget == (STRAY,)


def test_what_was_refused_is_tried_again_an_hour_later() -> None:
    refused = STRAY.refused("DependencyViolation: in use", at=after(60))
    assert decide(view(DISK, known=(refused,), at=3600)).remove == ()
    assert decide(view(DISK, known=(refused,), at=3660)).remove == ((refused, DISK),)


def test_what_belongs_to_the_cluster_goes_only_after_the_cluster() -> None:
    assert decide(view(GROUP, at=999)).add == ()
    gone = decide(view(GROUP, at=999, cluster=ClusterState.DETACHED))
    assert [each.name for each in gone.add] == ["sg-1"]
    assert decide(view(GROUP, at=999, cluster=ClusterState.DETACHED, live={CLAIM})).add == ()


def test_a_detached_cluster_is_swept_until_nothing_is_left() -> None:
    assert decide(view(DISK, known=(STRAY,), at=999, cluster=ClusterState.DETACHED)).look_again_at is not None
    assert decide(view(at=999, cluster=ClusterState.DETACHED)).look_again_at is None


def test_a_cloud_that_does_not_answer_says_nothing() -> None:
    silent = replace(view(known=(STRAY,), at=999), things=None)
    assert decide(silent) == LeftoverDecision(look_again_at=after(999 + 300))
