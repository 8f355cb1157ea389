"""Claims: buy once, write before buying, believe no list too early, and leave nothing behind."""

from dataclasses import replace
from datetime import timedelta

import pytest

from cloud_adapters.base import MachineState, OwnedMachine, Termination
from controlplane.domain.claims import Claim, ClaimState, Launch, LaunchOutcome
from controlplane.domain.clusters import ClusterState
from controlplane.domain.ids import LaunchId
from controlplane.reconcilers.claims import (
    COOL_DOWN,
    PATIENCE,
    ClaimDecision,
    ClaimView,
    Delayed,
    Ensure,
    Granted,
    Heard,
    Listed,
    ListOwned,
    Refused,
    Release,
    Released,
    Renew,
    Terminate,
    Terminated,
    Unrenewed,
    decide,
)
from tests import factories
from tests.factories import NOON, after

LAG = 30.0
SETTLED = 60.0
"""Seconds after a call that buys: its deadline and the list lag."""

REQUESTED = factories.claim()
LAUNCHING = factories.claim(state=ClaimState.LAUNCHING, generation=1, last_launch_at=NOON)
ONCE = replace(LAUNCHING, tries_again=False)
READY = factories.claim(state=ClaimState.READY, generation=1, last_launch_at=NOON)
TERMINATING = factories.claim(state=ClaimState.TERMINATING, generation=1, last_launch_at=NOON)
OPEN = factories.launch()
GRANTED = factories.launch(resolved_at=NOON)
REFUSED = OPEN.resolve(LaunchOutcome.REFUSED, at=NOON, problem="sold out")
NO_ZONE_LEFT = replace(REFUSED, ordinal=2, zone="b")


def view(
    claim: Claim,
    *launches: Launch,
    heard: Heard | None = None,
    at: float = 0,
    tasks: bool = False,
    cluster: ClusterState = ClusterState.READY,
    sells: bool = True,
) -> ClaimView:
    return ClaimView(
        claim=claim,
        cluster=factories.cluster(state=cluster),
        launches=launches,
        has_tasks=tasks,
        sells=sells,
        list_lag=timedelta(seconds=LAG),
        poll=timedelta(seconds=5),
        now=after(at),
        heard=heard,
    )


def machine(
    name: str,
    state: MachineState = MachineState.RUNNING,
    *,
    claim: str = REQUESTED.id,
    launch: str = OPEN.id,
) -> OwnedMachine:
    return OwnedMachine(name=name, zone="a", claim_id=claim, launch_id=launch, state=state)


def leaving(claim: Claim) -> Claim:
    return replace(claim, release_requested_at=NOON)


def listed(*machines: OwnedMachine, at: float = 0) -> Listed:
    return Listed(machines=machines, asked_at=after(at))


def state(decision: ClaimDecision) -> ClaimState | None:
    return decision.save.state if decision.save else None


UNANSWERED = Delayed(message="the keys were refused")
BOTH = (machine("m-1"), machine("m-2"))


def test_the_launch_is_written_down_before_any_call_is_made() -> None:
    decision = decide(view(REQUESTED))
    assert decision == ClaimDecision(
        save=replace(REQUESTED, generation=1).move(ClaimState.LAUNCHING, at=NOON),
        add=OPEN,
        look_again_at=NOON,
    )


def test_nothing_is_bought_for_a_cluster_that_takes_no_tasks() -> None:
    assert decide(view(REQUESTED, cluster=ClusterState.UNREACHABLE)).add is None
    missed = replace(READY, missing_since=NOON)
    short = listed(BOTH[0], at=100)
    assert decide(view(missed, GRANTED, heard=short, at=100, cluster=ClusterState.UNREACHABLE)).add is None
    assert decide(view(LAUNCHING, REFUSED, cluster=ClusterState.UNREACHABLE)).call == ListOwned()


def test_a_request_of_a_plan_does_not_wait_for_a_cluster_that_takes_no_tasks() -> None:
    def after_patience(claim: Claim, seconds: float) -> ClaimDecision:
        at = PATIENCE.total_seconds() + seconds
        return decide(view(claim, cluster=ClusterState.UNREACHABLE, at=at))

    once = replace(REQUESTED, tries_again=False)
    assert state(after_patience(once, 0)) is None
    assert state(after_patience(once, 1)) is ClaimState.GONE
    assert state(after_patience(REQUESTED, 1)) is None


def test_a_request_that_is_taken_back_goes_without_a_trace() -> None:
    decision = decide(view(leaving(REQUESTED), sells=False))
    assert (state(decision), decision.call, decision.look_again_at) == (ClaimState.GONE, None, None)


