"""What is done for a service: replicas by number, revisions one after another, and no gap between them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from controlplane.domain.ids import JobId
from controlplane.domain.jobs import JobState
from controlplane.domain.revisions import Revision, RevisionState
from controlplane.domain.services import ALL_PPM, KnownReplica, Rollout, Scaling, Strategy, Terms
from controlplane.reconcilers.services import (
    SETTLE,
    NewReplica,
    RevisionView,
    ServiceDecision,
    ServiceView,
    decide,
)
from tests.factories import NOON, Fields, after, known_replica, revision, service

TERMS = Terms(
    scaling=Scaling(target_in_flight=4.0, latency_ms=None, stable_seconds=60.0, idle_seconds=300.0),
    rollout=Rollout(
        strategy=Strategy.ROLLING, steps_ppm=(), bake_seconds=60.0, max_error_ppm=50_000, min_requests=20
    ),
    ready_seconds=600.0,
)
DEPLOYING, READY = RevisionState.DEPLOYING, RevisionState.READY


def place(number: int, of: int = 1, /, **fields: Fields) -> KnownReplica:
    """The number tells jobs apart; `ordinal`, `turn` and `is_surplus` are the replica's own."""
    known = known_replica(number)
    own = {name: fields.pop(name) for name in ("ordinal", "turn", "is_surplus") if name in fields}
    return replace(known, replica=replace(known.replica, revision_id=revision(of).id, **own), **fields)


def ready(number: int, of: int = 1, /, **fields: Fields) -> KnownReplica:
    return place(number, of, **{"is_ready": True, "was_ready": True, "started_at": NOON} | fields)


def serving(number: int = 1, weight_ppm: int = ALL_PPM, **fields: Fields) -> Revision:
    given = {"state": READY, "weight_ppm": weight_ppm, "weighed_at": NOON, "ready_at": NOON}
    return revision(number, **given | fields)


def shown(of: Revision, *replicas: KnownReplica, **fields: Fields) -> RevisionView:
    turns = {each.replica.ordinal: each.replica.turn for each in replicas}
    return RevisionView(revision=of, terms=TERMS, replicas=replicas, last_turns=turns, **fields)


def decided(*revisions: RevisionView, seconds: float = 0, **fields: Fields) -> ServiceDecision:
    view = ServiceView(service=service(**fields), revisions=revisions, now=after(seconds))
    return decide(view)


def moves(decision: ServiceDecision) -> list[tuple[int, str, int]]:
    return [(each.number, str(each.state), each.weight_ppm) for each in decision.revisions]


def submitted(decision: ServiceDecision) -> list[tuple[str, int, int, bool]]:
    return [(each.revision_id, each.ordinal, each.turn, each.is_surplus) for each in decision.submit]


def cancelled(decision: ServiceDecision) -> list[JobId]:
    return sorted(decision.cancel)


def test_a_new_revision_is_deployed_with_as_many_replicas_as_the_service_wants_and_those_beyond_are_surplus() -> (
    None
):
    found = decided(
        shown(revision()), min_replicas=1, max_replicas=3, desired=2, lower_since=NOON, lower_peak=2
    )
    assert moves(found) == [(1, "deploying", 0)]
    assert found.submit == (
        NewReplica(revision_id=revision().id, ordinal=0, turn=1, is_surplus=False),
        NewReplica(revision_id=revision().id, ordinal=1, turn=1, is_surplus=True),
    )


def test_its_first_ready_replica_gives_it_all_of_the_traffic() -> None:
    found = decided(shown(revision(state=DEPLOYING), ready(1)))
    assert (moves(found), submitted(found), cancelled(found)) == ([(1, "ready", ALL_PPM)], [], [])


def test_what_is_as_it_should_be_is_left_alone() -> None:
    found = decided(shown(serving(), ready(1)))
    assert (found.service, found.revisions, found.submit, found.cancel) == (service(), (), (), ())


def test_a_lost_replica_is_replaced_in_its_place_after_a_rest() -> None:
    lost = ready(1, job_state=JobState.FAILED, job_since=NOON, is_ready=False)
    beside = ready(2, ordinal=1)
    fields: dict[str, Any] = {"min_replicas": 2, "max_replicas": 2, "desired": 2}
    assert submitted(decided(shown(serving(), lost, beside), seconds=4, **fields)) == []
    found = decided(shown(serving(), lost, beside), seconds=5, **fields)
    assert submitted(found) == [("revision-1", 0, 2, False)]


def test_each_further_loss_doubles_the_rest_and_a_cancelled_one_needs_none() -> None:
    losses = [
        place(n, ordinal=0, turn=n, job_state=JobState.FAILED, was_ready=True, job_since=NOON)
        for n in (1, 2, 3)
    ]
    assert submitted(decided(shown(serving(), *losses), seconds=19)) == []
    assert submitted(decided(shown(serving(), *losses), seconds=20)) == [("revision-1", 0, 4, False)]
    asked = [replace(each, cancel_requested_at=NOON) for each in losses]
    assert submitted(decided(shown(serving(), *asked))) == [("revision-1", 0, 4, False)]


def test_a_revision_whose_replica_failed_before_any_was_ready_has_failed_and_the_good_one_goes_on() -> None:
    broken = place(2, 2, job_state=JobState.FAILED, job_reason="exit code 1")
    found = decided(
        shown(serving(), ready(1)), shown(revision(2, state=DEPLOYING), broken, place(3, 2, ordinal=1))
    )
    assert moves(found) == [(2, "failed", 0)]
    assert found.revisions[0].reason == "replica job-2 failed: exit code 1"
    assert (submitted(found), cancelled(found)) == ([], ["job-3"])


