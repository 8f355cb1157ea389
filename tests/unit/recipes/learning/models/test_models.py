"""Models answer in the shapes of their tasks, and come back from their files."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from controlplane.recipes.learning import storage
from controlplane.recipes.learning.models import files, language, recommender
from controlplane.recipes.learning.models.files import Model
from controlplane.recipes.learning.models.tasks import TASKS, TaskName

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", TaskName)
def test_an_untrained_network_loses_about_what_guessing_does(name: TaskName) -> None:
    task = TASKS[name]
    _, held_out = task.load(0)
    some = held_out.first(40)
    torch.manual_seed(0)
    inputs, target = task.tensors(some, CPU)
    with torch.no_grad():
        output = task.network({})(*inputs)
    guessing = {TaskName.DIGITS: np.log(10), TaskName.TEXT: np.log(28), TaskName.INTERACTIONS: np.log(2)}[
        name
    ]
    assert float(task.loss(output, target)) / len(some) == pytest.approx(guessing, rel=0.9)
    assert 0 <= float(task.right(output, target)) <= len(some)


def test_the_loss_of_text_is_that_of_a_character_summed_over_windows() -> None:
    scores = torch.randn((3, 5, 4), generator=torch.Generator().manual_seed(0))
    following = torch.tensor([[0, 1, 2, 3, 0]] * 3)
    mean = cross_entropy(scores.flatten(0, 1), following.flatten())
    assert float(TASKS[TaskName.TEXT].loss(scores, following)) == pytest.approx(3 * float(mean))


def test_the_transformer_does_not_see_what_follows() -> None:
    torch.manual_seed(0)
    model = language.network(language.LanguageSize())
    first, second = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2, 9, 9]])
    assert torch.equal(model(first)[:, :2], model(second)[:, :2])
    assert not torch.equal(model(first)[:, 2], model(second)[:, 2])


def test_a_continuation_is_the_same_for_the_same_seed_and_greedy_without_heat() -> None:
    torch.manual_seed(0)
    size = language.LanguageSize(context=8)
    model = language.network(size)

    def said(temperature: float, seed: int) -> list[int]:
        tokens = language.continuation(
            model,
            [1, 2],
            context=size.context,
            temperature=temperature,
            generator=torch.Generator().manual_seed(seed),
        )
        return list(islice(tokens, 12))  # longer than the context

    assert said(1.0, 5) == said(1.0, 5) != said(1.0, 6)
    assert said(0.0, 5) == said(0.0, 6)


def test_a_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="width of 10 cannot be divided among 4 heads"):
        language.LanguageSize(width=10)


def test_sparse_gradients_are_the_dense_ones_by_row() -> None:
    users, items = torch.tensor([3, 3, 5]), torch.tensor([0, 1, 0])

    def gradient(*, sparse: bool) -> torch.Tensor:
        torch.manual_seed(0)
        model = recommender.network(recommender.RecommenderSize(sparse=sparse))
        model(users, items).sum().backward()
        found = model.user_tastes.weight.grad
        assert found is not None
        assert found.is_sparse is sparse
        return found.to_dense()

    torch.testing.assert_close(gradient(sparse=True), gradient(sparse=False))
    assert gradient(sparse=True).abs().sum(dim=1).nonzero().flatten().tolist() == [3, 5]


def test_a_recommender_says_which_rows_a_batch_touches() -> None:
    model = recommender.network(recommender.RecommenderSize())
    rows = model.rows(torch.tensor([3, 3, 5]), torch.tensor([0, 1, 0]))
    assert {name: touched.tolist() for name, touched in rows.items()} == {
        "user_tastes.weight": [3, 5],
        "item_tastes.weight": [0, 1],
        "user_bias.weight": [3, 5],
        "item_bias.weight": [0, 1],
    }
    assert set(rows) == set(model.state_dict())


def test_a_model_comes_back_from_its_file_with_size_and_weights(tmp_path: Path) -> None:
    size = {"first": 4, "second": 4, "hidden": 8}
    network = TASKS[TaskName.DIGITS].network(size)
    content = files.packed(Model(task=TaskName.DIGITS, size=size, network=network))
    storage.write(f"file://{tmp_path}/model.pt", content)
    read = files.read(f"file://{tmp_path}/model.pt")
    assert (read.task, read.size) == (TaskName.DIGITS, size)
    assert files.packed(read) == content