def test_a_plugin_that_sells_nothing_is_named_and_nothing_is_written() -> None:
    decision = decide(view(REQUESTED, sells=False))
    assert decision.save is not None
    assert (decision.save.problem, decision.add) == (
        "the plugin 'ray' is not installed, or sells nothing",
        None,
    )


def test_the_moment_of_a_call_that_buys_is_committed_with_it() -> None:
    decision = decide(view(LAUNCHING, OPEN, at=7))
    assert decision == ClaimDecision(
        call=Ensure(launch=OPEN), save=LAUNCHING.changed(last_launch_at=after(7))
    )


def test_an_answer_that_was_lost_leads_to_the_same_launch_again() -> None:
    lost = decide(view(LAUNCHING, OPEN, heard=Delayed(message="no answer"), at=1))
    assert (lost.resolve, lost.add, lost.look_again_at) == (None, None, after(6))
    assert decide(view(LAUNCHING, OPEN, at=6)).call == Ensure(launch=OPEN)


def test_a_throttled_call_waits_as_long_as_it_was_told() -> None:
    busy = Delayed(message="busy", retry_after=timedelta(seconds=40))
    assert decide(view(LAUNCHING, OPEN, heard=busy)).look_again_at == after(40)


def test_a_granted_launch_is_resolved_and_the_claim_waits_for_the_list() -> None:
    decision = decide(view(LAUNCHING, OPEN, heard=Granted(machines=BOTH)))
    assert decision.resolve == OPEN.resolve(LaunchOutcome.GRANTED, at=NOON)
    assert state(decision) is ClaimState.LAUNCHING
    assert decide(view(LAUNCHING, GRANTED)).call == ListOwned()


def test_a_refused_launch_is_resolved_before_another_zone_gets_another_launch() -> None:
    refused = decide(view(LAUNCHING, OPEN, heard=Refused(message="sold out")))
    assert (refused.resolve, refused.add, refused.look_again_at) == (REFUSED, None, NOON)
    second = decide(view(LAUNCHING, REFUSED)).add
    assert second is not None
    assert (second.id, second.zone, second.machines) == ("claim-1-g1-l2", "b", 2)


def test_after_the_last_zone_a_new_generation_waits_until_it_has_cooled_down() -> None:
    tired = replace(LAUNCHING, missing_since=NOON)
    early = COOL_DOWN.total_seconds() - 1
    assert decide(view(tired, NO_ZONE_LEFT)).call == ListOwned()
    assert decide(view(tired, NO_ZONE_LEFT, heard=listed(at=early), at=early)).add is None
    again = decide(view(tired, NO_ZONE_LEFT, heard=listed(at=60), at=60))
    assert again.add is not None
    assert (again.add.id, again.add.zone) == ("claim-1-g2-l1", "a")


def test_a_part_of_a_launch_goes_back_before_it_counts_as_refused() -> None:
    part = decide(view(LAUNCHING, OPEN, heard=Granted(machines=BOTH[:1])))
    assert (part.call, part.resolve) == (Release(members=("m-1",)), None)
    failed = decide(view(LAUNCHING, OPEN, heard=Delayed(message="no answer")))
    assert failed.resolve is None
    released = decide(view(LAUNCHING, OPEN, heard=Released())).resolve
    assert released is not None
    assert released.outcome is LaunchOutcome.REFUSED


@pytest.mark.parametrize(
    ("claim", "heard", "at", "found"),
    [
        (ONCE, UNANSWERED, PATIENCE.total_seconds(), ClaimState.LAUNCHING),
        (ONCE, UNANSWERED, PATIENCE.total_seconds() + 1, ClaimState.TERMINATING),
        (ONCE, replace(UNANSWERED, retry_after=timedelta(seconds=1)), 9999, ClaimState.LAUNCHING),
        (LAUNCHING, UNANSWERED, 9999, ClaimState.LAUNCHING),
        (replace(READY, tries_again=False), UNANSWERED, 9999, ClaimState.READY),
    ],
    ids=["in time", "too late", "it is only busy", "who asked for it waits", "it runs what it has"],
)
def test_a_launch_of_which_no_list_tells_is_given_up_where_others_can_be_asked(
    claim: Claim, heard: Delayed, at: float, found: ClaimState
) -> None:
    decision = decide(view(claim, OPEN, heard=heard, at=at))
    assert (state(decision) or claim.state, decision.resolve) == (found, None)


