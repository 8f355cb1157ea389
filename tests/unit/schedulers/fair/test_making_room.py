"""Making room: who is told to go, and who gets the seats."""

from dataclasses import replace

from controlplane.domain.ids import AskId, ClusterId, NodeId
from schedulers.base import Memory, Nomination, microseconds
from schedulers.fair.policy import Fair
from schedulers.testing.scenes import simulation_of

QUEUES = [{"name": "q", "quota": {"gpu": [8]}}]


def test_an_heir_whose_seats_are_free_before_its_victim_has_gone_is_counted_once() -> None:
    simulation = simulation_of(
        {
            "queues": QUEUES,
            "nodes": [{"name": "n", "gpu": 4, "cpu": 8}],
            "running": [{"ask": "victim", "queue": "q", "gpu": 2, "nodes": ["n"]}],
            "pending": [
                {"ask": "heir", "queue": "q", "gpu": 2, "priority": 1},
                {"ask": "next", "queue": "q", "gpu": 2},
            ],
        }
    )
    victim = simulation.running[AskId("victim")]
    seats = tuple(replace(seat, leaving=True) for seat in victim.seats)
    simulation.running[victim.id] = replace(victim, seats=seats)
    promise = Nomination(
        ask_id=AskId("heir"),
        cluster_id=ClusterId("c"),
        seats=((0, NodeId("n")),),
        until=microseconds(simulation.now) + 10**9,
    )
    simulation.memory = Memory(nominations=(promise,))
    assert [place.ask_id for place in Fair().plan(simulation.snapshot()).places] == ["heir"]


def test_nobody_goes_for_room_that_is_being_made_anyway() -> None:
    simulation = simulation_of(
        {
            "queues": QUEUES,
            "nodes": [{"name": name, "gpu": 1, "cpu": 8} for name in ("n1", "n2")],
            "running": [
                {"ask": f"v{each}", "queue": "q", "gpu": 1, "nodes": [f"n{each}"]} for each in (1, 2)
            ],
            "pending": [{"ask": f"h{each}", "queue": "q", "gpu": 0.5, "priority": 1} for each in (1, 2)],
        }
    )
    plan = Fair().plan(simulation.snapshot())
    assert [victim.ask_id for preempt in plan.preempts for victim in preempt.victims] == ["v1"]
