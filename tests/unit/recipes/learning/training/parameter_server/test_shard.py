"""Servers take the steps that one process would, and hold about equally much."""

import pytest
import torch
from torch import Tensor

from controlplane.recipes.learning.training.parameter_server.shard import Push, Shard, assigned
from controlplane.recipes.learning.training.schedules import Schedule
from controlplane.recipes.learning.training.settings import OptimizerName, Settings


def shard(*, ranks: int, staleness: int = 0) -> Shard:
    settings = Settings(
        optimizer=OptimizerName.SGD,
        learning_rate=0.5,
        schedule=Schedule.CONSTANT,
        warmup_steps=0,
        staleness=staleness,
    )
    return Shard({"w": torch.tensor([[1.0], [2.0], [3.0]])}, settings=settings, ranks=ranks, steps=10)


def push(*gradient: float, loss: float = 1.0) -> Push:
    return Push(gradients={"w": torch.tensor(gradient, dtype=torch.float32)[:, None]}, loss=loss)


def held(of: Shard) -> list[float]:
    return [float(value) for value in of.pull({})["w"].flatten()]


def test_synchronous_servers_step_once_all_have_pushed() -> None:
    server = shard(ranks=2)
    assert server.push(1, 0, push(2, 0, 0, loss=3)) is None
    assert held(server) == [1, 2, 3]
    assert server.push(0, 0, push(0, 2, 0, loss=4)) == 7
    assert held(server) == [0, 1, 3]  # minus 0.5 x the sum


def test_asynchronous_servers_step_with_every_push() -> None:
    server = shard(ranks=2, staleness=3)
    assert server.push(0, 0, push(2, 0, 0)) is None
    assert held(server) == [0, 2, 3]
    assert server.push(0, 1, push(0, 2, 0)) is None  # rank 0 is ahead
    assert held(server) == [0, 1, 3]
    assert server.push(1, 0, push(0, 0, 2, loss=2)) == 3
    assert held(server) == [0, 1, 2]


def test_the_order_of_pushes_does_not_change_a_synchronous_step() -> None:
    values = (push(1e8, 0, 0), push(1, 0, 0), push(-1e8, 0, 0))
    results = []
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        server = shard(ranks=3)
        for rank in order:
            server.push(rank, 0, values[rank])
        results.append(held(server))
    assert results[0] == results[1] == results[2]


def test_a_sparse_gradient_moves_its_rows_alone() -> None:
    server = shard(ranks=1)
    sparse: Tensor = torch.tensor([[0.0], [0.0], [4.0]]).to_sparse(1)
    server.push(0, 0, Push(gradients={"w": sparse}, loss=0.0))
    assert held(server) == [1, 2, 1]


def test_only_the_rows_that_are_asked_for_are_pulled() -> None:
    pulled = shard(ranks=1).pull({"w": torch.tensor([2, 0])})
    assert pulled["w"].tolist() == [[3.0], [1.0]]


def test_a_state_is_taken_up_again() -> None:
    first, second = shard(ranks=1), shard(ranks=1)
    first.push(0, 0, push(2, 2, 2))
    second.load(first.state())
    assert held(second) == held(first) == [0, 1, 2]


def test_parameters_are_divided_largest_first() -> None:
    sizes = {"a": 5, "b": 4, "c": 3, "d": 2, "e": 1}
    assert assigned(sizes, 2) == (("a", "d", "e"), ("b", "c"))


def test_more_servers_than_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="3 servers need as many parameters, the model has 1"):
        assigned({"w": 1}, 3)
