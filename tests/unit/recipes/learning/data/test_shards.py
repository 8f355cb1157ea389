"""Shards are read back as they were written, by each rank its own, or not at all."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from controlplane.recipes.learning.data import shards
from controlplane.recipes.learning.data.cleaning import Removed
from controlplane.recipes.learning.data.examples import Examples, joined


def examples(count: int) -> Examples:
    rng = np.random.default_rng(count)
    return Examples(
        columns={
            "pixels": rng.random((count, 1, 2, 2)).astype(np.float32),
            "labels": rng.integers(10, size=count),
        }
    )


@pytest.fixture
def place(tmp_path: Path) -> str:
    splits = {"train": examples(11), "test": examples(3)}
    uri = f"file://{tmp_path}/digits"
    shards.write(uri, splits, source="digits", seed=7, removed=Removed(repeated=2), shards=4)
    return uri


def test_the_shards_of_a_split_hold_it_in_order(place: str) -> None:
    read = joined(shards.read(place, "train"))
    assert read.sha256() == examples(11).sha256() == shards.manifest(place).part("train").content_sha256


def test_the_ranks_read_every_shard_once(place: str) -> None:
    labels = [
        sorted(label for part in shards.read(place, "train", rank=rank, ranks=3) for label in part["labels"])
        for rank in range(3)
    ]
    assert sorted(itertools.chain(*labels)) == sorted(examples(11)["labels"].tolist())
    assert [len(each) for each in labels] == [5, 3, 3]  # of 3, 3, 3 and 2 examples


def test_the_manifest_records_how_it_came_about(place: str) -> None:
    told = shards.manifest(place)
    assert (told.source, told.seed, told.removed) == ("digits", 7, Removed(repeated=2))
    assert told.shapes == {"pixels": (1, 2, 2), "labels": ()}
    assert [part.examples for part in told.parts.values()] == [3, 11]


def test_the_same_content_makes_the_same_files(place: str, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.rglob("*.parquet")}
    again = {"train": examples(11), "test": examples(3)}
    shards.write(place, again, source="digits", seed=7, removed=Removed(), shards=4)
    assert {path.name for path in tmp_path.rglob("*.parquet")} == before


def test_a_damaged_shard_is_refused_by_name(place: str) -> None:
    name = shards.manifest(place).part("train").shards[1].name
    Path(place.removeprefix("file://"), name).write_bytes(b"something else")
    with pytest.raises(shards.Damaged, match=name):
        joined(shards.read(place, "train"))


def test_a_split_that_is_not_there_is_refused_with_those_that_are(place: str) -> None:
    with pytest.raises(ValueError, match="no split 'trian'; there are test, train"):
        next(shards.read(place, "trian"))


def test_a_manifest_of_another_format_is_refused(place: str) -> None:
    path = Path(place.removeprefix("file://"), shards.MANIFEST)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(ValueError, match="another format than 1"):
        shards.manifest(place)
