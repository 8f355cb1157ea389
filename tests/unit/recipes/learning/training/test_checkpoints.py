"""A checkpoint is taken up by the training that it belongs to, and by no other."""

from pathlib import Path

import pytest
import torch

from controlplane.recipes.learning.training.checkpoints import Checkpoint, Keeper, OtherTraining

CPU = torch.device("cpu")


def keeper(place: Path, **must_match: int) -> Keeper:
    return Keeper(folder=f"file://{place}/attempt-1", must_match={"seed": 0, **must_match})


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step=step, epoch_loss=1.5, patience={"epochs": 2}, strategy={"weights": torch.ones(2)})


def test_what_was_written_is_read_back_and_its_record_says_where_it_lies(tmp_path: Path) -> None:
    record = keeper(tmp_path).write(checkpoint(3))
    read = keeper(tmp_path).read(record["uri"], CPU)
    assert (read.step, read.epoch_loss, read.patience) == (3, 1.5, {"epochs": 2})
    assert read.strategy["weights"].tolist() == [1, 1]
    assert (record["kind"], record["step"], len(record["sha256"])) == ("checkpoint", 3, 64)


def test_the_newest_is_that_of_the_highest_step(tmp_path: Path) -> None:
    assert keeper(tmp_path).newest() is None
    uris = [keeper(tmp_path).write(checkpoint(step))["uri"] for step in (9, 1_000_000, 10)]
    assert keeper(tmp_path).newest() == uris[1]


def test_a_checkpoint_that_is_still_being_written_is_not_the_newest(tmp_path: Path) -> None:
    uri = keeper(tmp_path).write(checkpoint(1))["uri"]
    (tmp_path / "attempt-1" / "step-000002").mkdir()
    (tmp_path / "attempt-1" / "step-000002" / "state.pt.part").write_bytes(b"half")
    assert keeper(tmp_path).newest() == uri


def test_a_checkpoint_of_another_training_is_refused_with_what_differs(tmp_path: Path) -> None:
    uri = keeper(tmp_path, batch_examples=32).write(checkpoint(3))["uri"]
    with pytest.raises(OtherTraining, match="batch_examples was 32, is 64"):
        keeper(tmp_path, batch_examples=64).read(uri, CPU)
