"""Stages have all layers between them, and their states are one and many again."""

import pytest
import torch

from controlplane.recipes.learning.models.language import LanguageSize, Transformer, network
from controlplane.recipes.learning.training.learner import Learner
from controlplane.recipes.learning.training.pipeline import joined, part_of
from controlplane.recipes.learning.training.settings import Settings

SIZE = LanguageSize(width=8, heads=2, blocks=3, context=4)


def model() -> Transformer:
    torch.manual_seed(0)
    return network(SIZE)


def stages(count: int) -> list[Transformer]:
    divided = [model() for _ in range(count)]
    for number, stage in enumerate(divided):
        stage.keep_stage(number, count)
    return divided


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_after_the_other_the_stages_answer_as_the_whole(count: int) -> None:
    tokens = torch.tensor([[1, 2, 3, 4]])
    x = tokens
    for stage in stages(count):
        x = stage(x)
    assert torch.equal(x, model()(tokens))


def test_each_parameter_has_one_stage() -> None:
    names = [name for stage in stages(2) for name in stage.state_dict()]
    assert sorted(names) == sorted(model().state_dict())


def test_more_stages_than_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="4 stages need as many blocks, not 3"):
        model().keep_stage(0, 4)


def test_the_states_of_all_stages_join_to_one_that_each_finds_its_part_in() -> None:
    learners = [Learner(stage, settings=Settings(), steps=9) for stage in stages(2)]
    for taught in learners:
        for parameter in taught.module.parameters():
            parameter.grad = torch.ones_like(parameter)
        taught.descend(0)
    states = [taught.state() for taught in learners]
    whole = joined(states)
    assert sorted(whole["model"]) == sorted(model().state_dict())
    for taught, state in zip(learners, states, strict=True):
        part = part_of(whole, frozenset(taught.module.state_dict()))
        assert sorted(part["optimizer"]["state"]) == sorted(state["optimizer"]["state"])
        taught.load(part)
    assert str([taught.state() for taught in learners]) == str(states)