def test_a_launch_that_is_never_answered_is_judged_by_a_list_that_is_late_enough() -> None:
    late = PATIENCE.total_seconds() + 1
    called = replace(LAUNCHING, last_launch_at=after(late - 10))
    assert decide(view(called, OPEN, at=late)).look_again_at == after(late - 10 + SETTLED)
    asked = late + SETTLED
    assert decide(view(called, OPEN, at=asked)).call == ListOwned()
    nothing = decide(view(called, OPEN, heard=listed(at=asked), at=asked)).resolve
    assert nothing is not None
    assert nothing.outcome is LaunchOutcome.REFUSED
    some = decide(view(called, OPEN, heard=listed(BOTH[0], at=asked), at=asked))
    assert some.call == Release(members=("m-1",))
    whole = decide(view(called, OPEN, heard=listed(*BOTH, at=asked), at=asked)).resolve
    assert whole is not None
    assert whole.outcome is LaunchOutcome.GRANTED


def test_it_is_ready_when_the_cloud_lists_enough_running_machines() -> None:
    booting = listed(BOTH[0], machine("m-2", MachineState.PENDING))
    assert decide(view(LAUNCHING, GRANTED, heard=booting)).save is None
    assert state(decide(view(LAUNCHING, GRANTED, heard=listed(*BOTH)))) is ClaimState.READY


def test_a_claim_that_has_all_it_wants_is_looked_at_seldom_and_not_written() -> None:
    decision = decide(view(READY, GRANTED, heard=listed(*BOTH)))
    assert decision == ClaimDecision(look_again_at=after(30))


def test_machines_of_a_launch_that_was_refused_are_released_and_do_not_count() -> None:
    heard = listed(*BOTH, machine("m-3", launch="claim-1-g1-l2"))
    second = replace(NO_ZONE_LEFT, id=LaunchId("claim-1-g1-l2"))
    assert decide(view(READY, GRANTED, second, heard=heard)).call == Release(members=("m-3",))


@pytest.mark.parametrize(
    ("missing_since", "asked", "bought"),
    [
        (None, SETTLED - 1, False),  # the last launch may not be listed yet
        (0, SETTLED - 1, False),  # likewise, however often it was not listed
        (None, SETTLED, False),  # one witness
        (SETTLED, SETTLED + LAG - 1, False),  # both may be the same old picture
        (SETTLED, SETTLED + LAG, True),
    ],
)
def test_a_missing_machine_is_bought_again_when_two_lists_agree(
    missing_since: float | None, asked: float, *, bought: bool
) -> None:
    claim = replace(READY, missing_since=None if missing_since is None else after(missing_since))
    decision = decide(view(claim, GRANTED, heard=listed(BOTH[0], at=asked), at=asked))
    assert (decision.add is not None) is bought
    assert (decision.save is not None) is (bought or (missing_since is None and asked >= SETTLED))
    if decision.add is not None:
        assert (decision.add.id, decision.add.machines) == ("claim-1-g2-l1", 1)


def test_a_list_that_shows_all_takes_the_first_witness_back() -> None:
    saved = decide(view(replace(READY, missing_since=NOON), GRANTED, heard=listed(*BOTH, at=99), at=99)).save
    assert saved is not None
    assert saved.missing_since is None


def test_a_machine_on_its_way_out_is_missing() -> None:
    heard = listed(BOTH[0], machine("m-2", MachineState.STOPPING), at=99)
    decision = decide(view(replace(READY, missing_since=NOON), GRANTED, heard=heard, at=99))
    assert decision.add is not None


def test_a_ready_claim_grows_to_what_it_wants() -> None:
    wants_more = replace(READY, machines_want=5, missing_since=NOON)
    grown = decide(view(wants_more, GRANTED, heard=listed(*BOTH, at=99), at=99)).add
    assert grown is not None
    assert grown.machines == 3


def test_a_released_claim_drains_first_and_is_terminated_when_nothing_runs_there() -> None:
    draining = decide(view(leaving(READY), GRANTED)).save
    assert draining is not None
    assert draining.state is ClaimState.DRAINING
    assert decide(view(draining, GRANTED, tasks=True)).save is None
    assert state(decide(view(draining, GRANTED))) is ClaimState.TERMINATING
    assert state(decide(view(replace(draining, release_requested_at=None), GRANTED))) is ClaimState.READY


@pytest.mark.parametrize("cluster", [ClusterState.DRAINING, ClusterState.DETACHED])
def test_a_cluster_that_is_left_takes_its_claims_along(cluster: ClusterState) -> None:
    assert state(decide(view(REQUESTED, cluster=cluster))) is ClaimState.GONE
    assert state(decide(view(LAUNCHING, OPEN, cluster=cluster))) is ClaimState.TERMINATING
    assert state(decide(view(READY, GRANTED, cluster=cluster))) is ClaimState.DRAINING


def test_a_terminating_claim_never_buys_again() -> None:
    assert decide(view(TERMINATING, OPEN)).call == Terminate()


