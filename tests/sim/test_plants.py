"""Planted bugs: each still has a place in our source, and a net that exists."""

from pathlib import Path

import pytest

from tests.sim.plants import Edit, Plant
from tests.sim.plants_all import ALL_PLANTS

ROOT = Path(__file__).parents[2]
PLACES = [(plant.name, edit) for plant in ALL_PLANTS for edit in plant.edits]


@pytest.mark.parametrize(("name", "edit"), PLACES, ids=[name for name, _ in PLACES])
def test_a_bug_can_be_planted_in_one_place(name: str, edit: Edit) -> None:
    assert (ROOT / edit.path).read_text().count(edit.old) == 1, f"{name}: plant it anew in {edit.path}"
    assert edit.old != edit.new


@pytest.mark.parametrize("plant", ALL_PLANTS, ids=lambda plant: plant.name)
def test_the_net_of_a_plant_exists(plant: Plant) -> None:
    assert plant.net in ("seeds", "histories", "hashes") or (ROOT / plant.net.partition("::")[0]).is_file()


def test_no_two_plants_have_one_name() -> None:
    assert len({plant.name for plant in ALL_PLANTS}) == len(ALL_PLANTS)
