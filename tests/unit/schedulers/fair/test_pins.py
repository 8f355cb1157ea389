"""The fewest replicas of services: kept on what their queues own, in worlds that are drawn."""

from dataclasses import replace
from random import Random
from typing import Final

from schedulers.base import Ground, Plan, Victim
from schedulers.fair.policy import Fair
from schedulers.simulator import Simulation
from schedulers.testing.cases import settle
from schedulers.testing.fairness import broken_preemptions, broken_quotas, broken_seats
from schedulers.testing.pins import broken_pins
from schedulers.testing.scenes import Json, simulation_of, submit

QUEUES: Final = ("a", "b", "c")
WORLDS: Final = 12
ROUNDS: Final = 5


def test_no_replica_goes_on_quota_that_its_queue_owns_and_every_world_comes_to_rest() -> None:
    went = kept = 0
    for seed in range(WORLDS):
        chance = Random(seed)
        simulation = simulation_of(world(chance))
        for number in range(ROUNDS):
            for ask in range(3):
                submit(simulation, work(chance, f"new-{number}-{ask}", submitted_at=1000 + number))
            plan = checked(simulation)
            gone = {victim.ask_id for preempt in plan.preempts for victim in preempt.victims}
            pinned = {ask.id for ask in simulation.running.values() if ask.id.startswith("pinned")}
            went += len(gone & pinned)
            kept += len(pinned - gone) if gone else 0
            simulation.commit(plan)
            simulation.stop_leaving()
            simulation.advance(1)
        assert settle(simulation, Fair(), 60) < 60
    assert went > WORLDS / 4  # what is borrowed goes back
    assert kept > WORLDS


def test_a_plan_that_sends_a_replica_away_breaks_the_law() -> None:
    scene: Json = {
        "queues": [{"name": "top"}]
        + [{"name": name, "parent": "top", "quota": {"gpu": [2]}} for name in ("a", "b")],
        "running": [
            {"ask": "training", "queue": "a", "gpu": 2, "priority": 9, "admitted_at": 10},
            {"ask": "replica", "queue": "a", "gpu": 2, "tier": "pinned", "admitted_at": 20},
        ],
        "pending": [{"ask": "owner", "queue": "b", "gpu": 2, "submitted_at": 30}],
    }
    simulation = simulation_of(scene)
    plan = checked(simulation)
    (preempt,) = plan.preempts
    (replica,) = (ask.id for ask in simulation.running.values() if ask.id == "replica")
    bad = replace(preempt, victims=(Victim(ask_id=replica, ground=Ground.RECLAIM),))
    assert len(list(broken_pins(simulation.snapshot(), replace(plan, preempts=(bad,))))) == 1


def checked(simulation: Simulation) -> Plan:
    snapshot = simulation.snapshot()
    plan = Fair().plan(snapshot)
    for broken in (broken_seats, broken_quotas, broken_preemptions, broken_pins):
        assert list(broken(snapshot, plan)) == []
    return plan


def world(chance: Random) -> Json:
    """Nine GPUs that three queues of a cohort own, some more than others."""
    first = chance.randint(1, 7)
    second = chance.randint(1, 8 - first)
    owned = (first, second, 9 - first - second)
    is_fair = chance.random() < 0.5
    rows = [
        {"name": name, "parent": "top", "quota": {"gpu": [gpus]}, "fair_share": is_fair}
        for name, gpus in zip(QUEUES, owned, strict=True)
    ]
    return {
        "queues": [{"name": "top"}, *rows],
        "nodes": [{"name": "n", "count": 3, "gpu": 3}],
        "pending": [work(chance, str(number), submitted_at=number) for number in range(8)],
    }


def work(chance: Random, name: str, *, submitted_at: int) -> Json:
    tier = chance.choice(("normal", "pinned", "pinned"))
    return {
        "ask": f"{tier}-{name}",
        "class": f"class of {tier}-{name}",
        "queue": chance.choice(QUEUES),
        "gpu": chance.choice((1, 1, 2)),
        "priority": chance.choice((0, 0, 5, 9)),
        "tier": tier,
        "submitted_at": submitted_at,
    }
