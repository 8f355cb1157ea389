"""The laws of a policy that shares by quotas and preempts: inherit, and override `policy`.

Worlds are drawn, plans are carried out exactly, and every plan on the way is checked against what was there before it,
by the plain rules of `domain.quotas` and not by anything that the policy works with.
"""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.domain.amounts import Amounts
from controlplane.domain.ids import AskId, NodeId, QueueId
from controlplane.domain.queues import Cell
from schedulers.base import (
    AskClass,
    Placement,
    Plan,
    Policy,
    ReasonCode,
    Snapshot,
    TopologyMode,
)
from schedulers.simulator import Simulation, task_amounts
from schedulers.testing.cases import settle
from schedulers.testing.pins import broken_pins
from schedulers.testing.resizes import broken_resizes
from schedulers.testing.scenes import Json, simulation_of, submit
from schedulers.testing.twists import Twist, follow, twists
from schedulers.testing.usage import charge, granted, ranks_of, usage_of
from schedulers.testing.worlds import TROUBLES, scenes
from schedulers.whatif import counterfactual

CYCLES = 200
LATER = 400
"""Seconds: an epoch has begun meanwhile, and whoever waits has waited for long."""

ON_THEIR_WAY = frozenset({ReasonCode.WAITING_FOR_SEATS, ReasonCode.WAITING_FOR_MACHINES})
PASSING = frozenset({ReasonCode.WAITING_FOR_SEATS})
"""Nobody waits for these once a world is at rest."""


