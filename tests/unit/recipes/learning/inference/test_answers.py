"""Each shard is answered once, whoever tried and however often."""

from pathlib import Path

import numpy as np
import pytest
import torch

from controlplane.recipes.learning.data import shards
from controlplane.recipes.learning.data.cleaning import Removed
from controlplane.recipes.learning.data.examples import Examples, joined
from controlplane.recipes.learning.data.shards import Shard
from controlplane.recipes.learning.export.onnx_files import exported
from controlplane.recipes.learning.inference import answers
from controlplane.recipes.learning.inference.driver import Progress
from controlplane.recipes.learning.models.tasks import TASKS, TaskName

TASK = TASKS[TaskName.DIGITS]


@pytest.fixture(scope="module")
def images() -> Examples:
    _, held_out = TASK.load(0)
    return held_out.first(10)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return TASK.network({"first": 2, "second": 2, "hidden": 4}).eval()


@pytest.fixture(scope="module")
def model(network: torch.nn.Module, images: Examples) -> bytes:
    return exported(network, TASK, images)


@pytest.fixture
def data(tmp_path: Path, images: Examples) -> str:
    uri = f"file://{tmp_path}/data"
    shards.write(uri, {"test": images}, source="digits", seed=0, removed=Removed(), shards=3)
    return uri


def wanted(data: str) -> tuple[Shard, ...]:
    return shards.manifest(data).part("test").shards


def test_the_answers_are_those_of_the_network_in_the_order_of_the_examples(
    data: str, images: Examples, network: torch.nn.Module, model: bytes, tmp_path: Path
) -> None:
    output = f"file://{tmp_path}/out"
    for shard in reversed(wanted(data)):
        answers.commit(output, answers.answer(data, shard, model, output))
    assert answers.finish(output, wanted(data)) == 10
    scores = joined(answers.read(output))["scores"]
    with torch.no_grad():
        assert np.abs(scores - network(torch.from_numpy(images["pixels"])).numpy()).max() < 1e-4


def test_an_answer_without_commit_does_not_count_and_is_given_again(
    data: str, model: bytes, tmp_path: Path
) -> None:
    output = f"file://{tmp_path}/out"
    first, *others = wanted(data)
    lost = answers.answer(data, first, model, output)
    assert answers.left(wanted(data), answers.committed(output), model) == (first, *others)
    again = answers.answer(data, first, model, output)
    assert again == lost  # and the same file
    answers.commit(output, again)
    assert answers.left(wanted(data), answers.committed(output), model) == tuple(others)


def test_a_second_commit_is_refused(data: str, model: bytes, tmp_path: Path) -> None:
    output = f"file://{tmp_path}/out"
    answered = answers.answer(data, wanted(data)[0], model, output)
    answers.commit(output, answered)
    with pytest.raises(FileExistsError, match="has been answered before"):
        answers.commit(output, answered)


def test_answers_of_another_model_are_not_mixed_with_these(data: str, model: bytes, tmp_path: Path) -> None:
    output = f"file://{tmp_path}/out"
    answers.commit(output, answers.answer(data, wanted(data)[0], model, output))
    with pytest.raises(answers.OtherWork, match="was answered by model"):
        answers.left(wanted(data), answers.committed(output), b"another")


def test_an_answer_that_changed_after_its_commit_is_refused(data: str, model: bytes, tmp_path: Path) -> None:
    output = f"file://{tmp_path}/out"
    for shard in wanted(data):
        answers.commit(output, answers.answer(data, shard, model, output))
    answers.finish(output, wanted(data))
    Path(tmp_path, "out", answers.committed(output)[1].name).write_bytes(b"changed")
    with pytest.raises(shards.Damaged, match="is not what was committed"):
        joined(answers.read(output))


def test_progress_tells_when_the_rest_will_be_done() -> None:
    progress = Progress(shards=10, done=4, began=100.0, answered=2)  # two more were there before
    assert progress.told(108.0) == "4 of 10 shards, 24 s left"
    assert Progress(shards=10, done=4, began=100.0).told(100.0) == "4 of 10 shards"
