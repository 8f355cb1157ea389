"""Checkpoints of a TensorFlow training: arrays by name, and what they must agree on."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from controlplane.recipes.learning.mirrored.checkpoints import OtherTraining, read, write
from controlplane.recipes.learning.mirrored.settings import Settings, parse

SETTINGS = {"epochs": 2, "seed": 0}
STATE = {"first.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "first.bias": np.zeros(3, np.float32)}


def test_what_was_written_is_read_and_its_record_says_where_and_what(tmp_path: Path) -> None:
    record = write(f"file://{tmp_path}/a", 7, STATE, SETTINGS)
    file = tmp_path / "a" / "step-000007" / "state.npz"
    assert record["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    step, state = read(record["uri"], SETTINGS)
    assert step == 7
    assert sorted(state) == sorted(STATE)
    assert all((state[name] == STATE[name]).all() for name in STATE)


def test_another_training_is_refused_by_the_name_of_what_differs(tmp_path: Path) -> None:
    uri = write(f"file://{tmp_path}/a", 7, STATE, SETTINGS)["uri"]
    with pytest.raises(OtherTraining, match="seed was 0, is 1"):
        read(uri, SETTINGS | {"seed": 1})


def test_how_often_it_saves_may_change_and_what_it_learns_from_may_not() -> None:
    kept = Settings(checkpoint_steps=3).lasting()
    assert kept == Settings().lasting()
    assert kept != Settings(batch_examples=32).lasting()


def test_nonsense_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--epochs=0"])
    assert "epochs must be at least 1, not 0" in capsys.readouterr().err