class FairnessLaws:
    def policy(self) -> Policy:
        raise NotImplementedError

    @given(scenes(), st.integers(0, 12), st.integers(0, 5))
    @settings(deadline=None)
    def test_every_plan_keeps_every_limit(self, scene: Json, early: int, ended: int) -> None:
        for simulation, plan in self._story(scene, early, ended):
            snapshot = simulation.snapshot()
            assert list(broken_seats(snapshot, plan)) == []
            assert list(broken_quotas(snapshot, plan)) == []
            assert list(broken_preemptions(snapshot, plan)) == []
            assert list(broken_pins(snapshot, plan)) == []
            assert list(broken_resizes(snapshot, plan)) == []

    @given(scenes(), st.integers(0, 12))
    @settings(deadline=None)
    def test_preemption_ends(self, scene: Json, early: int) -> None:
        """Whoever was there first, and however often plans are made: the world comes to rest."""
        policy, waiting = self.policy(), scene["pending"]
        simulation = simulation_of({**scene, "pending": waiting[:early]})
        assert settle(simulation, policy, CYCLES) < CYCLES
        for row in waiting[early:]:
            submit(simulation, row)
        assert settle(simulation, policy, CYCLES) < CYCLES

    @given(scenes(), st.integers(0, 12), st.integers(0, 5))
    @settings(deadline=None)
    def test_the_engine_and_the_plain_plan_agree_along_any_story(
        self, scene: Json, early: int, ended: int
    ) -> None:
        policy = self.policy()
        engine = None
        for simulation, plan in self._story(scene, early, ended):
            if engine is None:
                engine = policy.start(simulation.snapshot())
            engine.apply(simulation.deltas)
            simulation.deltas.clear()
            assert engine.plan(version=0, now=simulation.now) == plan

    @given(scenes(), st.integers(0, 12), st.integers(0, 5))
    @settings(deadline=None)
    def test_the_order_of_any_rows_changes_nothing(self, scene: Json, early: int, ended: int) -> None:
        for simulation, plan in self._story(scene, early, ended):
            assert self.policy().plan(simulation.snapshot(backwards=True)) == plan

    @given(scenes(), twists)
    @settings(deadline=None)
    def test_the_engine_and_the_plain_plan_agree_whatever_happens_to_the_world(
        self, scene: Json, story: list[Twist]
    ) -> None:
        follow(self.policy(), simulation_of(scene), story)

    def test_everybody_who_waits_is_told_what_would_help_and_it_does(self) -> None:
        self.reasons_in(worlds=60)

    @pytest.mark.verify
    @pytest.mark.timeout(900)
    def test_every_reason_is_given_in_a_thousand_worlds_and_what_would_help_does(self) -> None:
        seen = self.reasons_in(worlds=1000)
        assert sorted(frozenset(ReasonCode) - seen - PASSING) == []

    def reasons_in(self, *, worlds: int) -> frozenset[ReasonCode]:
        """Of so many worlds, in each of which one thing stands in the way; every one of them is checked."""
        seen: set[ReasonCode] = set()
        for name in sorted(TROUBLES):
            self._look(TROUBLES[name], -(-worlds // len(TROUBLES)), seen)
        return frozenset(seen)

    def _look(self, trouble: Callable[[Json], Json], worlds: int, seen: set[ReasonCode]) -> None:
        @given(scenes())
        @settings(max_examples=worlds, deadline=None, derandomize=True)
        def look(scene: Json) -> None:
            seen.update(self.check_reasons(trouble(scene)))

        look()

    def check_reasons(self, scene: Json) -> frozenset[ReasonCode]:
        """Every change that is named is applied, and the plan made again; the codes that were given."""
        policy, simulation = self.policy(), simulation_of(scene)
        if scene.get("is_nowhere"):
            simulation.furnish([], [])
        settle(simulation, policy, CYCLES)
        for row in scene.get("later", ()):
            submit(simulation, row)
        settle(simulation, policy, CYCLES)
        snapshot = simulation.snapshot()
        told = {defer.class_id: defer for defer in policy.plan(snapshot).defers}
        assert {ask.ask_class.id for ask in simulation.queued.values()} == set(told)
        for class_id, defer in told.items():
            if defer.code not in ON_THEIR_WAY:
                assert counterfactual(policy, snapshot, class_id) is not None
        return frozenset(defer.code for defer in told.values())

    @given(scenes())
    @settings(max_examples=40, deadline=None)
    def test_a_plan_that_was_carried_out_leaves_nothing_to_place(self, scene: Json) -> None:
        policy, simulation = self.policy(), simulation_of(scene)
        simulation.commit(policy.plan(simulation.snapshot()))
        again = policy.plan(simulation.snapshot())
        # What a plan places goes for nobody before the next one, and then leaves quota to others as well.
        assert again.preempts or (again.places, again.grows) == ((), ())

    def _story(self, scene: Json, early: int, ended: int) -> Iterator[tuple[Simulation, Plan]]:
        """Some asks come, plans are carried out, the others come, one ends; each plan before it is carried out."""
        policy, waiting = self.policy(), scene["pending"]
        simulation = simulation_of({**scene, "pending": waiting[:early]})
        for part in (0, 1, 2):
            simulation.advance(LATER * part)
            for row in waiting[early:] if part == 1 else ():
                submit(simulation, row)
            if part == 2 and simulation.running:
                names = sorted(simulation.running)
                simulation.finish(names[ended % len(names)])
            for _ in range(3):
                plan = policy.plan(simulation.snapshot())
                yield simulation, plan
                simulation.commit(plan)
                simulation.stop_leaving()
                simulation.advance(1)


def broken_seats(snapshot: Snapshot, plan: Plan) -> Iterator[str]:
    """Nodes over what is free, gangs that are not whole, seats where the ask must not be."""
    nodes = {node.id: node for node in snapshot.nodes}
    room = {node.id: node.free for node in snapshot.nodes}
    queued = dict(zip(snapshot.asks.ids, snapshot.asks.classes, strict=True))
    running = {ask.id: ask for ask in snapshot.running}
    for place in plan.places:
        its = snapshot.classes[queued[place.ask_id]]
        yield from _misplaced(snapshot, its, place.ask_id, place.seats)
        yield from _overfull(room, its, place.seats)
    for growth in plan.grows:
        ask = running[growth.ask_id]
        its = snapshot.classes[ask.ask_class]
        yield from _overfull(room, its, growth.seats)
        ranks = [seat.rank for seat in ask.seats] + [seat.rank for seat in growth.seats]
        if len(ranks) != len(frozenset(ranks)) or len(ranks) > sum(role.tasks for role in its.all_roles):
            yield f"{growth.ask_id} grows over its size or takes a rank twice"
    for move in plan.moves:
        its = snapshot.classes[running[move.ask_id].ask_class]
        yield from _overfull(room, its, (Placement(rank=move.rank, node_id=move.node_id),))
    for preempt in plan.preempts:
        its = snapshot.classes[queued[preempt.ask_id]]
        yield from _misplaced(snapshot, its, preempt.ask_id, preempt.seats)
        if {nodes[seat.node_id].cluster_id for seat in preempt.seats} != {preempt.cluster_id}:
            yield f"{preempt.ask_id} is spread over clusters"


def _overfull(room: dict[NodeId, Amounts], its: AskClass, seats: tuple[Placement, ...]) -> Iterator[str]:
    for seat in seats:
        amounts = task_amounts(its, seat.rank)
        if not amounts.fits_in(room[seat.node_id]):
            yield f"node {seat.node_id} is over what is free"
        room[seat.node_id] = room[seat.node_id].minus(amounts)


def _misplaced(
    snapshot: Snapshot, its: AskClass, ask_id: AskId, seats: tuple[Placement, ...]
) -> Iterator[str]:
    nodes = {node.id: node for node in snapshot.nodes}
    for role, ranks in ranks_of(its):
        mine = [seat for seat in seats if seat.rank in ranks]
        if not role.tasks_min <= len(mine) <= role.tasks:
            yield f"{ask_id} has {len(mine)} of {role.tasks_min}..{role.tasks} tasks of role {role.name!r}"
        if len({nodes[seat.node_id].flavor for seat in mine}) > 1:
            yield f"{ask_id} has one role on two flavors"
    for seat in seats:
        node = nodes[seat.node_id]
        if not node.healthy or any((key, "*") not in its.tolerations for key, _ in node.taints):
            yield f"{ask_id} is on node {node.id} that does not take it"
    topology = its.topology
    if topology is not None and topology.mode is TopologyMode.REQUIRED:
        homes = {_domain(snapshot, seat.node_id, topology.level) for seat in seats}
        if len(homes) != 1 or None in homes:
            yield f"{ask_id} is not in one {topology.level}"


def _domain(snapshot: Snapshot, node_id: NodeId, level: str) -> object:
    node = next(node for node in snapshot.nodes if node.id == node_id)
    found = dict(node.domains).get(level)
    return node_id if level == "node" else None if found is None else (node.cluster_id, found)


def broken_quotas(snapshot: Snapshot, plan: Plan) -> Iterator[str]:
    """Nodes of the tree that a new decision brings over what is available to the one that asks."""
    tree = usage_of(snapshot)
    running = {ask.id: ask for ask in snapshot.running}
    for preempt in plan.preempts:
        for victim in preempt.victims:
            ask = running[victim.ask_id]
            gone = [seat for seat in ask.seats if seat.rank in victim.ranks or not victim.ranks]
            for left in gone:
                its = snapshot.classes[ask.ask_class]
                charge(tree, snapshot, its, (left.rank, left.node_id), sign=-1)
    for ask_id, its, seats in granted(snapshot, plan):
        for seat in seats:
            charge(tree, snapshot, its, (seat.rank, seat.node_id))
        queue = QueueId(its.queue_id)
        for cell in tree.cells.get(tree.roots.get(queue, queue), ()):
            if _uses(snapshot, its, seats, cell) and tree.available(queue, cell) < 0:
                yield f"{ask_id} brings {cell} of {queue} to {tree.available(queue, cell)}"


def _uses(snapshot: Snapshot, its: AskClass, seats: tuple[Placement, ...], cell: Cell) -> bool:
    flavors = {node.id: node.flavor for node in snapshot.nodes}
    return any(
        flavors[seat.node_id] == cell.flavor and cell.resource in dict(task_amounts(its, seat.rank).named())
        for seat in seats
    )


def broken_preemptions(snapshot: Snapshot, plan: Plan) -> Iterator[str]:
    """Victims that may not go: protected, of another tree, or of a queue that only uses what it owns."""
    tree = usage_of(snapshot)
    running = {ask.id: ask for ask in snapshot.running}
    queued = dict(zip(snapshot.asks.ids, snapshot.asks.classes, strict=True))
    now = round(snapshot.now.timestamp() * 10**6)
    for preempt in plan.preempts:
        heir = snapshot.classes[queued[preempt.ask_id]]
        for victim in preempt.victims:
            ask = running[victim.ask_id]
            its = snapshot.classes[ask.ask_class]
            if ask.protected_until > now:
                yield f"{ask.id} is protected"
            mine, theirs = QueueId(heir.queue_id), QueueId(its.queue_id)
            if tree.roots.get(mine) != tree.roots.get(theirs):
                yield f"{ask.id} is of another tree than {preempt.ask_id}"
            owns = [
                tree.usage(theirs, cell) <= tree.subtree(theirs, cell)
                for cell in tree.cells.get(tree.roots[theirs], ())
            ]
            if mine != theirs and owns and all(owns):
                yield f"{ask.id} goes although queue {theirs} uses only what it owns"
    often = [victim.ask_id for preempt in plan.preempts for victim in preempt.victims]
    if len(often) != len(frozenset(often)):
        yield "somebody goes twice in one plan"
