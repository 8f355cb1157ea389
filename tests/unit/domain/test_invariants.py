"""Invariants that are easier to break on values than in a database."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controlplane.domain.claims import CLAIM, Claim, ClaimState, Launch, launch_id
from controlplane.domain.clusters import CLUSTER, ClusterState
from controlplane.domain.events import Event
from controlplane.domain.ids import NodeId
from controlplane.domain.invariants import (
    BookedSeat,
    Breach,
    ClaimFile,
    Dossier,
    Rule,
    of_claim,
    of_cluster,
    of_edges,
    of_job,
    of_placings,
)
from controlplane.domain.jobs import JobState, Traits
from tests import factories
from tests.factories import NOON, after


def launch(generation: int, ordinal: int, **fields: object) -> Launch:
    claim_id = factories.claim().id
    made = factories.launch(resolved_at=NOON)
    at = {"id": launch_id(claim_id, generation, ordinal), "generation": generation, "ordinal": ordinal}
    return replace(made, **at | fields)  # type: ignore[arg-type] # the names are checked by `replace`


def still_open(generation: int, ordinal: int) -> Launch:
    return launch(generation, ordinal, resolved_at=None, outcome=None)


def file(claim: Claim, *launches: Launch, events: tuple[Event, ...] = ()) -> ClaimFile:
    """As of a database whose older events were pruned."""
    return ClaimFile(claim=claim, launches=launches, events=events, kept_since=after(3600))


def claimed(state: ClaimState, generation: int = 1) -> Claim:
    return factories.claim(state=state, generation=generation)


def rules(breaches: object) -> list[Rule]:
    return [breach.rule for breach in breaches]  # type: ignore[attr-defined]


def test_a_claim_that_buys_zone_by_zone_and_once_more_is_well() -> None:
    bought = (launch(1, 1), launch(1, 2), launch(2, 1), still_open(2, 2))
    assert list(of_claim(file(claimed(ClaimState.READY, 2), *bought))) == []


@pytest.mark.parametrize(
    "wrong",
    [
        file(claimed(ClaimState.READY), still_open(1, 1), still_open(1, 2)),
        file(claimed(ClaimState.GONE), still_open(1, 1)),
        file(claimed(ClaimState.REQUESTED, 1), launch(1, 1)),
        file(claimed(ClaimState.READY), launch(1, 2)),
        file(claimed(ClaimState.READY, 3), launch(1, 1), launch(3, 1)),
        file(claimed(ClaimState.READY, 2), launch(1, 1)),
        file(claimed(ClaimState.READY), launch(1, 1, id="claim-2-g1-l1")),
    ],
    ids=["two open", "open of a gone", "before it buys", "no first", "a gap", "none of the last", "name"],
)
def test_launches_that_do_not_fit_their_claim_are_found(wrong: ClaimFile) -> None:
    assert set(rules(of_claim(wrong))) == {Rule.LAUNCHES_FIT_CLAIM}


def test_a_claim_is_told_by_its_events_too() -> None:
    claim = claimed(ClaimState.LAUNCHING)
    moved = Event(kind="claim.launching", subject=claim.id, at=NOON, data={"from": "requested"})
    assert list(of_claim(file(claim, launch(1, 1), events=(moved,)))) == []
    lied = replace(moved, kind="claim.ready")
    assert rules(of_claim(file(claim, launch(1, 1), events=(lied,)))) == [Rule.EVENTS_TELL_ALL] * 2


def test_a_birth_may_be_pruned_but_not_missing() -> None:
    cluster = factories.cluster()
    events = (Event(kind="cluster.ready", subject=cluster.id, at=after(1), data={"from": "pending"}),)
    assert list(of_cluster(cluster, events)) == []
    assert rules(of_cluster(cluster, events, born_at=cluster.created_at)) == [Rule.EVENTS_TELL_ALL]
    born = Event(kind="cluster.pending", subject=cluster.id, at=NOON, data={"from": "-"})
    assert list(of_cluster(cluster, (born, *events), born_at=cluster.created_at)) == []


def test_a_placing_is_judged_by_the_state_of_its_moment() -> None:
    cluster_id = factories.cluster().id
    placed = Event(kind="attempt.placed", subject="a", at=NOON, data={"cluster_id": cluster_id, "from": "-"})
    away = Event(kind="cluster.unreachable", subject=cluster_id, at=NOON, data={"from": "ready"})
    before = {cluster_id: str(ClusterState.READY)}
    assert list(of_placings((placed, away), before)) == []
    assert rules(of_placings((away, placed), before)) == [Rule.CLUSTER_NOT_READY]


def test_an_edge_too_much_and_one_too_few_are_named() -> None:
    legal = {(each.noun, old, new) for each in (CLAIM, CLUSTER) for old, new in each.pairs()}
    assert list(of_edges(legal, (CLAIM, CLUSTER))) == []
    changed = (legal - {("claim", "ready", "draining")}) | {("cluster", "detached", "ready")}
    assert [(breach.subject, breach.sentence) for breach in of_edges(changed, (CLAIM, CLUSTER))] == [
        ("claim", "ready -> draining is missing in the table of moves"),
        ("cluster", "detached -> ready is too much in the table of moves"),
    ]


def test_a_breach_reads_as_a_sentence() -> None:
    late = factories.cluster(since=NOON + timedelta(seconds=1))
    (breach,) = of_cluster(late, (), born_at=NOON)
    assert breach == Breach(
        rule=Rule.EVENTS_TELL_ALL,
        subject=late.id,
        sentence="it has no event: that of its birth is missing",
    )


@pytest.mark.parametrize(("ranks", "found"), [((0, 1), []), ((0,), [Rule.SEATS_ARE_PLACEMENTS])])
def test_an_elastic_attempt_has_at_least_the_seats_it_may_start_with(
    ranks: tuple[int, ...], found: list[Rule]
) -> None:
    traits = Traits(tasks_min=2)
    asked, attempt = factories.ask(tasks=4, traits=traits), factories.attempt()
    seats = tuple(
        BookedSeat(
            attempt_id=attempt.id, rank=rank, node_id=NodeId("n"), amounts=asked.amounts, released_at=None
        )
        for rank in ranks
    )
    dossier = Dossier(
        job=factories.job(state=JobState.ACTIVE),
        asks=(asked,),
        attempts=(attempt,),
        seats=seats,
        ranks=(),
        events=(),
        kept_since=after(3600),
    )
    assert rules(of_job(dossier)) == found
