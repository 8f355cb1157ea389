"""Cases: scheduling situations as JSON, with what has to come of them. The format: tests/scheduling/README.md."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from controlplane.domain.amounts import MILLI
from controlplane.domain.ids import AskId, NodeId, QueueId
from controlplane.domain.queues import Cell
from controlplane.domain.quotas import ONE_SHARE, QuotaTree
from schedulers.base import Plan, Policy, Until
from schedulers.decay import WHOLE_USE, after
from schedulers.simulator import Simulation, task_amounts
from schedulers.testing.scenes import (
    EPOCH,
    GIB,
    SECOND,
    Json,
    moment,
    queue_of,
    replace_nodes,
    simulation_of,
    submit,
)

MOST_CYCLES: Final = 1000
PER_MILLE: Final = 1000
CLOSE: Final = 1e-9
"""What a ratio of past uses may be off."""

Difference = str
"""What was expected and what came, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    id: str
    source: str
    """Where upstream treats this, or `own`."""

    spec: Json

    def check(self, policy: Policy) -> list[Difference]:
        """All that is not as expected; empty when the policy passes. Alternatives under `any_of` are told first."""
        action = self.spec.get("action", "plan")
        if action not in _ACTIONS:
            return [f"nothing here does {action!r}"]
        return _ACTIONS[action](self.spec, policy)


def load(folder: Path) -> list[Case]:
    """Every `*.json` below the folder, by id. A file holds one case or a list of them."""
    found: list[Case] = []
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        specs = content if isinstance(content, list) else [content]
        found += [Case(id=spec["id"], source=spec["source"], spec=spec) for spec in specs]
    return sorted(found, key=lambda case: case.id)


def _check_quota(spec: Json, policy: Policy) -> list[Difference]:
    """The rules of `domain.quotas`; no policy is asked."""
    del policy
    tree = QuotaTree.of([queue_of(each, ["default"]) for each in spec["queues"]])
    for name, amounts in spec.get("usage", {}).items():
        tree.add(QueueId(name), _cells(amounts))
    differences: list[Difference] = []
    readings: dict[str, Callable[[QueueId, Cell], int]] = {
        "available": tree.available,
        "potential": tree.potential,
    }
    for what, read in readings.items():
        for name, amounts in spec["expect"].get(what, {}).items():
            wanted = _cells(amounts)
            differences += _differs(
                f"{what} of {name}", wanted, {cell: read(QueueId(name), cell) for cell in wanted}
            )
    for name, per_mille in spec["expect"].get("share", {}).items():
        request = _cells(spec.get("request", {}).get(name, {}))
        share = tree.share(QueueId(name), request)
        found = "last" if share.last else share.size * PER_MILLE // ONE_SHARE
        differences += _differs(f"share of {name}", per_mille, found)
    return differences


def _check_plan(spec: Json, policy: Policy) -> list[Difference]:
    simulation = simulation_of(spec)
    plan = policy.plan(simulation.snapshot())
    return _compare(spec["expect"], simulation, plan)


def _check_rounds(spec: Json, policy: Policy) -> list[Difference]:
    simulation = simulation_of(spec)
    differences: list[Difference] = []
    for number, step in enumerate(spec["steps"]):
        for row in step.get("submit", ()):
            submit(simulation, row)
        for name in step.get("finish", ()):
            simulation.finish(AskId(name))
        simulation.advance(step.get("advance", 0))
        replace_nodes(simulation, step.get("nodes", ()))
        plan = policy.plan(simulation.snapshot())
        found = _compare(step.get("plan", {}), simulation, plan)
        if not step.get("settle", True):
            simulation.commit(plan)
        elif settle(simulation, policy, cycles := step.get("cycles", MOST_CYCLES)) == cycles:
            found.append(f"no rest after {cycles} cycles")
        found += _compare_state(step.get("expect", {}), simulation)
        differences += [f"step {number}: {each}" for each in found]
    return differences


