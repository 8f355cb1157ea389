"""Clusters: boot, look, drain, detach; unreachable is not failed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cloud_adapters.base import Inventory
from controlplane.domain.clusters import Cluster, ClusterState, Endpoint
from controlplane.domain.ids import ClusterId
from controlplane.reconcilers.clusters import (
    Boot,
    Booted,
    ClusterDecision,
    ClusterView,
    EndAll,
    Heard,
    Seen,
    ShutDown,
    TakeInventory,
    Unseen,
    decide,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PENDING = Cluster(
    id=ClusterId("c"), name="lab", adapter="ray", state=ClusterState.PENDING, since=NOW, created_at=NOW
)
READY = replace(PENDING.move(ClusterState.READY, at=NOW), last_seen_at=NOW)
SEEN = Seen(inventory=Inventory(machines=(), complete=True, session="life-1"))
ENDPOINT = Endpoint(url="http://127.0.0.2:8265", token="t")


def view(
    cluster: Cluster, heard: Heard | None = None, *, hosted: bool = False, live: int = 0, after: float = 0
) -> ClusterView:
    return ClusterView(
        cluster=cluster,
        live_attempts=live,
        is_hosted=hosted,
        unreachable_after=timedelta(seconds=30),
        poll=timedelta(seconds=5),
        now=NOW + timedelta(seconds=after),
        heard=heard,
    )


def state(decision: ClusterDecision) -> ClusterState | None:
    return decision.save.state if decision.save else None


def test_a_lent_cluster_is_only_looked_at_and_an_owned_one_is_booted_first() -> None:
    assert decide(view(PENDING)).call == TakeInventory(endpoint=None)
    assert decide(view(PENDING, hosted=True)).call == Boot()
    booted = decide(view(PENDING, Booted(endpoint=ENDPOINT), hosted=True))
    assert (booted.call, booted.endpoint) == (TakeInventory(endpoint=ENDPOINT), ENDPOINT)


def test_a_complete_look_makes_it_ready_and_keeps_its_session() -> None:
    saved = decide(view(PENDING, SEEN)).save
    assert saved is not None
    assert (saved.state, saved.session, saved.last_seen_at) == (ClusterState.READY, "life-1", NOW)


def test_what_we_may_not_do_there_is_kept_as_long_as_it_is_so() -> None:
    bound = Inventory(machines=(), complete=True, session="life-1", problems=("may not list pods",))
    warned = decide(view(PENDING, Seen(inventory=bound))).save
    assert warned is not None
    assert (warned.state, warned.warnings, warned.problem) == (
        ClusterState.READY,
        ("may not list pods",),
        None,
    )
    missed = decide(view(warned, Unseen(message="timeout"), after=5)).save
    assert missed is not None
    assert missed.warnings == warned.warnings
    free = decide(view(warned, SEEN, after=5)).save
    assert free is not None
    assert free.warnings == ()


def test_refused_credentials_leave_it_pending_with_a_problem() -> None:
    first = decide(view(PENDING, Unseen(message="the kubeconfig is not YAML"))).save
    assert first is not None
    assert (first.state, first.problem) == (ClusterState.PENDING, "the kubeconfig is not YAML")
    again = decide(view(first, Unseen(message="the kubeconfig is not YAML"), after=5))
    assert (again.save, again.look_again_at) == (None, NOW + timedelta(seconds=10))


def test_it_is_called_unreachable_only_after_the_time_given_and_comes_back() -> None:
    lost = Unseen(message="timeout")
    assert state(decide(view(READY, lost, after=29))) is ClusterState.READY
    gone = decide(view(READY, lost, after=31)).save
    assert gone is not None
    assert (gone.state, gone.problem) == (ClusterState.UNREACHABLE, "timeout")
    back = decide(view(gone, SEEN, after=40)).save
    assert back is not None
    assert (back.state, back.problem) == (ClusterState.READY, None)


def test_an_owned_cluster_that_does_not_run_takes_nothing_at_once() -> None:
    assert state(decide(view(READY, Unseen(message="starting"), hosted=True))) is ClusterState.UNREACHABLE


def test_a_problem_is_written_once_and_not_at_every_look() -> None:
    noted = replace(READY, problem="timeout")
    assert decide(view(noted, Unseen(message="timeout"), after=5)).save is None


def test_draining_and_undraining_follow_the_operators_wish() -> None:
    draining = decide(view(replace(READY, drain_requested_at=NOW))).save
    assert draining is not None
    assert draining.state is ClusterState.DRAINING
    assert state(decide(view(replace(draining, drain_requested_at=None)))) is ClusterState.READY


def test_a_reachable_cluster_is_detached_when_it_is_empty_and_an_unreachable_one_at_once() -> None:
    leaving = replace(READY, detach_requested_at=NOW)
    draining = decide(view(leaving, live=1)).save
    assert draining is not None
    assert draining.state is ClusterState.DRAINING
    assert state(decide(view(draining, SEEN, live=1))) is ClusterState.DRAINING
    assert state(decide(view(draining))) is ClusterState.DETACHED
    unreachable = leaving.move(ClusterState.UNREACHABLE, at=NOW)
    assert state(decide(view(unreachable, live=3))) is ClusterState.DETACHED


def test_an_owned_cluster_is_shut_down_before_it_is_detached() -> None:
    leaving = replace(READY, detach_requested_at=NOW).move(ClusterState.DRAINING, at=NOW)
    assert decide(view(leaving, hosted=True)).call == EndAll()
    failed = decide(view(leaving, Unseen(message="still there"), hosted=True))
    assert (failed.call, failed.save) == (None, None)
    assert state(decide(view(leaving, ShutDown(), hosted=True))) is ClusterState.DETACHED


def test_a_detached_cluster_is_left_alone() -> None:
    detached = PENDING.move(ClusterState.DETACHED, at=NOW)
    assert decide(view(detached)) == ClusterDecision()