@pytest.mark.parametrize("answer", [Termination.GONE, Termination.UNSEEN])
def test_what_the_cloud_does_not_see_is_gone_only_when_no_launch_can_still_bring_it(
    answer: Termination,
) -> None:
    early = decide(view(TERMINATING, OPEN, heard=Terminated(answer=answer), at=SETTLED - 1))
    assert early == ClaimDecision(look_again_at=after(SETTLED))
    late = decide(view(TERMINATING, OPEN, heard=Terminated(answer=answer), at=SETTLED))
    assert late.call == ListOwned()


def test_it_is_gone_when_nothing_is_listed_and_its_open_launch_is_closed_with_it() -> None:
    stopping = machine("m-1", MachineState.STOPPING)
    others = machine("m-9", claim="claim-9")
    assert decide(view(TERMINATING, OPEN, heard=listed(stopping, at=99), at=99)).save is None
    assert decide(view(TERMINATING, OPEN, heard=listed(others, at=SETTLED - 1), at=99)).save is None
    gone = decide(view(TERMINATING, OPEN, heard=listed(others, at=99), at=99))
    assert (state(gone), gone.look_again_at) == (ClaimState.GONE, None)
    assert gone.resolve is not None
    assert gone.resolve.outcome is LaunchOutcome.REFUSED


def test_a_claim_whose_machines_are_going_is_told_again() -> None:
    going = decide(view(TERMINATING, GRANTED, heard=Terminated(answer=Termination.GOING), at=99))
    assert going == ClaimDecision(look_again_at=after(104))


def test_an_idle_claim_goes_but_not_while_seats_on_it_are_promised() -> None:
    idle = replace(READY, idle_seconds=60.0, idle_since=NOON)
    seen = view(idle, GRANTED, heard=listed(*BOTH, at=60), at=60)
    gone = decide(seen).save
    assert gone is not None
    assert (gone.release_requested_at, gone.problem) == (after(60), "idle for 60 s")
    kept = decide(replace(seen, is_promised=True)).save
    assert kept is not None
    assert (kept.release_requested_at, kept.idle_since) == (None, None)


def test_a_gone_claim_is_left_alone() -> None:
    gone = factories.claim(state=ClaimState.GONE)
    assert decide(view(gone)) == ClaimDecision()


def test_a_problem_is_written_once_and_not_at_every_look() -> None:
    noted = replace(LAUNCHING, problem="no answer")
    assert decide(view(noted, OPEN, heard=Delayed(message="no answer"))).save is None


UNRENEWED = Unrenewed(message="1 of 2 machines keep their release time")


def renewing(claim: Claim, *, heard: Heard | None = None, at: float = 0) -> ClaimView:
    return replace(view(claim, GRANTED, heard=heard, at=at), renews=True)


def test_a_renewal_that_is_refused_is_told_and_the_machines_are_looked_at_all_the_same() -> None:
    assert isinstance(decide(renewing(READY)).call, Renew)
    refused = decide(renewing(READY, heard=UNRENEWED))
    assert (refused.call, refused.save) == (ListOwned(), READY.changed(problem=UNRENEWED.message))
    again = decide(renewing(READY.changed(problem=UNRENEWED.message), heard=UNRENEWED))
    assert (again.call, again.save) == (ListOwned(), None)


def test_a_claim_whose_renewal_is_refused_is_repaired_and_ends_when_idle() -> None:
    refused = READY.changed(problem=UNRENEWED.message)
    short = replace(refused, missing_since=after(100))
    repair = decide(renewing(short, heard=listed(BOTH[0], at=200), at=200))
    assert repair.add is not None
    idle = replace(refused, idle_seconds=60.0, idle_since=NOON)
    ended = decide(renewing(idle, heard=listed(*BOTH, at=60), at=60))
    assert ended.save is not None
    assert ended.save.release_requested_at == after(60)


def test_a_claim_whose_renewal_is_refused_keeps_saying_so_and_tries_again_soon() -> None:
    refused = READY.changed(problem=UNRENEWED.message)
    decision = decide(renewing(refused, heard=listed(*BOTH)))
    assert (decision.save, decision.look_again_at) == (None, after(5))
    renewed = replace(refused, renewed_until=after(7200))
    well = decide(renewing(renewed, heard=listed(*BOTH)))
    assert well.save is not None
    assert (well.save.problem, well.look_again_at) == (None, after(30))


def test_a_list_that_fails_after_a_refused_renewal_is_not_asked_for_at_once() -> None:
    delayed = decide(renewing(READY, heard=Delayed(message="no answer")))
    assert (delayed.call, delayed.look_again_at) == (None, after(5))


def test_a_claim_that_is_being_launched_is_judged_by_its_list_though_its_renewal_is_refused() -> None:
    refused = decide(renewing(LAUNCHING, heard=UNRENEWED))
    assert (refused.call, refused.save) == (ListOwned(), None)