def test_a_revision_has_its_time_from_the_start_of_its_first_replica() -> None:
    waiting = shown(revision(state=DEPLOYING), place(1))
    started = shown(revision(state=DEPLOYING), place(1, started_at=NOON))
    assert moves(decided(waiting, seconds=100_000)) == []
    assert moves(decided(started, seconds=600)) == []
    late = decided(started, seconds=601)
    assert moves(late) == [(1, "failed", 0)]
    assert late.revisions[0].reason == "no replica was ready within 600 s"
    ended = place(1, started_at=NOON, job_state=JobState.CANCELLED, cancel_requested_at=NOON)
    assert moves(decided(shown(revision(state=DEPLOYING), ended, place(2)), seconds=601)) == []


def test_the_next_revision_takes_no_traffic_before_it_is_ready_and_then_its_share() -> None:
    good = shown(serving(), ready(1), ready(2, ordinal=1))
    fields: dict[str, Any] = {"min_replicas": 2, "max_replicas": 2, "desired": 2}
    first = decided(good, shown(revision(2)), **fields)
    assert (moves(first), submitted(first)) == ([(2, "deploying", 0)], [("revision-2", 0, 1, False)])
    second = decided(good, shown(revision(2, state=DEPLOYING), ready(3, 2, ordinal=0)), **fields)
    assert moves(second) == [(2, "ready", 0)]
    third = decided(good, shown(serving(2, 0), ready(3, 2, ordinal=0)), **fields)
    assert moves(third) == [(2, "ready", 500_000), (1, "ready", 500_000)]


def test_the_good_one_stays_whole_until_its_share_is_gone_and_retires_when_the_next_is_done() -> None:
    fields: dict[str, Any] = {"min_replicas": 2, "max_replicas": 2, "desired": 2}
    two = (ready(1), ready(2, ordinal=1))
    others = (ready(3, 2, ordinal=0), ready(4, 2, ordinal=1))
    shared = decided(shown(serving(1, 500_000), *two), shown(serving(2, 500_000), *others), **fields)
    assert moves(shared) == [(2, "ready", ALL_PPM), (1, "ready", 0)]
    baking = decided(shown(serving(1, 0), *two), shown(serving(2), *others), seconds=59, **fields)
    assert (moves(baking), cancelled(baking)) == ([], ["job-2"])
    done = decided(shown(serving(1, 0), *two), shown(serving(2), *others), seconds=60, **fields)
    assert (moves(done), cancelled(done)) == ([(1, "retiring", 0)], [])


def test_a_retiring_revision_keeps_its_replicas_until_every_gateway_knows_and_is_over_when_they_are() -> None:
    retiring = shown(revision(1, state=RevisionState.RETIRING), ready(1))
    new = shown(serving(2), ready(2, 2, ordinal=0))
    assert cancelled(decided(retiring, new)) == []
    settled = SETTLE / timedelta(seconds=1)
    assert cancelled(decided(retiring, new, seconds=settled)) == ["job-1"]
    ended = replace(ready(1), job_state=JobState.CANCELLED, cancel_requested_at=NOON)
    over = decided(shown(revision(1, state=RevisionState.RETIRING), ended), new)
    assert moves(over) == [(1, "retired", 0)]


def test_errors_give_all_traffic_back_in_the_same_moment() -> None:
    erring = shown(serving(2, 500_000), ready(3, 2, ordinal=0), requests=100, errors=50)
    found = decided(shown(serving(1, 500_000), ready(1)), erring, seconds=1)
    assert moves(found) == [(2, "retiring", 0), (1, "ready", ALL_PPM)]


def test_a_newer_revision_ends_a_release_that_is_under_way() -> None:
    found = decided(
        shown(serving(1, 900_000), ready(1)), shown(serving(2, 100_000), ready(2, 2)), shown(revision(3))
    )
    assert moves(found) == [(2, "retiring", 0), (3, "deploying", 0), (1, "ready", ALL_PPM)]


def test_those_that_do_not_answer_yet_go_first_when_fewer_are_wanted() -> None:
    three = (ready(1), place(2, ordinal=1, is_surplus=True), ready(3, ordinal=2, is_surplus=True))
    found = decided(shown(serving(), *three), min_replicas=1, max_replicas=3, desired=2, lower_since=NOON)
    assert cancelled(found) == ["job-2"]


def test_none_that_answers_goes_while_others_are_awaited() -> None:
    two = (ready(1, is_surplus=True), place(2, ordinal=1))
    found = decided(shown(serving(), *two))
    assert cancelled(found) == []


def test_a_sleeping_service_has_no_replica_and_keeps_its_traffic() -> None:
    found = decided(
        shown(serving(), ready(1, is_surplus=True)), seconds=301, min_replicas=0, desired=0, max_replicas=2
    )
    assert (moves(found), cancelled(found), submitted(found)) == ([], ["job-1"], [])


def test_a_deleted_service_drains_every_revision_and_is_gone_when_nothing_is_left() -> None:
    leaving: dict[str, Any] = {"delete_requested_at": NOON}
    first = decided(shown(serving(), ready(1)), shown(revision(2)), **leaving)
    assert moves(first) == [(1, "retiring", 0), (2, "retired", 0)]
    settled = SETTLE / timedelta(seconds=1)
    second = decided(shown(revision(1, state=RevisionState.RETIRING), ready(1)), seconds=settled, **leaving)
    assert (cancelled(second), second.service.deleted_at) == (["job-1"], None)
    assert decided(**leaving).service.deleted_at == NOON


def test_a_deleted_service_is_not_gone_while_a_failed_revision_has_a_replica() -> None:
    found = decided(shown(revision(1, state=RevisionState.FAILED), place(1)), delete_requested_at=NOON)
    assert (cancelled(found), found.service.deleted_at) == (["job-1"], None)