def _check_decay(spec: Json, policy: Policy) -> list[Difference]:
    """The rules of `schedulers.decay`, sampled as a policy does; no policy is asked."""
    del policy
    differences: list[Difference] = []
    step, capacity = EPOCH // SECOND, spec["capacity"]["gpu"]
    for name, rows in spec["expect"]["ratio"].items():
        for later, earlier, ratio in rows:
            used, known = 0, {0: 0}
            for moment_ in range(0, max(later, earlier), step):
                held = sum(
                    use["gpu"]
                    for use in spec["uses"]
                    if use["queue"] == name and use["from"] <= moment_ < use["to"]
                )
                used = after(used, held * WHOLE_USE // capacity, step, spec["half_life"])
                known[moment_ + step] = used
            found = known[later] / known[earlier]
            if abs(found - ratio) > CLOSE:
                differences += _differs(f"use of {name} at {later} by that at {earlier}", ratio, found)
    return differences


_ACTIONS: Final[Mapping[str, Callable[[Json, Policy], list[Difference]]]] = {
    "quota": _check_quota,
    "plan": _check_plan,
    "rounds": _check_rounds,
    "decay": _check_decay,
}


def settle(simulation: Simulation, policy: Policy, cycles: int = MOST_CYCLES) -> int:
    """Plans and carries out, with a second between, until a plan changes nothing; how many cycles that took."""
    for cycle in range(cycles):
        plan = policy.plan(simulation.snapshot())
        simulation.commit(plan)
        simulation.stop_leaving()
        simulation.advance(1)
        if not (plan.places or plan.preempts or plan.grows or plan.shrinks or plan.moves):
            return cycle
    return cycles


def _compare(expect: Json, simulation: Simulation, plan: Plan) -> list[Difference]:
    if "any_of" in expect:
        tried = [_compare(each, simulation, plan) for each in expect["any_of"]]
        return [] if any(not each for each in tried) else tried[0]
    readings = dict(_readings(simulation, plan))
    differences: list[Difference] = []
    for key, wanted in expect.items():
        found = readings[key]
        if key in PARTLY:  # only what is named counts
            found = {name: found.get(name) for name in wanted}
        if key == "domains":  # and of the levels, those that are named
            found = {name: _named(found[name], wanted[name]) for name in wanted}
        differences += _differs(key, _normal(wanted), _normal(found))
    return differences


PARTLY: Final = frozenset({"nodes", "domains", "flavors", "tasks", "waiting", "blocker", "until"})


def _readings(simulation: Simulation, plan: Plan) -> Iterator[tuple[str, Any]]:  # Any: compared with JSON
    seats = {place.ask_id: place.seats for place in plan.places}
    seats.update((preempt.ask_id, preempt.seats) for preempt in plan.preempts)
    homes = {ask_id: [seat.node_id for seat in each] for ask_id, each in seats.items()}
    moves = [*plan.moves, *(move for preempt in plan.preempts for move in preempt.moves)]
    victims = [victim for preempt in plan.preempts for victim in preempt.victims]
    defers = {defer.class_id: defer for defer in plan.defers}
    waits = {
        ask.id: defers[ask.ask_class.id]
        for ask in simulation.queued.values()
        if ask.ask_class.id in defers and ask.id not in seats
    }
    yield "placed", [place.ask_id for place in plan.places]
    yield (
        "preempting",
        {
            each.ask_id: sorted(victim.ask_id for victim in each.victims)
            for each in plan.preempts
            if each.victims
        },
    )
    yield "preempted", {victim.ask_id: str(victim.ground) for victim in victims if not victim.ranks}
    yield "shrunk", {victim.ask_id: len(victim.ranks) for victim in victims if victim.ranks}
    yield "tasks", {ask_id: len(each) for ask_id, each in seats.items()}
    yield "nodes", {ask_id: _counted(map(str, nodes)) for ask_id, nodes in homes.items()}
    yield "domains", {ask_id: _domains(simulation, nodes) for ask_id, nodes in homes.items()}
    yield "flavors", {ask_id: _flavors(simulation, nodes) for ask_id, nodes in homes.items()}
    yield "waiting", {ask_id: str(defer.code) for ask_id, defer in waits.items()}
    yield "blocker", {ask_id: defer.blocker for ask_id, defer in waits.items()}
    yield (
        "until",
        {
            ask_id: (defer.change.moment - moment(0)) / SECOND
            for ask_id, defer in waits.items()
            if isinstance(defer.change, Until)
        },
    )
    yield "given_back", {each.ask_id: len(each.ranks) for each in plan.shrinks}
    yield "grown", {each.ask_id: len(each.seats) for each in plan.grows}
    yield "moved", {each.ask_id: str(each.node_id) for each in moves}
    yield "reserved", {each.ask_id: (each.starts_at - moment(0)) / 10**6 for each in plan.reserves}
    yield "bought", {each.ask_id: dict(each.orders) for each in plan.provisions}


def _compare_state(expect: Json, simulation: Simulation) -> list[Difference]:
    readings: dict[str, Any] = {  # Any: compared with JSON
        "running": list(simulation.running),
        "queued": list(simulation.queued),
        "preemptions": dict(simulation.preemptions),
        "tasks": {ask.id: len(ask.seats) for ask in simulation.running.values()},
        "gpus": _gpus_by_queue(simulation),
    }
    differences: list[Difference] = []
    for key, wanted in expect.items():
        if key == "most_preemptions":
            often = {name: times for name, times in simulation.preemptions.items() if times > wanted}
            differences += _differs(key, {}, often)
            continue
        found = readings[key]
        if key in PARTLY or key == "gpus":
            found = {name: found.get(name, 0) for name in wanted}
        differences += _differs(key, _normal(wanted), _normal(found))
    return differences


def _gpus_by_queue(simulation: Simulation) -> dict[str, float]:
    sums: dict[str, float] = {}
    for ask in simulation.running.values():
        its = simulation.classes[ask.ask_class]
        held = sum(task_amounts(its, seat.rank).gpu_milli for seat in ask.seats)
        sums[its.queue_id] = sums.get(its.queue_id, 0) + held / MILLI
    return sums


def _named(levels: Json | None, wanted: Json) -> Json:
    return {level: levels[level] for level in wanted if level in levels} if levels else {}


def _domains(simulation: Simulation, nodes: Sequence[NodeId]) -> dict[str, dict[str, int]]:
    """By level, how many tasks are in each domain."""
    levels: dict[str, list[str]] = {}
    for node in nodes:
        for level, domain in simulation.nodes[node].domains:
            levels.setdefault(level, []).append(domain)
    return {level: _counted(domains) for level, domains in levels.items()}


def _flavors(simulation: Simulation, nodes: Sequence[NodeId]) -> dict[str, int]:
    return _counted(simulation.nodes[node].flavor for node in nodes)


def _counted(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts


def _cells(amounts: Mapping[str, float]) -> dict[Cell, int]:
    cells = {}
    for name, value in amounts.items():
        flavor, _, resource = name.rpartition("/")
        cells[Cell(flavor or "default", resource)] = round(value * (GIB if resource == "memory" else MILLI))
    return cells


def _normal(value: object) -> object:
    """Lists are sets of names here."""
    return sorted(map(str, value)) if isinstance(value, list) else value


def _differs(what: str, wanted: object, found: object) -> list[Difference]:
    return [] if wanted == found else [f"{what}: expected {wanted}, found {found}"]
