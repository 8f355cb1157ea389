"""The laws of every policy, as a suite to inherit: give a `policy` fixture and the rest is tested.

A history is drawn, replayed as deltas into an engine and as whole snapshots into `plan`; both must always agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.domain.amounts import Amounts
from controlplane.domain.ids import AskId, ClassId, ClusterId, NodeId
from schedulers.base import (
    AskClass,
    AskLeft,
    AskQueued,
    CapacityChanged,
    ClusterView,
    Delta,
    NodesChanged,
    NodeView,
    Plan,
    Policy,
    QueuedAsks,
    Snapshot,
)

EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
EPOCH_US: Final = round(EPOCH.timestamp() * 1_000_000)

amounts = st.builds(
    Amounts, cpu_milli=st.integers(1, 4).map(lambda n: n * 1000), gpu_milli=st.sampled_from([0, 500, 1000])
)
classes = st.builds(
    AskClass,
    id=st.integers(0, 5).map(lambda n: ClassId(f"cls{n}")),
    queue_id=st.just("queue"),
    tasks=st.integers(1, 5),
    amounts=amounts,
    accelerator=st.sampled_from([None, None, "a100"]),
)
nodes = st.builds(
    NodeView,
    id=st.integers(0, 7).map(lambda n: NodeId(f"node{n}")),
    cluster_id=st.sampled_from([ClusterId("east"), ClusterId("west")]),
    allocatable=st.just(Amounts(cpu_milli=8000, gpu_milli=2000)),
    free=st.builds(
        Amounts, cpu_milli=st.integers(0, 8).map(lambda n: n * 1000), gpu_milli=st.integers(0, 2000)
    ),
    accelerator=st.sampled_from([None, "a100"]),
)
clusters = st.sampled_from(["east", "west"]).flatmap(
    lambda name: st.builds(
        ClusterView,
        id=st.just(ClusterId(name)),
        name=st.just(name),
        blocked=st.sampled_from([None, None, "is cordoned"]),
    )
)
capacities = st.builds(
    CapacityChanged,
    nodes=st.lists(nodes, max_size=6, unique_by=lambda node: node.id).map(tuple),
    clusters=st.lists(clusters, max_size=2, unique_by=lambda cluster: cluster.id).map(tuple),
)
ask_ids = st.integers(0, 15).map(lambda n: AskId(f"ask{n}"))

INHERITED = (HealthCheck.differing_executors,)
"""One law is run by every class that inherits it; each brings its own policy."""


@st.composite
def queued(draw: st.DrawFn, table: Sequence[AskClass]) -> AskQueued:
    return AskQueued(
        id=draw(ask_ids),
        ask_class=draw(st.sampled_from(table)),
        priority=draw(st.integers(-2, 2)),
        submitted=EPOCH_US + draw(st.integers(0, 5)),
        not_before=draw(st.sampled_from([0, 0, EPOCH_US, EPOCH_US + 60_000_000])),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[list[Delta]]:
    """Rounds of deltas; after each round a plan is made."""
    table = draw(st.lists(classes, min_size=1, max_size=4, unique_by=lambda each: each.id))
    changed = st.builds(
        NodesChanged, nodes=st.lists(nodes, max_size=2, unique_by=lambda node: node.id).map(tuple)
    )
    delta = st.one_of(queued(table), st.builds(AskLeft, id=ask_ids), capacities, changed)
    return draw(st.lists(st.lists(delta, max_size=8), min_size=1, max_size=5))


@dataclass(slots=True)
class Picture:
    """What a sequence of deltas adds up to: the reference for the engine."""

    asks: dict[AskId, AskQueued] = field(default_factory=dict)
    capacity: CapacityChanged = field(default_factory=CapacityChanged)

    def apply(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            match delta:
                case AskQueued():
                    self.asks[delta.id] = delta
                case AskLeft():
                    self.asks.pop(delta.id, None)
                case CapacityChanged():
                    self.capacity = delta
                case NodesChanged():
                    by_id = {node.id: node for node in (*self.capacity.nodes, *delta.nodes)}
                    self.capacity = replace(self.capacity, nodes=tuple(by_id.values()))
                case _:
                    raise AssertionError(delta)

    def snapshot(self, *, backwards: bool = False) -> Snapshot:
        asks = sorted(self.asks.values(), key=lambda ask: ask.id, reverse=backwards)
        order = -1 if backwards else 1
        return Snapshot(
            version=0,
            now=EPOCH,
            asks=QueuedAsks(
                ids=[ask.id for ask in asks],
                classes=[ask.ask_class.id for ask in asks],
                priorities=[ask.priority for ask in asks],
                submitted=[ask.submitted for ask in asks],
                not_before=[ask.not_before for ask in asks],
            ),
            classes={ask.ask_class.id: ask.ask_class for ask in asks},
            nodes=self.capacity.nodes[::order],
            clusters=self.capacity.clusters[::order],
        )


class PolicyLaws:
    """Inherit and override `policy`. How many histories each law sees is up to the profile of Hypothesis."""

    def policy(self) -> Policy:
        raise NotImplementedError

    @given(histories())
    @settings(deadline=None, suppress_health_check=INHERITED)
    def test_the_engine_and_the_plain_plan_agree_on_any_history(self, history: list[list[Delta]]) -> None:
        policy, picture = self.policy(), Picture()
        engine = policy.start(picture.snapshot())
        for deltas in history:
            picture.apply(deltas)
            engine.apply(deltas)
            assert engine.plan(version=0, now=EPOCH) == policy.plan(picture.snapshot())

    @given(histories(), st.integers(0, 4))
    @settings(deadline=None, suppress_health_check=INHERITED)
    def test_an_engine_that_starts_late_has_missed_nothing(
        self, history: list[list[Delta]], late: int
    ) -> None:
        policy, picture = self.policy(), _all(history[:late])
        engine = policy.start(picture.snapshot(backwards=True))
        for deltas in ([], *history[late:]):
            picture.apply(deltas)
            engine.apply(deltas)
            assert engine.plan(version=0, now=EPOCH) == policy.plan(picture.snapshot())

    @given(histories())
    @settings(deadline=None, suppress_health_check=INHERITED)
    def test_the_order_of_rows_changes_nothing(self, history: list[list[Delta]]) -> None:
        picture = _all(history)
        assert self.policy().plan(picture.snapshot()) == self.policy().plan(picture.snapshot(backwards=True))

    @given(histories())
    @settings(deadline=None, suppress_health_check=INHERITED)
    def test_a_plan_books_no_node_over_what_is_free(self, history: list[list[Delta]]) -> None:
        picture = _all(history)
        free = {node.id: node.free for node in picture.capacity.nodes}
        for place in self.policy().plan(picture.snapshot()).places:
            ask_class = picture.asks[place.ask_id].ask_class
            for seat in place.seats:
                assert ask_class.amounts.fits_in(free[seat.node_id])
                free[seat.node_id] = free[seat.node_id].minus(ask_class.amounts)

    @given(histories())
    @settings(deadline=None, suppress_health_check=INHERITED)
    def test_gangs_are_seated_whole_in_one_open_cluster_on_nodes_that_match(
        self, history: list[list[Delta]]
    ) -> None:
        picture = _all(history)
        homes = {node.id: node for node in picture.capacity.nodes}
        blocked = {cluster.id for cluster in picture.capacity.clusters if cluster.blocked is not None}
        for place in self.policy().plan(picture.snapshot()).places:
            wanted = picture.asks[place.ask_id].ask_class
            assert [seat.rank for seat in place.seats] == list(range(wanted.tasks))
            assert {homes[seat.node_id].cluster_id for seat in place.seats} == {place.cluster_id}
            assert place.cluster_id not in blocked
            assert all(wanted.accelerator in (None, homes[seat.node_id].accelerator) for seat in place.seats)

    @given(histories())
    @settings(deadline=None, suppress_health_check=INHERITED)
    def test_every_ask_that_may_go_is_placed_or_its_class_says_why_not(
        self, history: list[list[Delta]]
    ) -> None:
        picture = _all(history)
        plan = self.policy().plan(picture.snapshot())
        placed, explained = _placed(plan), {defer.class_id for defer in plan.defers}
        for ask in picture.asks.values():
            if ask.not_before <= EPOCH_US and ask.id not in placed:
                assert ask.ask_class.id in explained

    @given(histories())
    @settings(deadline=None, suppress_health_check=INHERITED)
    def test_nothing_is_placed_before_its_back_off_is_over(self, history: list[list[Delta]]) -> None:
        picture = _all(history)
        placed = _placed(self.policy().plan(picture.snapshot()))
        assert not [ask for ask in picture.asks.values() if ask.not_before > EPOCH_US and ask.id in placed]

    def test_the_version_of_the_snapshot_is_the_version_of_the_plan(self) -> None:
        assert self.policy().plan(replace(Picture().snapshot(), version=7)).version == 7


def _all(history: list[list[Delta]]) -> Picture:
    picture = Picture()
    for deltas in history:
        picture.apply(deltas)
    return picture


def _placed(plan: Plan) -> frozenset[AskId]:
    return frozenset(place.ask_id for place in plan.places)
