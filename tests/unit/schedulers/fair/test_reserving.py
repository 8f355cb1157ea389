"""However much runs, gangs are promised the earliest start that there is, and younger work does not take it."""

from heapq import heapify, heapreplace
from random import Random

from controlplane.domain.ids import AskId
from schedulers.fair.outlook import MOST_MOMENTS
from schedulers.fair.policy import Fair
from schedulers.testing.scenes import SECOND, Json, moment, simulation_of, submit

NOW = 10_000
HOUR = 3600
SMALL: Json = {"class": "small", "queue": "q", "gpu": 1, "runtime": HOUR}
STRONG: Json = {"class": "strong", "priority": 9}


def _crowded(nodes: int, chance: Random) -> tuple[Json, list[tuple[int, str]]]:
    """Every GPU is held by work of an hour, spread so that ever another piece ends: when, and which."""
    seats = [f"n{node}" for node in range(nodes) for _ in range(8)]
    chance.shuffle(seats)
    ends = [(NOW + (place + 1) * HOUR // len(seats), f"r{place}") for place in range(len(seats))]
    running = [
        {**SMALL, "ask": name, "nodes": node, "admitted_at": end - HOUR}
        for (end, name), node in zip(ends, seats, strict=True)
    ]
    return {
        "now": NOW,
        "queues": [{"name": "q"}],
        "nodes": [{"name": f"n{node}", "gpu": 8} for node in range(nodes)],
        "running": running,
    }, ends


def test_a_gang_starts_however_much_runs_and_goes_on_coming() -> None:
    """Three hundred pieces of work end, four at a time, and for each another one comes; no promise moves later."""
    scene, ends = _crowded(40, Random(1))
    gang = {"ask": "gang", "queue": "q", "gpu": 8, "runtime": 600, "submitted_at": 1000}
    simulation = simulation_of({**scene, "pending": [gang]})
    engine, promised = Fair().start(simulation.snapshot()), list[int]()
    for first in range(0, 300, 4):
        over = ends[first : first + 4]
        simulation.advance(moment(over[-1][0]) / SECOND - simulation.now.timestamp())
        for end, name in over:
            simulation.finish(AskId(name))
            submit(simulation, {**SMALL, "ask": f"again {name}", "submitted_at": end})
        engine.apply(simulation.deltas)
        simulation.deltas.clear()
        plan = engine.plan(version=0, now=simulation.now)
        simulation.commit(plan)
        if "gang" in simulation.running:
            break
        promised += [each.starts_at for each in plan.reserves if each.ask_id == "gang"]
    assert "gang" in simulation.running
    assert len(promised) == first // 4
    assert promised == sorted(promised, reverse=True)


def test_promised_starts_are_the_earliest_of_more_endings_than_are_remembered() -> None:
    """Whole nodes are promised one after the other, each to whoever comes next, and again when that has ended."""
    for seed in range(6):
        chance = Random(seed)
        scene, ends = _crowded(chance.randint(12, 16), chance)
        assert len(ends) > MOST_MOMENTS
        runtimes = [chance.choice([30, 300, 900]) for _ in range(8)]
        scene = {**scene, "running": [{**row, **STRONG} for row in scene["running"]]}
        gangs = [
            {"ask": f"g{turn}", "queue": "q", "gpu": 8, "runtime": seconds, "priority": 8 - turn}
            for turn, seconds in enumerate(runtimes)
        ]
        plan = Fair().plan(simulation_of({**scene, "pending": gangs}).snapshot())
        assert {each.ask_id: each.starts_at for each in plan.reserves} == _earliest(scene, runtimes)


def _earliest(scene: Json, runtimes: list[int]) -> dict[str, int]:
    """By hand: a node is free when the last of its work has ended."""
    last: dict[str, int] = {}
    for row in scene["running"]:
        last[row["nodes"]] = max(last.get(row["nodes"], 0), row["admitted_at"] + HOUR)
    free, starts = list(last.values()), dict[str, int]()
    heapify(free)
    for turn, seconds in enumerate(runtimes):
        starts[f"g{turn}"] = moment(free[0])
        heapreplace(free, free[0] + seconds)
    return starts


def test_a_short_gang_is_promised_the_gap_before_a_longer_one() -> None:
    """Two nodes are free in turn; the wide gang needs both, and until the second is free the first stands empty."""
    early = [
        {**SMALL, "ask": f"a{end}", "nodes": "n1", "admitted_at": NOW + end - HOUR} for end in range(80, 88)
    ]
    late = [
        {**SMALL, "ask": f"b{end}", "nodes": "n2", "admitted_at": NOW + end - HOUR} for end in range(400, 408)
    ]
    rest = [
        {**SMALL, "ask": f"c{end}", "nodes": "n3", "admitted_at": NOW + end - HOUR}
        for end in range(1000, 1080)
    ]
    scene = {
        "now": NOW,
        "queues": [{"name": "q"}],
        "nodes": [{"name": "n1", "gpu": 8}, {"name": "n2", "gpu": 8}, {"name": "n3", "gpu": 80}],
        "running": [{**row, **STRONG} for row in (*early, *late, *rest)],
        "pending": [
            {"ask": "wide", "queue": "q", "gpu": 8, "tasks": 2, "runtime": 600, "priority": 9},
            {"ask": "short", "queue": "q", "gpu": 8, "runtime": 300, "priority": 8},
            {"ask": "long", "queue": "q", "gpu": 8, "runtime": 500, "priority": 7},
        ],
    }
    plan = Fair().plan(simulation_of(scene).snapshot())
    assert {each.ask_id: each.starts_at for each in plan.reserves} == {
        "wide": moment(NOW + 407),
        "short": moment(NOW + 87),
        "long": moment(NOW + 1007),
    }
