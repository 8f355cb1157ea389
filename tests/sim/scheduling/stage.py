"""The stage: a history as it comes true, event by event, with a policy and an engine that is led along."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import blake2b
from random import Random
from typing import Final, TypeVar

from controlplane.domain.ids import AskId, NodeId
from schedulers.base import AskQueued, NodeView, Plan, Policy, ReasonCode, RunningAsk, Snapshot, microseconds
from schedulers.testing.scenes import class_of, queue_of, simulation_of
from tests.sim.scheduling.histories import COHORTS, FLAVORS, QUEUES, Event, History, Kind, Row, limits_of
from tests.sim.scheduling.laws import broken_by
from tests.sim.scheduling.rest import broken_at_rest
from tests.sim.truth import Violation

T = TypeVar("T")

MIN_RUNTIME_SECONDS: Final = 30
MOST_WAITING: Final = 20
MOST_CYCLES: Final = 60
"""Plans until a world comes to rest."""

TURNED_EVERY: Final = 5
"""Plans; then rows are turned round, and an engine that starts late is asked as well."""

CAN_START: Final = frozenset(
    {
        ReasonCode.RESERVED,
        ReasonCode.WAITING_FOR_SEATS,
    }
)
"""Reasons for which nobody waits once nothing runs any more; that there is no room or quota is checked by itself."""


class Stage:
    def __init__(self, history: History, policy: Policy) -> None:
        self._rows: dict[str, Row] = {row["name"]: dict(row) for row in history.scene["queues"]}
        self._classes = [class_of({"ask": "", **row}) for row in history.scene["classes"]]
        self._policy = policy
        self.simulation = simulation_of(history.scene)
        self.simulation.min_runtime_seconds = MIN_RUNTIME_SECONDS
        self._engine = policy.start(self.simulation.snapshot())
        self._lost: dict[NodeId, NodeView] = {}
        self._submitted = 0
        self._hash = blake2b(digest_size=16)
        self.plans = 0

    @property
    def trace_hash(self) -> str:
        return self._hash.hexdigest()

    def carry_out(self, event: Event) -> None:
        """Raises `Violation` where a law is broken."""
        match event.kind:
            case Kind.PLANNED:
                self._plan()
            case Kind.RESTED:
                self._rest()
            case kind:
                _DEEDS[kind](self, event)

    def drain(self) -> None:
        """Nobody comes any more; what runs ends, one after the other: then nobody waits who could start."""
        self._rest()
        while self.simulation.running:
            oldest = min(self.simulation.running.values(), key=lambda ask: (ask.admitted_at, ask.id))
            self.simulation.finish(oldest.id)
            self._rest()
        plan = self._rest()
        stopped = {name for name, row in self._rows.items() if row.get("stopped")}
        for defer in plan.defers:
            if defer.code in CAN_START and self.simulation.classes[defer.class_id].queue_id not in stopped:
                raise Violation(f"starves: {defer.class_id} waits for {defer.code}, and nothing runs")

    def _plan(self) -> Plan:
        snapshot = self.simulation.snapshot()
        plan = self._policy.plan(snapshot)
        self.plans += 1
        self._hash.update(repr(plan).encode())
        self._compare(snapshot, plan)
        for sentence in broken_by(snapshot, plan):
            raise Violation(sentence)
        self.simulation.commit(plan)
        return plan

    def _compare(self, snapshot: Snapshot, plan: Plan) -> None:
        self._engine.apply(self.simulation.deltas)
        self.simulation.deltas.clear()
        if self._engine.plan(version=0, now=self.simulation.now) != plan:
            raise Violation("the engine plans otherwise than the policy")
        if self.plans % TURNED_EVERY == 0:
            backwards = self.simulation.snapshot(backwards=True)
            if self._policy.plan(backwards) != plan:
                raise Violation("the plan depends on the order of rows")
            self._engine = self._policy.start(backwards)
            if self._engine.plan(version=0, now=snapshot.now) != plan:
                raise Violation("an engine that starts late plans otherwise")

    def _rest(self) -> Plan:
        """Plans until nothing changes, with a second between."""
        for _ in range(MOST_CYCLES):
            self.simulation.stop_leaving()
            plan = self._plan()
            if not (plan.places or plan.preempts or plan.grows or plan.shrinks or plan.moves):
                for sentence in broken_at_rest(self._policy, self.simulation.snapshot(), plan):
                    raise Violation(sentence)
                return plan
            self.simulation.advance(1)
        raise Violation(f"does not come to rest within {MOST_CYCLES} plans")

    def _submit(self, event: Event) -> None:
        if len(self.simulation.queued) >= MOST_WAITING:
            return
        self._submitted += 1
        self.simulation.submit(
            AskQueued(
                id=AskId(f"ask{self._submitted:04d}"),
                ask_class=_one(self._classes, event.who),
                priority=event.how % 3,
                submitted=microseconds(self.simulation.now),
                not_before=0,
            )
        )

    def _end(self, event: Event) -> None:
        if self.simulation.running:
            self.simulation.finish(_one(sorted(self.simulation.running), event.who))

    def _cancel(self, event: Event) -> None:
        if self.simulation.queued:
            self.simulation.finish(_one(sorted(self.simulation.queued), event.who))

    def _stop(self, _event: Event) -> None:
        self.simulation.stop_leaving()

    def _save(self, event: Event) -> None:
        if self.simulation.running:
            ask = self.simulation.running[_one(sorted(self.simulation.running), event.who)]
            self.simulation.seat(
                replace(ask, checkpoint_at=microseconds(self.simulation.now)),
                self.simulation.classes[ask.ask_class],
            )

    def _rank(self, event: Event) -> None:
        if self.simulation.queued:
            ask = self.simulation.queued[_one(sorted(self.simulation.queued), event.who)]
            self.simulation.submit(replace(ask, priority=event.how % 4))

    def _limit(self, event: Event) -> None:
        self._turn_queue(event, limits_of(Random(event.how)))

    def _move(self, event: Event) -> None:
        self._turn_queue(event, {"parent": COHORTS[event.how % len(COHORTS)]})

    def _halt(self, event: Event) -> None:
        self._turn_queue(event, {"stopped": True})

    def _open(self, event: Event) -> None:
        self._turn_queue(event, {"stopped": False})

    def _turn_queue(self, event: Event, changes: Row) -> None:
        name = _one([name for name in self._rows if name in QUEUES], event.who)
        self._rows[name] |= changes
        self.simulation.plant([queue_of(row, FLAVORS) for row in self._rows.values()])

    def _lose(self, event: Event) -> None:
        """What sat there waits again; a promise of its seats binds nobody."""
        nodes = self.simulation.nodes
        if len(nodes) < 2:
            return
        gone = _one(sorted(nodes), event.who)
        self._lost[gone] = nodes[gone]
        self.simulation.furnish([nodes[name] for name in nodes if name != gone], self.simulation.clusters)
        for ask in list(self.simulation.running.values()):
            if any(seat.node_id == gone for seat in ask.seats):
                self._requeue(ask)

    def _requeue(self, ask: RunningAsk) -> None:
        self.simulation.finish(ask.id)
        self.simulation.submit(
            AskQueued(
                id=ask.id,
                ask_class=self.simulation.classes[ask.ask_class],
                priority=ask.priority,
                submitted=ask.submitted,
                not_before=0,
            )
        )

    def _bring_back(self, event: Event) -> None:
        if self._lost:
            node = self._lost.pop(_one(sorted(self._lost), event.who))
            self.simulation.furnish([*self.simulation.nodes.values(), node], self.simulation.clusters)

    def _sicken(self, event: Event) -> None:
        self._turn_node(event, lambda node: replace(node, healthy=not node.healthy))

    def _relabel(self, event: Event) -> None:
        self._turn_node(event, lambda node: replace(node, flavor=FLAVORS[event.how % len(FLAVORS)]))

    def _turn_node(self, event: Event, turn: Callable[[NodeView], NodeView]) -> None:
        nodes = self.simulation.nodes
        node = turn(nodes[_one(sorted(nodes), event.who)])
        self.simulation.furnish((nodes | {node.id: node}).values(), self.simulation.clusters)

    def _pass(self, event: Event) -> None:
        """What said how long it takes has ended by then."""
        self.simulation.advance((1, 10, 60, 400, 900)[event.how % 5])
        now = microseconds(self.simulation.now)
        for ask in list(self.simulation.running.values()):
            runtime = self.simulation.classes[ask.ask_class].runtime_seconds
            if runtime is not None and ask.admitted_at + runtime * 1_000_000 <= now:
                self.simulation.finish(ask.id)


def _one(options: Sequence[T], who: int) -> T:
    return options[who % len(options)]


_DEEDS: Final[dict[Kind, Callable[[Stage, Event], None]]] = {
    Kind.SUBMITTED: Stage._submit,
    Kind.ENDED: Stage._end,
    Kind.CANCELLED: Stage._cancel,
    Kind.STOPPED: Stage._stop,
    Kind.SAVED: Stage._save,
    Kind.RANKED: Stage._rank,
    Kind.LIMITED: Stage._limit,
    Kind.MOVED: Stage._move,
    Kind.HALTED: Stage._halt,
    Kind.OPENED: Stage._open,
    Kind.LOST: Stage._lose,
    Kind.BACK: Stage._bring_back,
    Kind.SICK: Stage._sicken,
    Kind.RELABELLED: Stage._relabel,
    Kind.PASSED: Stage._pass,
}
