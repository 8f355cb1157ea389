"""Counterfactuals: what the plan names as missing is enough, once it is there."""

from schedulers.base import NodesAdded
from schedulers.fair.policy import Fair
from schedulers.testing.scenes import simulation_of
from schedulers.whatif import counterfactual


def test_who_needs_one_rack_starts_on_nodes_that_are_added_to_one() -> None:
    full = [{"ask": f"v{each}", "queue": "q", "gpu": 1, "nodes": [f"n{each}"]} for each in (1, 2)]
    simulation = simulation_of(
        {
            "queues": [{"name": "q", "quota": {"gpu": [8]}}],
            "nodes": [{"name": f"n{each}", "gpu": 1, "cpu": 8, "domains": {"rack": "r1"}} for each in (1, 2)],
            "running": full,
            "pending": [
                {
                    "ask": "near",
                    "queue": "q",
                    "gpu": 1,
                    "tasks": 2,
                    "topology": {"level": "rack", "mode": "required"},
                }
            ],
        }
    )
    snapshot = simulation.snapshot()
    (class_id,) = {defer.class_id for defer in Fair().plan(snapshot).defers}
    (change,) = counterfactual(Fair(), snapshot, class_id) or ()
    assert isinstance(change, NodesAdded)
    assert (change.count, change.domains) == (2, (("rack", "r1"),))
