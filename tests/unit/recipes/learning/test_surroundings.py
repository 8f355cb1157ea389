"""What the platform says is taken as said, and what it leaves out has a default."""

import json
from pathlib import Path

import pytest

from controlplane.recipes.learning.surroundings import Seat, Surroundings, read

SEATS = [
    {"CPU": 1.0, "logical_gpu": 1.0},
    {"CPU": 1.0, "logical_gpu": 1.0},
]


def test_the_platform_says_where_and_how() -> None:
    said = {
        "CROSSDOCK_ATTEMPT_ID": "job-1-a2",
        "CROSSDOCK_SEATS": json.dumps(SEATS),
        "CROSSDOCK_NODE_IDS": '["aa", "bb"]',
        "CROSSDOCK_CHECKPOINT_URI": "file:///shared/checkpoints",
        "CROSSDOCK_OUTPUTS_URI": "/shared/outputs",
        "CROSSDOCK_RESUME_FROM": "file:///shared/checkpoints/job-1-a1/step-000003/state.pt",
        "CROSSDOCK_RECORDS": "/spool/records",
        "CROSSDOCK_GRACE_SECONDS": "12.5",
    }
    resources = {"CPU": 1.0, "logical_gpu": 1.0}
    assert read(said, workers=7) == Surroundings(
        attempt="job-1-a2",
        seats=(Seat(node_id="aa", resources=resources), Seat(node_id="bb", resources=resources)),
        checkpoint_uri="file:///shared/checkpoints",
        outputs_uri="/shared/outputs",
        resume_from="file:///shared/checkpoints/job-1-a1/step-000003/state.pt",
        records=Path("/spool/records"),
        grace_seconds=12.5,
    )


def test_without_a_platform_ray_chooses_the_nodes_and_results_lie_in_this_directory() -> None:
    here = read({}, workers=3)
    assert here.seats == (Seat(resources={"CPU": 1.0}),) * 3
    assert here.outputs_uri == str(Path("results/outputs").absolute())
    assert (here.resume_from, here.records) == (None, None)


def test_seats_that_differ_are_refused() -> None:
    differing = [SEATS[0], SEATS[1] | {"CPU": 2.0}]
    with pytest.raises(ValueError, match="the seats differ"):
        read({"CROSSDOCK_SEATS": json.dumps(differing), "CROSSDOCK_NODE_IDS": '["aa", "bb"]'}, workers=1)


def test_a_seat_without_a_node_is_refused() -> None:
    with pytest.raises(ValueError, match="2 seats need as many node ids, not 1"):
        read({"CROSSDOCK_SEATS": json.dumps(SEATS), "CROSSDOCK_NODE_IDS": '["aa"]'}, workers=1)
