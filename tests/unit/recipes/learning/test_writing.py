"""The language model as a service: in two stages it writes what it writes whole."""

from pathlib import Path

import pytest
import torch

from controlplane.recipes.learning.models import files
from controlplane.recipes.learning.models.tasks import TASKS, TaskName
from controlplane.recipes.learning.writing import Writer


@pytest.fixture
def artifacts(tmp_path: Path) -> dict[str, str]:
    """An untrained model."""
    torch.manual_seed(7)
    size = {"width": 16, "heads": 2, "blocks": 3, "context": 12, "vocabulary": 28}
    network = TASKS[TaskName.TEXT].network(size)
    path = tmp_path / "model.pt"
    path.write_bytes(files.packed(files.Model(task=TaskName.TEXT, size=size, network=network)))
    return {"model.pt": str(path)}


def written(writer: Writer, prompt: str = "the robot", *, temperature: float = 1.0) -> str:
    return "".join(writer.generate(prompt, max_tokens=30, temperature=temperature))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_in_two_or_three_stages_it_writes_exactly_what_it_writes_whole(
    artifacts: dict[str, str], temperature: float
) -> None:
    whole = written(Writer(artifacts), temperature=temperature)
    for ranks in (2, 3):
        others = [Writer(artifacts, rank=rank, ranks=ranks) for rank in range(1, ranks)]
        staged = Writer(artifacts, rank=0, ranks=ranks, peers=others)
        assert written(staged, temperature=temperature) == whole
    assert len(whole) == 30


def test_by_the_inference_protocol_each_prompt_has_the_continuation_that_it_has_alone(
    artifacts: dict[str, str],
) -> None:
    writer = Writer(artifacts)
    prompts = ["the robot", "a quiet river"]
    answer = writer({"prompt": prompts, "max_tokens": [30], "temperature": [1.0]})
    assert answer == {"text": [written(writer, each) for each in prompts]}
    assert writer({"prompt": prompts[:1]})["text"][0][:30] == written(writer, temperature=0.0)
    with pytest.raises(ValueError, match="takes a prompt, not tokens"):
        writer({"tokens": [[1, 2]]})


def test_a_model_may_say_of_its_size_only_what_is_not_usual(tmp_path: Path) -> None:
    size = {"width": 16, "blocks": 1}
    network = TASKS[TaskName.TEXT].network(size)
    path = tmp_path / "model.pt"
    path.write_bytes(files.packed(files.Model(task=TaskName.TEXT, size=size, network=network)))
    assert len(written(Writer({"model.pt": str(path)}))) == 30


def test_what_the_alphabet_lacks_is_left_out_and_nothing_is_a_prompt_too(artifacts: dict[str, str]) -> None:
    writer = Writer(artifacts)
    assert written(writer, "The Robot:\n!") == written(writer, "the robot")
    assert len(written(writer, "")) == 30


def test_more_stages_than_blocks_are_refused(artifacts: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="4 stages need as many blocks, not 3"):
        Writer(artifacts, rank=0, ranks=4)


def test_a_model_that_writes_no_text_is_refused(tmp_path: Path) -> None:
    network = TASKS[TaskName.DIGITS].network({})
    path = tmp_path / "model.pt"
    path.write_bytes(files.packed(files.Model(task=TaskName.DIGITS, size={}, network=network)))
    with pytest.raises(ValueError, match="digits writes no text"):
        Writer({"model.pt": str(path)})
