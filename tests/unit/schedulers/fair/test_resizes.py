"""Work is resized while it runs: rarely, for a gain, and without a seat that is anybody else's."""

from random import Random
from typing import Final

from schedulers.base import Plan
from schedulers.fair.policy import Fair
from schedulers.simulator import Simulation
from schedulers.testing.cases import settle
from schedulers.testing.fairness import broken_preemptions, broken_quotas, broken_seats
from schedulers.testing.pins import broken_pins
from schedulers.testing.resizes import broken_resizes
from schedulers.testing.scenes import Json, simulation_of, submit

ONE_QUEUE: Json = {"queues": [{"name": "q"}], "nodes": [{"name": "n", "count": 4, "gpu": 1}]}


def elastic(**more: object) -> Json:
    row = {"ask": "e", "queue": "q", "tasks": 4, "min": 1, "gpu": 1, "nodes": ["n-1"], "admitted_at": 10}
    return {**ONE_QUEUE, "running": [{**row, **more}]}


def plan_of(scene: Json) -> Plan:
    return Fair().plan(simulation_of(scene).snapshot())


def test_who_could_use_more_takes_what_nobody_else_can() -> None:
    (growth,) = plan_of(elastic()).grows
    assert [seat.node_id for seat in growth.seats] == ["n-2", "n-3", "n-4"]


def test_nobody_starts_again_in_the_epoch_in_which_it_began() -> None:
    assert plan_of(elastic(admitted_at=950)).grows == ()


def test_nobody_starts_again_within_its_protected_time() -> None:
    assert plan_of(elastic(protected_until=1100)).grows == ()


def test_nobody_starts_again_to_lose_more_than_it_gains() -> None:
    """Of 600 seconds that are left it would save 450, and lose 990."""
    assert plan_of(elastic(runtime=1590)).grows == ()
    assert len(plan_of(elastic(runtime=1590, checkpoint_at=900)).grows) == 1


def test_seats_are_kept_for_who_grows_while_it_stops() -> None:
    simulation = simulation_of(elastic())
    simulation.commit(Fair().plan(simulation.snapshot()))
    (stopping,) = simulation.running.values()
    assert all(seat.leaving for seat in stopping.seats)
    submit(simulation, {"ask": "x", "queue": "q", "gpu": 1, "submitted_at": 900})
    assert Fair().plan(simulation.snapshot()).places == ()
    simulation.stop_leaving()
    (place,) = Fair().plan(simulation.snapshot()).places
    assert (place.ask_id, len(place.seats)) == ("e", 4)


def test_who_gave_surplus_tasks_away_has_its_ranks_without_gaps() -> None:
    simulation = simulation_of(elastic(nodes=["n-1", "n-2", "n-3", "n-4"]))
    submit(simulation, {"ask": "x", "queue": "q", "gpu": 1, "submitted_at": 900})
    settle(simulation, Fair())
    ranks = {ask.id: [seat.rank for seat in ask.seats] for ask in simulation.running.values()}
    assert ranks == {"e": [0, 1, 2], "x": [0]}


def test_surplus_tasks_go_before_anybody_goes_whole() -> None:
    """Also where whoever would go whole is of lower priority, newer, and of the queue with the larger share."""
    scene: Json = {
        "queues": [{"name": "top"}]
        + [
            {"name": name, "parent": "top", "quota": {"gpu": [gpus]}}
            for name, gpus in (("a", 1), ("b", 1), ("c", 3))
        ],
        "running": [
            {"ask": "e", "queue": "a", "tasks": 2, "min": 1, "gpu": 1, "priority": 5, "admitted_at": 10},
            {"ask": "s", "queue": "b", "count": 3, "gpu": 1, "admitted_at": 20},
        ],
        "pending": [{"ask": "new", "queue": "c", "gpu": 1, "submitted_at": 30}],
    }
    (preempt,) = plan_of(scene).preempts
    assert [(victim.ask_id, victim.ranks) for victim in preempt.victims] == [("e", (1,))]


def test_nobody_moves_for_who_has_only_just_come() -> None:
    assert plan_of(_scattered(Random(1), submitted_at=990)).preempts == ()


def test_sixteen_scattered_worlds_keep_every_law_and_come_to_rest() -> None:
    moved = 0
    for seed in range(16):
        simulation = simulation_of(_scattered(Random(seed), submitted_at=20))
        engine = Fair().start(simulation.snapshot())
        for _ in range(8):
            plan = _checked(simulation)
            engine.apply(simulation.deltas)
            simulation.deltas.clear()
            assert engine.plan(version=0, now=simulation.now) == plan
            moved += sum(len(preempt.moves) for preempt in plan.preempts)
            simulation.commit(plan)
            simulation.stop_leaving()
            simulation.advance(1)
        assert settle(simulation, Fair(), 5) < 5
    assert moved > 8


def _checked(simulation: Simulation) -> Plan:
    snapshot = simulation.snapshot()
    plan = Fair().plan(snapshot)
    for broken in (broken_seats, broken_quotas, broken_preemptions, broken_pins, broken_resizes):
        assert list(broken(snapshot, plan)) == []
    return plan


SHAPES: Final[tuple[Json, ...]] = ({}, {"tasks": 2}, {"tasks": 2, "topology": {"level": "rack"}})


def _scattered(chance: Random, *, submitted_at: int) -> Json:
    """Small work on many nodes, and gangs that need whole ones or a whole rack."""
    nodes = [
        {"name": f"n{number}", "gpu": 4, "domains": {"rack": f"r{number % 3}"}}
        for number in range(chance.randint(3, 7))
    ]
    running: list[dict[str, object]] = []
    for number in range(chance.randint(2, 2 * len(nodes))):
        node = chance.choice(nodes)
        if sum(1 for row in running if row["nodes"] == node["name"]) < 3:
            running.append(
                {
                    "ask": f"s{number}",
                    "queue": "q",
                    "gpu": 1,
                    "nodes": node["name"],
                    "admitted_at": chance.randint(10, 800),
                    "checkpoint_at": 810,
                    "tier": chance.choice(["normal", "normal", "normal", "pinned"]),
                }
            )
    wide = [
        {"ask": f"w{number}", "queue": "q", "gpu": 4, "submitted_at": submitted_at, **chance.choice(SHAPES)}
        for number in range(chance.randint(1, 3))
    ]
    return {"queues": [{"name": "q"}], "nodes": nodes, "running": running, "pending": wide}
