"""Orphans: written down when first listed, ended after the grace, forgotten when they are no longer listed."""

from collections.abc import Set as AbstractSet
from datetime import timedelta

from cloud_adapters.base import MachineState, OwnedMachine
from controlplane.domain.claims import Orphan
from controlplane.domain.clusters import ClusterState
from controlplane.domain.ids import ClaimId
from controlplane.reconcilers.orphans import OrphanDecision, OrphanView, decide
from tests import factories
from tests.factories import after

ORPHAN = factories.orphan()
LISTED = OwnedMachine(
    name=ORPHAN.name,
    zone=ORPHAN.zone,
    claim_id=ORPHAN.claim_id,
    launch_id=ORPHAN.launch_id,
    state=MachineState.RUNNING,
)
NOBODY: AbstractSet[ClaimId] = frozenset()


def view(
    *machines: OwnedMachine,
    known: tuple[Orphan, ...] = (),
    live: AbstractSet[ClaimId] = NOBODY,
    at: float = 0,
    cluster: ClusterState = ClusterState.READY,
) -> OrphanView:
    return OrphanView(
        cluster=factories.cluster(state=cluster),
        machines=machines,
        live_claims=live,
        known=known,
        list_lag=timedelta(seconds=30),
        now=after(at),
    )


def test_a_machine_of_a_live_claim_is_none() -> None:
    assert decide(view(LISTED, live={ORPHAN.claim_id})) == OrphanDecision(look_again_at=after(60))


def test_a_machine_that_nobody_claims_is_written_down_once_and_ended_after_the_grace() -> None:
    assert decide(view(LISTED)) == OrphanDecision(add=(ORPHAN,), look_again_at=after(60))
    early = decide(view(LISTED, known=(ORPHAN,), at=59))
    assert (early.add, early.end) == ((), ())
    assert decide(view(LISTED, known=(ORPHAN,), at=60)).end == (ORPHAN,)


def test_an_orphan_that_is_no_longer_listed_is_forgotten() -> None:
    decision = decide(view(known=(ORPHAN,), at=99))
    assert (decision.end, decision.forget) == ((), (ORPHAN,))


def test_a_silent_cloud_changes_nothing() -> None:
    silent = OrphanView(
        cluster=factories.cluster(),
        machines=None,
        live_claims=NOBODY,
        known=(ORPHAN,),
        list_lag=timedelta(seconds=30),
        now=after(99),
    )
    assert decide(silent) == OrphanDecision(look_again_at=after(159))


def test_a_detached_cluster_is_looked_at_until_nothing_of_ours_can_be_there() -> None:
    left = ClusterState.DETACHED
    assert decide(view(cluster=left, at=60)).look_again_at is not None
    assert decide(view(cluster=left, at=61)).look_again_at is None
    assert decide(view(cluster=left, at=61, live={ORPHAN.claim_id})).look_again_at is not None
    assert decide(view(LISTED, cluster=left, at=61)).look_again_at is not None
