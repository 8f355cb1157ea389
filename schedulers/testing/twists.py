"""Twists: what happens to a world between two plans, drawn, so that an engine has to follow all of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from hypothesis import strategies as st

from controlplane.domain.queues import Queue
from schedulers.base import NodeView, Policy
from schedulers.simulator import Simulation

Twist = tuple[str, int]
"""What happens, and a number that says to whom or how much."""

MOMENTS: Final = (1, 30, 61, 299, 600, 4000)


def _advance(simulation: Simulation, number: int) -> None:
    simulation.advance(MOMENTS[number % len(MOMENTS)])


def _finish(simulation: Simulation, number: int) -> None:
    if names := sorted({*simulation.running, *simulation.queued}):
        simulation.finish(names[number % len(names)])


def _lose_node(simulation: Simulation, number: int) -> None:
    nodes = sorted(simulation.nodes.values(), key=lambda node: node.id)
    if nodes:
        del nodes[number % len(nodes)]
    simulation.furnish(nodes, simulation.clusters)


def _sicken_node(simulation: Simulation, number: int) -> None:
    def turn(node: NodeView) -> NodeView:
        return replace(node, healthy=not node.healthy)

    _change_node(simulation, number, turn)


def _close_node(simulation: Simulation, number: int) -> None:
    """A window of maintenance comes near, or is called off."""
    closes_at = round(simulation.now.timestamp() + 700) * 10**6

    def turn(node: NodeView) -> NodeView:
        return replace(node, closes_at=closes_at if node.closes_at is None else None)

    _change_node(simulation, number, turn)


def _change_node(simulation: Simulation, number: int, turn: Callable[[NodeView], NodeView]) -> None:
    nodes = sorted(simulation.nodes.values(), key=lambda node: node.id)
    at = number % max(1, len(nodes))
    changed = [turn(node) if place == at else node for place, node in enumerate(nodes)]
    simulation.furnish(changed, simulation.clusters)


def _cut_quota(simulation: Simulation, number: int) -> None:
    def turn(queue: Queue) -> Queue:
        quotas = (replace(each, nominal=number % 5 * 1000, lending=None) for each in queue.quotas)
        return replace(queue, quotas=tuple(quotas))

    _change_queue(simulation, number, turn)


def _stop_queue(simulation: Simulation, number: int) -> None:
    def turn(queue: Queue) -> Queue:
        return replace(queue, stopped=not queue.stopped)

    _change_queue(simulation, number, turn)


def _age_queue(simulation: Simulation, number: int) -> None:
    def turn(queue: Queue) -> Queue:
        return replace(queue, aging_seconds=300 if queue.aging_seconds is None else None)

    _change_queue(simulation, number, turn)


def _change_queue(simulation: Simulation, number: int, turn: Callable[[Queue], Queue]) -> None:
    at = number % len(simulation.queues)
    simulation.plant([turn(queue) if place == at else queue for place, queue in enumerate(simulation.queues)])


def _stop_leaving(simulation: Simulation, number: int) -> None:
    del number
    simulation.stop_leaving()


_TWISTS: Final[Mapping[str, Callable[[Simulation, int], None]]] = {
    "advance": _advance,
    "finish": _finish,
    "lose node": _lose_node,
    "sicken node": _sicken_node,
    "close node": _close_node,
    "cut quota": _cut_quota,
    "stop queue": _stop_queue,
    "age queue": _age_queue,
    "stop leaving": _stop_leaving,
}

twists: Final = st.lists(st.tuples(st.sampled_from(sorted(_TWISTS)), st.integers(0, 30)), max_size=6)


def follow(policy: Policy, simulation: Simulation, story: Sequence[Twist]) -> None:
    """Engine and plain plan agree after every twist, once more when that was carried out, and when time has passed."""
    engine = policy.start(simulation.snapshot())
    simulation.deltas.clear()
    for what, number in [("stop leaving", 0), *story]:
        for step in (what, "stop leaving", "advance"):
            _TWISTS[step](simulation, number)
            engine.apply(simulation.deltas)
            simulation.deltas.clear()
            plan = policy.plan(simulation.snapshot())
            assert engine.plan(version=0, now=simulation.now) == plan, step
            simulation.commit(plan)
